/**
 * Do the weak devices, most of the fleet, which afford one or two experts per token, teach the model anything, and is
 * the model then any good for them?
 *
 * Speeds are quoted at a tier's own budget: a token costs a phone with one expert a third of what it costs a server.
 *
 *   npx flame run tiers
 */
import {
  accuracyRises,
  defineScenario,
  dirichlet,
  everyExpertTrained,
  everyTierCounted,
  flame,
  instructions,
  lossFalls,
  megabits,
  minutes,
} from "flame-sim";

export default defineScenario({
  name: "tiers",
  question: "Do devices that afford one or two experts per token teach the model, and does it then serve them?",
  seed: 5,
  data: {
    source: instructions({ examples: 1_200 }),
    partition: dirichlet({ alpha: 0.5, minimum: 8 }),
    maxTokens: 96,
  },
  fleet: [
    { name: "server", clients: 2, budget: 8, tokensPerSecond: 4_000, uplink: megabits(200), latency: 5 },
    { name: "laptop", clients: 4, budget: 4, tokensPerSecond: 1_500, uplink: megabits(20), latency: 20 },
    { name: "phone", clients: 8, budget: 1, tokensPerSecond: 300, uplink: megabits(5), latency: 60, dropout: 0.1 },
  ],
  rounds: { count: 5, cohort: 7, deadline: minutes(3), minUpdates: 3 },
  training: { epochs: 1, batchSize: 16, learningRate: 2e-3 },
  strategy: flame({ frequencyExponent: 2 }),
  evaluateEvery: 5,
  evaluationExamples: 64,
  expect: [lossFalls({ by: 0.05 }), accuracyRises({ by: 0.01, at: 8 }), everyTierCounted(), everyExpertTrained()],
});
