/**
 * A round policy of one's own: is it enough to wait for the first half of those who were invited?
 *
 *   npx flame run own/policy
 *
 * A policy answers three questions with decisions, and remembers nothing: what it needs to know is in the view.
 */
import {
  type Decision,
  defineScenario,
  dirichlet,
  everyRoundAggregated,
  lossFalls,
  type RoundPolicy,
  table,
} from "flame-sim";

/** Invites `cohort` clients and closes when half of them have answered. Who is slower is late. */
export const half = (cohort: number): RoundPolicy => {
  const goal = Math.ceil(cohort / 2);
  const close: Decision = { type: "close", aggregate: true };
  return {
    name: `half(${cohort})`,
    spec: { type: "half", cohort },
    carriesOver: false,
    facts: () => ({ minUpdates: 1 }),
    onRound: () => [{ type: "invite", count: cohort }],
    onUpdate({ round, accepted }, { participation, round: of }) {
      if (of !== round) return [{ type: "refuse", participation, as: "late" }];
      const accept: Decision = { type: "accept", participation, discount: 1 };
      return accepted + 1 >= goal ? [accept, close] : [accept];
    },
    onTimer: () => [],
    onQuiet: ({ accepted }) => [{ type: "close", aggregate: accepted > 0 }],
  };
};

export default defineScenario({
  name: "own-policy",
  question: "Is it enough to wait for the first half of those who were invited?",
  seed: 1,
  task: { type: "tabular" },
  data: { source: table("wine"), partition: dirichlet({ alpha: 1 }), heldOut: 0.25 },
  fleet: [
    { name: "fast", clients: 4, budget: 1, tokensPerSecond: 100, uplink: 1e5 },
    { name: "slow", clients: 4, budget: 1, tokensPerSecond: 5, uplink: 1e4, dropout: 0.2 },
  ],
  rounds: { count: 8, cohort: 6, policy: half(6) },
  training: { learningRate: 3e-2, epochs: 2 },
  strategy: { type: "fedavg" },
  evaluateEvery: 4,
  expect: [everyRoundAggregated(), lossFalls({ by: 0.2 })],
});
