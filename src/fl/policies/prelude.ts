/**
 * The round before round 1 of a strategy that asks for one: all who are there are invited, and every one of them is
 * waited for, whatever the policy of the rounds after it. A server waits for clients whose connection breaks no longer.
 */
import type { Decision, RoundPolicy } from "../policy.ts";

const close: Decision = { type: "close", aggregate: true };

export const prelude: RoundPolicy = {
  name: "prelude",
  spec: { type: "prelude" },
  carriesOver: false,
  onRound: () => [{ type: "invite", count: Infinity }],
  onUpdate({ outstanding }, { participation }) {
    const accept: Decision = { type: "accept", participation, discount: 1 };
    return outstanding === 0 ? [accept, close] : [accept];
  },
  onTimer: () => [],
  onQuiet: () => [close],
};
