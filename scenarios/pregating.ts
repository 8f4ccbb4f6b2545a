/**
 * What does it cost to choose experts before the first layer begins, when one small router, taught by clients of many
 * kinds of text, takes the place of those of a mixture?
 *
 *   npx flame run pregating
 */
import { defineScenario, dirichlet, instructions, megabits, minutes, readMeGates } from "flame-sim";

export default defineScenario({
  name: "pregating",
  question: "What does it cost to choose experts before the first layer begins?",
  seed: 1,
  task: { type: "pregating" },
  data: {
    source: instructions({ examples: 2_000 }),
    partition: dirichlet({ alpha: 0.3 }),
    heldOut: 0.1,
    maxTokens: 48,
  },
  fleet: [
    { name: "phone", clients: 8, budget: 2, tokensPerSecond: 300, uplink: megabits(10), dropout: 0.1 },
    { name: "laptop", clients: 8, budget: 8, tokensPerSecond: 1_500, uplink: megabits(50) },
  ],
  rounds: { count: 8, cohort: 8, deadline: minutes(2), minUpdates: 2 },
  training: { epochs: 1, batchSize: 16, learningRate: 3e-3 },
  strategy: readMeGates(),
  evaluateEvery: 4,
  evaluationExamples: 128,
});
