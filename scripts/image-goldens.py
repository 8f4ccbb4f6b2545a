"""Makes test/golden/data/images.json: convolutions, average pools and pixel shuffles as PyTorch computes them, in float64.

    python3 -m venv .cache/torch && .cache/torch/bin/pip install torch==2.13.0 numpy
    .cache/torch/bin/python scripts/image-goldens.py > test/golden/data/images.json

Images are [images, height * width, channels], weights [kernel^2 * channels, out], as in src/tensor/ops/images.ts; PyTorch has
channels first. `loss` is the sum of all that comes out, each number times one of its own (`slopes`).
"""
import json
import torch
from torch.nn.functional import avg_pool2d, conv2d, pixel_shuffle

draws = torch.Generator().manual_seed(20_240_131)


def random(*shape):
    # Few digits: exact in float32 to 6e-8, and short on paper.
    return torch.round(torch.randn(*shape, generator=draws, dtype=torch.float64), decimals=3)


def flat(t):
    return [float(f'{v:.10g}') for v in t.flatten().tolist()]


def last(t):
    """Channels last."""
    return t.permute(0, 2, 3, 1)


def case(kind, x, weight, run, **options):
    inputs = [t.requires_grad_() for t in (x, weight) if t is not None]
    y = run(*inputs)
    slopes = random(*y.shape)
    (y * slopes).sum().backward()
    images, channels, height, width = x.shape
    made = {'kind': kind, 'images': images, 'height': height, 'width': width, 'channels': channels, **options}
    made |= {'x': flat(last(x.detach())), 'slopes': flat(last(slopes))}
    made |= {'y': flat(last(y.detach())), 'dx': flat(last(x.grad))}
    if weight is not None:
        turn = lambda w: w.permute(2, 3, 1, 0)  # [out, in, kernel, kernel] to cells, channels, out
        made |= {'weight': flat(turn(weight.detach())), 'dweight': flat(turn(weight.grad))}
    return made


cases = []
# images, channels, height, width, out, kernel, stride, padding
for n, c, h, w, o, k, s, p in [(2, 3, 5, 4, 4, 3, 1, 1), (1, 2, 5, 5, 3, 3, 2, 1), (3, 1, 6, 4, 2, 2, 2, 0), (2, 2, 4, 4, 3, 1, 1, 0),
                               (0, 2, 4, 4, 3, 3, 1, 1), (1, 1, 3, 3, 1, 3, 1, 2), (2, 2, 7, 6, 2, 5, 3, 2), (1, 2, 4, 5, 2, 2, 3, 1)]:
    run = lambda x, weight: conv2d(x, weight, stride=s, padding=p)
    cases.append(case('conv', random(n, c, h, w), random(o, c, k, k), run, out=o, kernel=k, stride=s, padding=p))
for n, c, h, w, size in [(2, 3, 4, 6, 2), (1, 2, 6, 3, 3), (2, 2, 3, 3, 1), (0, 2, 4, 4, 2)]:
    cases.append(case('averagePool', random(n, c, h, w), None, lambda x: avg_pool2d(x, size), size=size))
for n, c, h, w, factor in [(2, 8, 3, 2, 2), (1, 9, 2, 2, 3), (3, 2, 2, 3, 1)]:
    cases.append(case('pixelShuffle', random(n, c, h, w), None, lambda x: pixel_shuffle(x, factor), factor=factor))

print(json.dumps({'torch': torch.__version__, 'cases': cases}, separators=(',', ':')).replace('},{', '},\n{'))
