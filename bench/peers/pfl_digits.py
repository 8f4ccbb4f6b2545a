"""pfl-research: FedAvg on the digits, MLP 64-256-256-10 with SiLU, SGD 0.1, batch 16.

    PYTHONPATH=<pfl-research> python pfl_digits.py N C R E

N clients (equal parts of 1,437 images), C a round, R rounds, E local epochs. Prints seconds without start-up, milliseconds
per client-round, accuracy on the other 360 images.
"""
import sys, time
import numpy as np
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.metrics import Weighted
from pfl.model.pytorch import PyTorchModel
from sklearn.datasets import load_digits

N, C, R, E = (int(a) for a in sys.argv[1:5])
pixels, y = load_digits(return_X_y=True)
n = len(y)
x = pixels.astype(np.float32) / 16
order = np.random.default_rng(0).permutation(n)
test, parts = order[:360], np.array_split(order[360:], N)
torch.manual_seed(0)
torch.set_num_threads(2)


class Net(torch.nn.Module):

    def __init__(self):
        super().__init__()
        self.f = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.SiLU(), torch.nn.Linear(256, 256),
                                     torch.nn.SiLU(), torch.nn.Linear(256, 10))

    def loss(self, x, y, is_eval=False):
        return torch.nn.functional.cross_entropy(self.f(x), y)

    @torch.no_grad()
    def metrics(self, x, y):
        return {'accuracy': Weighted((self.f(x).argmax(1) == y).sum().item(), len(y))}


def dataset(user):
    return Dataset(raw_data=[torch.tensor(x[parts[user]]), torch.tensor(y[parts[user]])], user_id=user)


data = FederatedDataset(make_dataset_fn=dataset, user_sampler=get_user_sampler('random', list(range(N))))
net = Net()
model = PyTorchModel(net, local_optimizer_create=torch.optim.SGD, central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0))
start = time.time()
FederatedAveraging().run(
    algorithm_params=NNAlgorithmParams(central_num_iterations=R, evaluation_frequency=10**9, train_cohort_size=C, val_cohort_size=0),
    backend=SimulatedBackend(training_data=data, val_data=data), model=model,
    model_train_params=NNTrainHyperParams(local_num_epochs=E, local_learning_rate=0.1, local_batch_size=16),
    model_eval_params=NNEvalHyperParams(local_batch_size=None), callbacks=[])
took = time.time() - start
right = (net.f(torch.tensor(x[test])).argmax(1) == torch.tensor(y[test])).float().mean().item()
print(f'TOTAL {took:.2f} s, {took / (R * C) * 1000:.2f} ms per client-round, accuracy {right:.3f}')
