/**
 * Can clients that each know a domain or two cut a dense model into experts together, without showing their text, and
 * teach one router to choose among them, so that a device which has room for some experts is served better than by one?
 *
 *   npx flame run refactor
 */
import {
  accuracyReaches,
  defineScenario,
  everyTierCounted,
  instructions,
  lossFalls,
  megabits,
  minutes,
  readMe,
  shards,
} from "flame-sim";

export default defineScenario({
  name: "refactor",
  question: "Can clients that know a domain or two cut a dense model into experts, and teach one router to choose?",
  seed: 3,
  task: { type: "refactor", experts: 8, share: 0.5 },
  data: {
    source: instructions({ examples: 2_400 }),
    partition: shards({ categories: 2 }),
    heldOut: 0.1,
    maxTokens: 64,
  },
  fleet: [
    { name: "desktop", clients: 8, budget: 8, tokensPerSecond: 2_000, uplink: megabits(50), latency: 15 },
    { name: "laptop", clients: 8, budget: 4, tokensPerSecond: 800, uplink: megabits(20), latency: 30 },
    { name: "phone", clients: 8, budget: 1, tokensPerSecond: 300, uplink: megabits(5), latency: 60 },
  ],
  rounds: { count: 16, cohort: 12, deadline: minutes(5), minUpdates: 4 },
  training: { epochs: 1, maxSteps: 2, batchSize: 16, learningRate: 3e-3 },
  strategy: readMe(),
  evaluateEvery: 8,
  evaluationExamples: 128,
  expect: [lossFalls({ by: 0.5, at: 8 }), accuracyReaches({ share: 0.4, at: 8 }), everyTierCounted()],
});
