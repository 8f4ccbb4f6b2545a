/**
 * What happens to an actor whose turn a simulated crash cut off. A turn that throws is a bug and never comes here.
 */
import type { Millis } from "../base/units.ts";

/** More than `restarts` crashes within any stretch of `within` end the actor. */
export interface Supervision {
  readonly restarts: number;
  readonly within: Millis;
  readonly otherwise: "stop";
}

/**
 * @param crashes instants of earlier crashes, ascending
 * @returns the crashes to remember, and whether the actor goes on with the state it had
 */
export function afterCrash(
  crashes: readonly Millis[],
  now: Millis,
  supervision: Supervision | undefined,
): { readonly crashes: readonly Millis[]; readonly verdict: "restart" | "stop" } {
  if (supervision === undefined) return { crashes: [], verdict: "restart" };
  const recent = [...crashes.filter((at) => now - at < supervision.within), now];
  return { crashes: recent, verdict: recent.length > supervision.restarts ? "stop" : "restart" };
}
