/**
 * What a scenario makes happen, and when. Scripted effects compose with the random models: an outage takes away clients
 * that chance would have kept, and chance still takes others.
 *
 *   timeline: [
 *     at(minutes(30), outage("region-2", minutes(10))),
 *     between(hours(1), hours(2), slowdown("phone", 3)),
 *     every(hours(24), serverRestart(minutes(5)), { from: hours(3) }),
 *     at(hours(6), hook((sim) => { if (sim.now > 0) sim.inject(crash("laptop")); })),
 *   ]
 *
 * Everything but a hook's function is plain data.
 */

import { checkNotNegative, checkPositive, checkThat, type Problem } from "../../base/problem.ts";
import type { Millis } from "../../base/units.ts";
import type { FleetNames } from "../fleet/fleet.ts";
import { checkEffect, type Effect } from "./effects.ts";

export type TimelineEntry =
  | { readonly type: "at"; readonly at: Millis; readonly effect: Effect }
  | { readonly type: "between"; readonly from: Millis; readonly until: Millis; readonly effect: Effect }
  | {
      readonly type: "every";
      readonly period: Millis;
      readonly from: Millis;
      /** First instant at which it no longer happens. */
      readonly until?: Millis;
      readonly effect: Effect;
    };

export const at = (time: Millis, effect: Effect): TimelineEntry => ({ type: "at", at: time, effect });

export const between = (from: Millis, until: Millis, effect: Effect): TimelineEntry => ({
  type: "between",
  from,
  until,
  effect,
});

/** First at `from`, or after one period if that is left out. */
export const every = (
  period: Millis,
  effect: Effect,
  { from = period, until }: { readonly from?: Millis; readonly until?: Millis } = {},
): TimelineEntry => ({ type: "every", period, from, effect, ...(until === undefined ? {} : { until }) });

/** When the entry happens for the first time. */
export const firstTime = (entry: TimelineEntry): Millis => (entry.type === "at" ? entry.at : entry.from);

/** When it happens again after `time`; null if it does not. */
export function timeAfter(entry: TimelineEntry, time: Millis): Millis | null {
  if (entry.type !== "every") return null;
  const next = (time + entry.period) as Millis;
  return entry.until !== undefined && next >= entry.until ? null : next;
}

/** The effect with the duration its entry gives it. */
export function effectOf(entry: TimelineEntry): Effect {
  const { effect } = entry;
  if (entry.type !== "between" || effect.type === "hook" || effect.type === "crash") return effect;
  return { ...effect, duration: (entry.until - entry.from) as Millis };
}

export function checkTimeline(path: string, timeline: readonly TimelineEntry[], fleet: FleetNames): Problem[] {
  return timeline.flatMap((entry, i) => {
    const here = `${path}[${i}]`;
    const problems = [
      ...checkNotNegative(entry.type === "at" ? `${here}.at` : `${here}.from`, firstTime(entry)),
      ...checkEffect(`${here}.effect`, entry.effect, fleet),
    ];
    // Of two lengths, one would be overlooked.
    if (entry.type === "between" && "duration" in entry.effect) {
      const what = "nothing, since from and until say how long";
      problems.push(...checkThat(false, `${here}.effect.duration`, what, entry.effect.duration));
    }
    if (entry.type === "every") problems.push(...checkPositive(`${here}.period`, entry.period));
    if (entry.type !== "at" && entry.until !== undefined) {
      const { from, until } = entry;
      problems.push(...checkThat(until > from, `${here}.until`, `later than from, which is ${from}`, until));
    }
    return problems;
  });
}
