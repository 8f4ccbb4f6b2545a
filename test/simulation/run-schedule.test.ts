/** What a schedule of the learning rate reaches: clients' steps, what methods make of rates, the rows of a run. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { trainingHandlers } from "../../actors/training.ts";
import { digits } from "../../src/data/images/source.ts";
import { byCategory } from "../../src/data/partition.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";
import type { EvaluationJob, TrainingEngine } from "../../src/tasks/training-engine.ts";
import { playTable, tabular } from "../support/tabular-run.ts";

/** From the first round on; a power of two, so that products are the same to the bit. */
const halved = { type: "step", after: [0], factor: 0.5 } as const;
const training = { batchSize: 16, maxSteps: 3, learningRate: 0.125 };

const games: Partial<ScenarioInput> = {
  task: { type: "coloured", heads: 4, representation: [4] },
  data: { source: digits(), partition: byCategory() },
};

for (const { strategy, ...task } of [
  { strategy: { type: "fedavg" } },
  { strategy: { type: "scaffold" } },
  { strategy: { type: "fednova", mu: 0.5 } },
  { strategy: { type: "fedvra", aRule: "perSteps", gamma: 1 } },
  { strategy: { type: "qffl", q: 1 } },
  { strategy: { type: "fl-games", fast: false, optimizer: "sgd" }, ...games },
] as (Partial<ScenarioInput> & Required<Pick<ScenarioInput, "strategy">>)[]) {
  test(`half of twice a learning rate is the rate itself to ${JSON.stringify(strategy)}`, async () => {
    const plain = await playTable(tabular({ ...task, strategy }));
    const twice = { ...training, learningRate: 0.25, schedule: halved };
    const scheduled = await playTable(tabular({ ...task, strategy, training: twice }));
    const faster = await playTable(tabular({ ...task, strategy, training: { ...training, learningRate: 0.25 } }));
    assert.equal(scheduled.adapterDigest, plain.adapterDigest);
    assert.notEqual(faster.adapterDigest, plain.adapterDigest);
  });
}

for (const type of ["scaffold", "fednova", "fedvra", "ccfao"] as const) {
  test(`a schedule reaches the rate that ${type} has of its own`, async () => {
    const plain = await playTable(tabular({ strategy: { type, localLearningRate: 0.5 } }));
    const scheduled = await playTable(
      tabular({ strategy: { type, localLearningRate: 1 }, training: { ...training, schedule: halved } }),
    );
    assert.equal(scheduled.adapterDigest, plain.adapterDigest);
  });
}

test("rows tell the rate of their round, with training and without, and only where it changes", async () => {
  const schedule = { type: "linear", warmup: 1 } as const;
  const overrides = { training: { ...training, schedule } };
  const rates = [undefined, 0.0625, 0.125, 0.0625];
  const trained = await playTable(tabular(overrides));
  assert.deepEqual(
    trained.rows.map(({ learningRate }) => learningRate),
    rates,
  );
  const timed = await playTable(tabular({ ...overrides, timingOnly: true }));
  assert.deepEqual(
    timed.rows.map(({ learningRate }) => learningRate),
    rates,
  );
  const plain = await playTable(tabular());
  assert.ok(plain.rows.every((row) => !("learningRate" in row)));
});

test("every client trains at the rates of its round, the rescaler's among them", async () => {
  const rates: number[][] = [];
  const pool = ({ training: trained }: Prepared) => {
    const { setup, spec } = trained!;
    const engine = async () => {
      const inner = await createEngine({ task: spec });
      const trainCohort: TrainingEngine["trainCohort"] = (jobs) => {
        rates.push(...jobs.map(({ optimizer }) => [optimizer.learningRate, optimizer.personalLearningRate]));
        return inner.trainCohort(jobs);
      };
      return {
        name: inner.name,
        trainCohort,
        evaluate: (job: EvaluationJob) => inner.evaluate(job),
        dispose: () => inner.dispose(),
      };
    };
    return new InlinePool(trainingHandlers(() => setup, engine));
  };
  const schedule = { type: "constant", warmup: 1 } as const;
  const rescaler = { learningRate: 0.5 };
  await playTable(tabular({ rescaler, rounds: { count: 2, cohort: 4 }, training: { ...training, schedule } }), {
    pool,
  });
  assert.deepEqual(rates, [...new Array(4).fill([0.0625, 0.25]), ...new Array(4).fill([0.125, 0.5])]);
});
