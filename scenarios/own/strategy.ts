/**
 * A strategy of one's own: does it help to hear least from those whose updates are largest?
 *
 *   npx flame run own/strategy
 *   npx flame stress own/strategy --strategies fedavg,krum,quiet --seeds 3
 *
 * It is FedAvg but for the weight of an update. What every strategy owes, `testStrategy` checks: docs/strategies.md.
 */
import { defineScenario, dirichlet, fedavg, lossFalls, type Strategy, table, type Update } from "flame-sim";

const plain = fedavg();

/** n_i ÷ ‖Δ_i‖: what is loud counts less. */
const quieter = (update: Update): Update => {
  let square = 0;
  for (const [i, value] of update.values.entries()) square += (value - update.base[i]!) ** 2;
  return { ...update, examples: update.examples / Math.max(Math.sqrt(square), 1e-6) };
};

export const quiet: Strategy = {
  ...plain,
  name: "quiet",
  spec: { type: "quiet" },
  weight: (update, group, layout) => plain.weight(quieter(update), group, layout),
  fold: (sum, update, setting, at) => plain.fold(sum, quieter(update), setting, at),
};

export default defineScenario({
  name: "own-strategy",
  question: "Does it help to hear least from those whose updates are largest, when one client in six shouts?",
  seed: 1,
  task: { type: "tabular" },
  data: { source: table("wine"), partition: dirichlet({ alpha: 1 }), heldOut: 0.25 },
  fleet: [{ name: "clinic", clients: 12, budget: 1, tokensPerSecond: 50, uplink: 1e5, dropout: 0.1 }],
  rounds: { count: 8, cohort: 6 },
  training: { learningRate: 3e-2, epochs: 2 },
  attackers: [{ share: 0.17, attack: { type: "scaling", factor: 20 } }],
  strategy: quiet,
  evaluateEvery: 4,
  expect: [lossFalls({ by: 0.2 })],
});
