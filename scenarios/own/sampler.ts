/**
 * A sampler of one's own: does it help to ask those first who were counted least often?
 *
 *   npx flame run own/sampler
 *   npx flame run own/sampler --set rounds.sampler.type=uniform
 *
 * A sampler sees the fleet, what is known of each client, and who is there. What it draws with is the same in every run of
 * the seed; the clock and Math.random are refused. docs/strategies.md says the rest.
 */
import {
  type Candidates,
  type ClientId,
  type ClientSampler,
  clientId,
  type Draws,
  defineScenario,
  dirichlet,
  everyTierCounted,
  lossFalls,
  minutes,
  table,
} from "flame-sim";

/** Fewest counted updates first, ties by lot; ascending by id, as all samplers answer. */
export const neediest: ClientSampler = {
  name: "neediest",
  spec: { type: "neediest" },
  needsLosses: false,
  select({ fleet, history, isEligible }: Candidates, count: number, draws: Draws): ClientId[] {
    const there = Array.from({ length: fleet.size }, (_, row) => clientId(row)).filter(isEligible);
    const waiting = draws.shuffle(there).sort((a, b) => history.timesCounted[a]! - history.timesCounted[b]!);
    return waiting.slice(0, count).sort((a, b) => a - b);
  },
};

export default defineScenario({
  name: "own-sampler",
  question: "Does it help to ask those first who were counted least often?",
  seed: 1,
  task: { type: "tabular" },
  data: { source: table("wine"), partition: dirichlet({ alpha: 0.5 }), heldOut: 0.25 },
  fleet: [
    { name: "fast", clients: 4, budget: 1, tokensPerSecond: 100, uplink: 1e5 },
    { name: "flaky", clients: 4, budget: 1, tokensPerSecond: 10, uplink: 1e4, dropout: 0.5 },
  ],
  rounds: { count: 8, cohort: 3, deadline: minutes(1), sampler: neediest },
  training: { learningRate: 3e-2, epochs: 2 },
  strategy: { type: "fedavg" },
  evaluateEvery: 4,
  expect: [everyTierCounted(), lossFalls({ by: 0.2 })],
});
