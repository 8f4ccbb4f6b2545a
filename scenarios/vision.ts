/**
 * Do sensors that can only train the last block of a network help the few machines that can train all of it?
 *
 *   npx flame run scenarios/vision.ts
 */
import { accuracyReaches, defineScenario, digits, dirichlet, embracingfl, megabits, minutes } from "flame-sim";

export default defineScenario({
  name: "vision",
  question: "Do sensors that can only train the last block help the few machines that can train the whole network?",
  seed: 1,
  task: { type: "vision", network: { type: "cnn" } },
  data: { source: digits(), partition: dirichlet({ alpha: 0.5 }), heldOut: 360 },
  fleet: [
    { name: "sensor", clients: 16, budget: 1, tokensPerSecond: 20, uplink: megabits(0.1), dropout: 0.2 },
    { name: "phone", clients: 8, budget: 2, tokensPerSecond: 100, uplink: megabits(1), dropout: 0.1 },
    { name: "server", clients: 8, budget: 4, tokensPerSecond: 1_000, uplink: megabits(20) },
  ],
  rounds: { count: 30, cohort: 12, deadline: minutes(5), minUpdates: 2 },
  training: { batchSize: 16, learningRate: 2e-3, epochs: 3 },
  strategy: embracingfl(),
  evaluateEvery: 5,
  evaluateAt: [4],
  evaluationExamples: 360,
  expect: [accuracyReaches({ share: 0.85, at: 4 })],
});
