/**
 * A digit in grey, and the same in a colour that says which it is for four of five digits that are trained on, and nothing
 * of those that are held out. Does a model still learn to look at shapes in both views, when some devices have one of the
 * two, and the others may lean on the colour?
 *
 *   npx flame run scenarios/two-view.ts
 *   npx flame compare scenarios/two-view.ts --strategies bmsfed,fedavg --seeds 3
 */
import { accuracyReaches, bmsfed, defineScenario, digits, dirichlet, megabits } from "flame-sim";

export default defineScenario({
  name: "two-view",
  question: "Does a model that is shown a digit's shape and a colour that gives it away still learn the shape?",
  seed: 1,
  task: { type: "two-view", views: { type: "coloured", tie: 0.8 } },
  data: { source: digits(), partition: dirichlet({ alpha: 3 }), heldOut: 360 },
  fleet: [
    { name: "both", clients: 12, budget: 3, tokensPerSecond: 50, uplink: megabits(5) },
    { name: "grey", clients: 4, budget: 1, tokensPerSecond: 50, uplink: megabits(5) },
    { name: "colour", clients: 4, budget: 2, tokensPerSecond: 50, uplink: megabits(5), dropout: 0.1 },
  ],
  rounds: { count: 30, cohort: 5 },
  training: { epochs: 2, batchSize: 16, learningRate: 3e-3 },
  strategy: bmsfed(),
  evaluateEvery: 5,
  evaluationExamples: 360,
  expect: [
    accuracyReaches({ share: 0.75, at: 3 }),
    accuracyReaches({ share: 0.85, at: 1 }),
    accuracyReaches({ share: 0.4, at: 2 }),
  ],
});
