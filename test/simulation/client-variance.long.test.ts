/** FedVRA's claim on digits: duals pay where clients differ and few take part, and cost nothing where they are alike. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digits } from "../../src/data/images/source.ts";
import { dirichlet, iid } from "../../src/data/partition.ts";
import { fedvra } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { run } from "../../src/run/run.ts";
import { defineScenario } from "../../src/scenario/define.ts";
import { onThisThread } from "../support/tabular-run.ts";

/** Held-out accuracy after each round, two of twenty clients in each, five epochs of plain SGD. */
async function accuracies(strategy: Strategy, seed: number, alike: boolean, count: number): Promise<number[]> {
  const scenario = defineScenario({
    name: "client-variance",
    seed,
    task: { type: "vision", network: { type: "mlp", hidden: [32] } },
    data: { source: digits(), partition: alike ? iid() : dirichlet({ alpha: 0.1, minimum: 8 }), heldOut: 360 },
    fleet: [{ name: "phone", clients: 20, budget: 1, tokensPerSecond: 50, uplink: 1e6 }],
    rounds: { count, cohort: 2 },
    training: { epochs: 5, batchSize: 16, learningRate: 0.1 },
    strategy,
    evaluateEvery: 1,
    evaluationExamples: 360,
  });
  const { rows } = await run(scenario, { out: null, pool: onThisThread });
  return rows.map(({ evaluations }) => evaluations![0]!.accuracy);
}

test("FedVRA: with one class or two at a client and two clients a round, FedAvg never comes where it is in thirty", async (t) => {
  const fedavg = fedvra({ gamma: 0, a: 0 });
  for (const seed of [1, 2]) {
    const [plain, reduced] = [await accuracies(fedavg, seed, false, 40), await accuracies(fedvra(), seed, false, 40)];
    const reached = reduced.findIndex((accuracy) => accuracy >= 0.6);
    t.diagnostic(
      `seed ${seed}: FedAvg ${plain.at(-1)!.toFixed(3)}, FedVRA ${reduced.at(-1)!.toFixed(3)}, 60 % after ${reached}`,
    );
    assert.ok(reached > 0 && reached <= 30);
    assert.ok(plain.every((accuracy) => accuracy < 0.6));
  }
});

test("FedVRA: of clients that are all alike it learns as well as FedAvg does", async () => {
  for (const seed of [1, 2]) {
    const [plain, reduced] = [
      await accuracies(fedvra({ gamma: 0, a: 0 }), seed, true, 15),
      await accuracies(fedvra(), seed, true, 15),
    ];
    // Of 360 examples a share has a standard error of 2.6 points.
    assert.ok(reduced.at(-1)! > plain.at(-1)! - 0.05, `seed ${seed}: ${reduced.at(-1)} and ${plain.at(-1)}`);
  }
});
