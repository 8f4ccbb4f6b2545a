/**
 * How good is a network that devices cut to what they can run, when it was trained by clients of which most can hold an eighth
 * of it?
 *
 *   npx flame run scenarios/split-mix.ts
 *
 * Eight narrow networks in the place of one of width 256: a budget is how many of them a client trains, and a device mixes.
 */
import { defineScenario, digits, dirichlet, megabits, splitMix } from "flame-sim";

const budgets = [8, 4, 2, 1];

export default defineScenario({
  name: "split-mix",
  seed: 1,
  task: { type: "vision", network: { type: "mlp", hidden: [256, 256] } },
  data: { source: digits(), partition: dirichlet({ alpha: 0.3 }), heldOut: 0.2 },
  fleet: budgets.map((budget) => ({
    name: `${budget} of 8`,
    clients: 5,
    budget,
    tokensPerSecond: 200 * budget,
    uplink: megabits(20),
  })),
  rounds: { count: 60, cohort: 8 },
  training: { batchSize: 16, learningRate: 3e-3 },
  strategy: splitMix({ bases: 8 }),
  evaluateEvery: 20,
  evaluationExamples: 400,
});
