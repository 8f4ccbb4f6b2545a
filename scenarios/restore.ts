/**
 * Do clients whose cameras spoil pictures in different ways teach one restorer to mend them all, when some afford a
 * single rank for a picture and others four?
 *
 *   npx flame run restore
 */
import { defineScenario, dirichlet, lossFalls, megabits, minutes, mixtureOfRanks, pictures } from "flame-sim";

export default defineScenario({
  name: "restore",
  question: "Do clients whose cameras spoil pictures in different ways teach one restorer to mend them all?",
  seed: 1,
  task: { type: "restore", topK: 4 },
  data: { source: pictures({ examples: 1_200 }), partition: dirichlet({ alpha: 0.3 }), heldOut: 200 },
  fleet: [
    { name: "doorbell", clients: 4, budget: 1, tokensPerSecond: 4, uplink: megabits(1), dropout: 0.1 },
    { name: "phone", clients: 6, budget: 2, tokensPerSecond: 10, uplink: megabits(5), dropout: 0.1 },
    { name: "laptop", clients: 6, budget: 4, tokensPerSecond: 40, uplink: megabits(20) },
  ],
  rounds: { count: 12, cohort: 8, deadline: minutes(2), minUpdates: 2 },
  training: { epochs: 2, batchSize: 8, learningRate: 5e-3 },
  strategy: mixtureOfRanks({ alpha: 0.1 }),
  evaluateEvery: 4,
  evaluationExamples: 200,
  expect: [lossFalls({ by: 0.3 })],
});
