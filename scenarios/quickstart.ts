/**
 * Does a fleet of unequal devices, most of which afford one or two experts per token, teach a sparse
 * mixture-of-experts model to answer instructions at every budget, although some clients never answer
 * and others come too late?
 *
 *   npx flame run quickstart
 */
import {
  accuracyRises,
  defineScenario,
  dirichlet,
  everyTierCounted,
  flame,
  instructions,
  lossFalls,
  megabits,
  minutes,
} from "flame-sim";

export default defineScenario({
  name: "quickstart",
  question: "Do unequal devices, some of which drop out or come too late, teach one model that works at every budget?",
  seed: 42,
  lora: { rank: 8, alpha: 16 },
  data: {
    source: instructions({ examples: 4_000 }),
    partition: dirichlet({ alpha: 0.5, minimum: 8 }),
    heldOut: 0.1,
    maxTokens: 48,
  },
  fleet: [
    { name: "server", clients: 4, budget: 8, tokensPerSecond: 4_000, uplink: megabits(200), latency: 5 },
    { name: "desktop", clients: 8, budget: 4, tokensPerSecond: 1_500, uplink: megabits(50), latency: 15 },
    { name: "laptop", clients: 8, budget: 2, tokensPerSecond: 500, uplink: megabits(20), latency: 30, dropout: 0.05 },
    { name: "phone", clients: 12, budget: 1, tokensPerSecond: 150, uplink: megabits(5), latency: 60, dropout: 0.15 },
  ],
  world: {
    // The same device is not equally fast every time: heat, other apps.
    compute: { noise: { type: "log-normal", mean: 1, cv: 0.2 } },
  },
  rounds: { count: 10, cohort: 12, deadline: minutes(1), minUpdates: 4 },
  training: { epochs: 1, batchSize: 16, learningRate: 3e-3 },
  strategy: flame({ frequencyExponent: 2 }),
  evaluateEvery: 2,
  evaluationExamples: 128,
  expect: [lossFalls({ by: 1 }), accuracyRises({ by: 0.05 }), everyTierCounted()],
});
