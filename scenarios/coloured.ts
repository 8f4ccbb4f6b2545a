/**
 * Does a model keep a colour that agrees with the label at one client and contradicts it at another, when the first has three
 * times the data?
 *
 *   npx flame run scenarios/coloured.ts
 *   npx flame compare scenarios/coloured.ts --strategies fl-games,fedavg --seeds 1..3
 *
 * Digits below five or not; a quarter of the labels is wrong, so shape alone is right in 75 % of the cases, and in what is
 * evaluated the colour contradicts the label in 90 %.
 */
import { byCategory, defineScenario, digits, flGames, megabits } from "flame-sim";

export default defineScenario({
  name: "coloured",
  seed: 1,
  task: {
    type: "coloured",
    environments: [
      { flip: 0.1, share: 3 },
      { flip: 0.9, share: 1 },
    ],
  },
  data: { source: digits(), partition: byCategory() },
  fleet: [{ name: "site", clients: 2, budget: 1, tokensPerSecond: 1_000, uplink: megabits(20) }],
  rounds: { count: 160, cohort: 2 },
  training: { batchSize: 32, learningRate: 1e-2, clipNorm: null },
  strategy: flGames({ optimizer: "sgd", box: 2, weighting: "uniform", representationRate: 1 }),
  evaluateEvery: 20,
});
