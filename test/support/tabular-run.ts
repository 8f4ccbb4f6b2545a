/** Runs that train for real and take a fraction of a second: a table, on this thread. */
import { trainingHandlers } from "../../actors/training.ts";
import { dirichlet } from "../../src/data/partition.ts";
import { table } from "../../src/data/tables/source.ts";
import type { RunOptions } from "../../src/run/options.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { run } from "../../src/run/run.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { defineScenario, type Scenario, type ScenarioInput } from "../../src/scenario/define.ts";
import { createEngine } from "../../src/tasks/open/create-engine.ts";

export const tabular = (overrides: Partial<ScenarioInput> = {}): Scenario =>
  defineScenario({
    name: "tabular",
    seed: 1,
    task: { type: "tabular" },
    data: { source: table("wine"), partition: dirichlet({ alpha: 1 }), heldOut: 0.25 },
    fleet: [{ name: "clinic", clients: 4, budget: 1, tokensPerSecond: 50, uplink: 1e5 }],
    rounds: { count: 3, cohort: 4 },
    training: { batchSize: 16, maxSteps: 3, learningRate: 0.125 },
    strategy: { type: "fedavg" },
    ...overrides,
  });

/** In the place of worker threads. */
export const onThisThread = ({ training }: Prepared): InlinePool =>
  training === null
    ? new InlinePool({})
    : new InlinePool(
        trainingHandlers(
          () => training.setup,
          () => createEngine({ task: training.spec }),
        ),
      );

export const playTable = (scenario: Scenario, options: RunOptions = {}) =>
  run(scenario, { pool: onThisThread, out: null, ...options });
