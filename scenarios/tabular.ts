/**
 * Twelve clinics with tumours of mostly one kind each: does one model that all of them train still tell the two kinds apart?
 *
 *   npx flame run scenarios/tabular.ts
 *   npx flame run scenarios/tabular.ts --data patients.csv
 *   npx flame compare scenarios/tabular.ts --strategies fedavg,scaffold,fedprox --seeds 3
 *
 * 569 tumours of 30 measurements come with the program; docs/add-a-task.md shows how the task was added.
 */
import { accuracyReaches, defineScenario, dirichlet, fedavg, megabits, minutes, table } from "flame-sim";

export default defineScenario({
  name: "tabular",
  question: "Does one model tell two kinds of tumours apart when each clinic that trains it has mostly one of them?",
  seed: 1,
  task: { type: "tabular" },
  data: { source: table("breast-cancer"), partition: dirichlet({ alpha: 0.3 }), heldOut: 0.25 },
  fleet: [
    { name: "clinic", clients: 9, budget: 1, tokensPerSecond: 50, uplink: megabits(1), dropout: 0.2 },
    { name: "hospital", clients: 3, budget: 1, tokensPerSecond: 1_000, uplink: megabits(20) },
  ],
  rounds: { count: 20, cohort: 6, deadline: minutes(1), minUpdates: 2 },
  training: { batchSize: 16, learningRate: 1e-2, epochs: 2 },
  strategy: fedavg(),
  evaluateEvery: 5,
  expect: [accuracyReaches({ share: 0.9, at: 1 })],
});
