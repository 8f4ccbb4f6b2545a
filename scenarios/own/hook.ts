/**
 * A hook of one's own: what does a rolling blackout cost, that follows those who are at work?
 *
 *   npx flame run own/hook
 *
 * A hook sees the simulated world, and changes it by effects alone: those that a timeline may hold.
 */
import {
  type ClientId,
  defineScenario,
  dirichlet,
  every,
  hook,
  minutes,
  outage,
  participationAtLeast,
  type SimulatedWorld,
  seconds,
  table,
} from "flame-sim";

/** Cuts one of the busy clients off for a minute. */
export const blackout = ({ busyClients, inject, draws }: SimulatedWorld): void => {
  const busy: readonly ClientId[] = busyClients();
  if (busy.length > 0) inject(outage({ clients: [busy[draws.below(busy.length)]!] }, minutes(1)));
};

export default defineScenario({
  name: "own-hook",
  question: "What does a blackout cost that follows those who are at work?",
  seed: 1,
  task: { type: "tabular" },
  data: { source: table("wine"), partition: dirichlet({ alpha: 1 }), heldOut: 0.25 },
  fleet: [{ name: "clinic", clients: 8, budget: 1, tokensPerSecond: 10, uplink: 1e4 }],
  world: { timeline: [every(seconds(10), hook(blackout))] },
  rounds: { count: 6, cohort: 4, deadline: minutes(1) },
  training: { learningRate: 3e-2, epochs: 2 },
  strategy: { type: "fedavg" },
  evaluateEvery: 3,
  expect: [participationAtLeast(0.1)],
});
