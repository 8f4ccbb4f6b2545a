/**
 * Do clients who type with more or less haste teach one model to read them all, when a router chooses the ranks of its
 * LoRA by how surprising a prompt is, and weak clients afford one where strong ones have four?
 *
 *   npx flame run hasty-typing
 */
import { defineScenario, dirichlet, instructions, lossFalls, megabits, minutes, mixtureOfRanks } from "flame-sim";

export default defineScenario({
  name: "hasty-typing",
  question: "Do clients who type with more or less haste teach one model to read them all?",
  seed: 1,
  lora: { rank: 10, alpha: 20, slices: { routed: 8, zero: 1, topK: 4 } },
  data: {
    source: instructions({ examples: 2_000, typos: { careful: 0, quick: 0.15, hasty: 0.4 } }),
    partition: dirichlet({ alpha: 0.3 }),
    heldOut: 0.1,
    maxTokens: 48,
  },
  fleet: [
    { name: "phone", clients: 8, budget: 2, tokensPerSecond: 200, uplink: megabits(5), dropout: 0.1 },
    { name: "laptop", clients: 4, budget: 4, tokensPerSecond: 800, uplink: megabits(20), dropout: 0.05 },
    { name: "desktop", clients: 4, budget: 8, tokensPerSecond: 2_000, uplink: megabits(50) },
  ],
  rounds: { count: 6, cohort: 8, deadline: minutes(2), minUpdates: 2 },
  training: { epochs: 1, batchSize: 16, learningRate: 3e-3 },
  strategy: mixtureOfRanks({ alpha: 0.1 }),
  evaluateEvery: 3,
  evaluationExamples: 128,
  expect: [lossFalls({ by: 0.5 })],
});
