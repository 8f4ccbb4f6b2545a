/**
 * Is it worth listening more to the clients that used an expert, or does plain averaging do as well?
 *
 *   npx flame run flame-vs-fedavg
 */
import {
  defineScenario,
  dirichlet,
  everyExpertTrained,
  fedavg,
  flame,
  instructions,
  lossFalls,
  megabits,
  minutes,
  type ScenarioInput,
} from "flame-sim";

const common = {
  question: "Is it worth listening more to the clients that used an expert?",
  seed: 11,
  data: {
    source: instructions({ examples: 4_000 }),
    partition: dirichlet({ alpha: 0.2, minimum: 8 }),
    maxTokens: 48,
  },
  fleet: [
    { name: "strong", clients: 4, budget: 8, tokensPerSecond: 4_000, uplink: megabits(100) },
    { name: "medium", clients: 6, budget: 4, tokensPerSecond: 1_500, uplink: megabits(50) },
    { name: "weak", clients: 10, budget: 1, tokensPerSecond: 300, uplink: megabits(10), dropout: 0.1 },
  ],
  rounds: { count: 6, cohort: 8, deadline: minutes(2), minUpdates: 3 },
  training: { batchSize: 16, learningRate: 3e-3 },
  evaluateEvery: 3,
  evaluationExamples: 128,
  expect: [lossFalls({ by: 0.5 }), everyExpertTrained()],
} satisfies Omit<ScenarioInput, "name">;

export default [
  defineScenario({ ...common, name: "flame", strategy: flame({ frequencyExponent: 2 }) }),
  defineScenario({ ...common, name: "fedavg", strategy: fedavg() }),
];
