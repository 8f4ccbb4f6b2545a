/** The base model that comes with the program, trained as little as shows anything: a few seconds with the real engine. */
import { minutes } from "../../src/base/units.ts";
import { iid } from "../../src/data/partition.ts";
import { instructions } from "../../src/data/source.ts";
import { defineScenario, type Scenario, type ScenarioInput } from "../../src/scenario/define.ts";

export const embeddedScenario = (overrides: Partial<ScenarioInput> = {}): Scenario =>
  defineScenario({
    name: "embedded",
    seed: 5,
    lora: { rank: 2, alpha: 4 },
    data: { source: instructions({ examples: 80 }), partition: iid(), maxTokens: 48, heldOut: 0.2 },
    fleet: [
      { name: "laptop", clients: 2, budget: 2, tokensPerSecond: 500, uplink: 1e6 },
      { name: "phone", clients: 2, budget: 1, tokensPerSecond: 100, uplink: 1e5, dropout: 0.2 },
    ],
    rounds: { count: 2, cohort: 4, deadline: minutes(5) },
    training: { batchSize: 4, maxSteps: 2, learningRate: 1e-2 },
    evaluateAt: [1],
    evaluationExamples: 8,
    ...overrides,
  });
