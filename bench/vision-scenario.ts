/** FedAvg on the digits as `bench/peers/pfl_digits.py` has it: MLP 64-256-256-10, SGD 0.1, batch 16. */
import { defineScenario, digits, fedavg, iid, megabits, type Scenario, type Strategy } from "flame-sim";

export interface VisionSetting {
  readonly clients: number;
  readonly cohort: number;
  readonly rounds: number;
  readonly epochs: number;
}

const plainSgd: Strategy = { ...fedavg(), name: "sgd", spec: { type: "sgd" }, steps: () => ({ optimizer: "sgd" }) };

export const visionScenario = ({ clients, cohort, rounds, epochs }: VisionSetting): Scenario =>
  defineScenario({
    name: "vision-bench",
    seed: 1,
    task: { type: "vision", network: { type: "mlp", hidden: [256, 256] } },
    data: { source: digits(), partition: iid(), heldOut: 360 },
    fleet: [{ name: "device", clients, budget: 3, tokensPerSecond: 1_000, uplink: megabits(20) }],
    rounds: { count: rounds, cohort },
    training: { batchSize: 16, epochs, learningRate: 0.1, clipNorm: null },
    strategy: plainSgd,
    evaluateEvery: rounds,
    evaluateAt: [3],
    evaluationExamples: 360,
    trace: "digest",
    checkpoints: { every: rounds },
  });

/** `100 20 50 1`, as the peer is called: for a process of its own. */
const [clients = 100, cohort = 20, rounds = 50, epochs = 1] = (process.env.VISION_BENCH ?? "")
  .split(" ")
  .filter(Boolean)
  .map(Number);

export default visionScenario({ clients, cohort, rounds, epochs });
