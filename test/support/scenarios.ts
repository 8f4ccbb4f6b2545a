/** Small scenarios for tests: timing alone, with as much weather as a test wants. */

import { minutes } from "../../src/base/units.ts";
import { dirichlet } from "../../src/data/partition.ts";
import { instructions } from "../../src/data/source.ts";
import { defineScenario, type Scenario, type ScenarioInput } from "../../src/scenario/define.ts";

/** A model of which only the size matters. */
export const shape = { vocabulary: 264, layers: 2, width: 16, heads: 2, experts: 4, expertWidth: 8, topK: 4 } as const;

export const threeTiers = [
  { name: "phone", clients: 12, budget: 1, tokensPerSecond: 300, uplink: 60_000, dropout: 0.2, latency: 40 },
  { name: "laptop", clients: 8, budget: 2, tokensPerSecond: 1_500, uplink: 300_000 },
  { name: "edge", clients: 4, budget: 4, tokensPerSecond: 8_000, uplink: 2_000_000 },
] as const;

export const timingOnly = (overrides: Partial<ScenarioInput> = {}): Scenario =>
  defineScenario({
    name: "timing",
    seed: 1,
    timingOnly: true,
    model: shape,
    data: { sizes: { examplesPerClient: { type: "log-normal", mean: 40, cv: 0.5 }, tokensPerExample: 60 } },
    fleet: [...threeTiers],
    rounds: { count: 4, cohort: 8, deadline: minutes(1), minUpdates: 2 },
    ...overrides,
  });

/** The same fleet, training on generated instructions. */
export const training = (model: string, overrides: Partial<ScenarioInput> = {}): Scenario =>
  defineScenario({
    name: "training",
    seed: 1,
    model,
    lora: { rank: 2, alpha: 4 },
    data: { source: instructions({ examples: 300 }), partition: dirichlet({ alpha: 1 }), maxTokens: 96 },
    fleet: [...threeTiers],
    rounds: { count: 3, cohort: 8, deadline: minutes(1), minUpdates: 2 },
    training: { batchSize: 4, learningRate: 1e-2 },
    evaluationExamples: 16,
    ...overrides,
  });
