/**
 * The asynchronous pattern: a fixed number of clients is always at work, and every `buffer`-th update makes a version.
 *
 * A client that answers is replaced at once, so with C clients at work and M updates a version the mean staleness is
 * (C − 1) / M. Invitations without an answer hold their place until they have been out for `timeout`; without one, lost
 * clients are replaced only when the server sees the loss.
 */
import { type Millis, millis } from "../../base/units.ts";
import type { Arrival, Decision, PolicyBehaviour, PolicyView } from "../policy.ts";
import { atMost, patience } from "./fields.ts";
import { type StalenessOptions, stalenessWeight } from "./staleness.ts";

export const timeoutField = {
  timeout: patience
    .default(null)
    .describe("milliseconds after which an unanswered invitation is given up; null waits for ever"),
};

interface BufferedOptions extends StalenessOptions {
  readonly concurrency: number;
  readonly buffer: number;
  /** Share of a fresh update that is let through. */
  readonly share: number;
  readonly maxStaleness: number | null;
  readonly timeout: number | null;
}

export function buffered(options: BufferedOptions): PolicyBehaviour {
  const { concurrency, buffer, share, timeout } = options;
  return {
    carriesOver: true,
    facts: () => ({ timeout }),
    problems: (fleetSize) => [
      ...atMost("concurrency", concurrency, fleetSize, "the clients of the fleet"),
      ...atMost("buffer", buffer, fleetSize, "the clients of the fleet"),
    ],
    onRound: (view) => sweep(view, concurrency, timeout),
    onUpdate(view, arrival) {
      const answer = judge(view, arrival, options, share);
      if (answer.type === "accept" && view.accepted + 1 >= buffer) return [answer, { type: "close", aggregate: true }];
      return [answer, ...refill(view, concurrency)];
    },
    onTimer: (view, name) => (name === "refill" ? refill(view, concurrency) : sweep(view, concurrency, timeout)),
    onQuiet: (view) => refill(view, concurrency),
  };
}

/** Accepts with the weight of its staleness, or refuses what is staler than allowed. */
export function judge(
  { round: now }: PolicyView,
  { participation, round }: Arrival,
  options: StalenessOptions & { readonly maxStaleness: number | null },
  share = 1,
): Decision {
  const staleness = now - round;
  return options.maxStaleness !== null && staleness > options.maxStaleness
    ? { type: "refuse", participation, as: "rejected" }
    : { type: "accept", participation, discount: share * stalenessWeight(options, staleness) };
}

/** Brings the number of clients at work back to `concurrency`. */
export function refill({ outstanding }: PolicyView, concurrency: number): Decision[] {
  return outstanding < concurrency ? [{ type: "invite", count: concurrency - outstanding }] : [];
}

/**
 * Gives up what has been out for too long and refills. How many places that frees is only known afterwards, so the
 * refill comes from a timer that rings at the same instant; another one brings the next sweep.
 */
export function sweep(view: PolicyView, concurrency: number, timeout: number | null): Decision[] {
  if (timeout === null) return refill(view, concurrency);
  const after = millis(timeout);
  const next: Decision = { type: "timer", after, name: "sweep" };
  if (view.outstanding === 0 || view.now < after) return [...refill(view, concurrency), next];
  return [
    { type: "give-up", sentBefore: (view.now - after) as Millis },
    { type: "timer", after: millis(0), name: "refill" },
    next,
  ];
}
