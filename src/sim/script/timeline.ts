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
import * as z from "zod";
import { duration, instant } from "../../base/fields.ts";
import { formatTime, type Millis } from "../../base/units.ts";
import { type Effect, effectSchema } from "./effects.ts";

/** Does the entry end after it begins? */
const endsLater = ({ from, until }: { from: number; until?: number }, ctx: z.RefinementCtx): void => {
  const message = `later than from, which is ${from}`;
  if (until !== undefined && until <= from) ctx.addIssue({ code: "custom", path: ["until"], message });
};

const from = instant.describe("first instant, in milliseconds from the beginning");
const effect = effectSchema.describe("what happens");

export const timelineEntrySchema = z.discriminatedUnion("type", [
  z
    .strictObject({ type: z.literal("at"), at: instant.describe("milliseconds from the beginning"), effect })
    .describe("once"),
  z
    .strictObject({ type: z.literal("between"), from, until: instant.describe("instant at which it ends"), effect })
    .describe("from one instant to another")
    .superRefine(endsLater)
    // Of two lengths, one would be overlooked.
    .refine(({ effect }) => !("duration" in effect), {
      path: ["effect", "duration"],
      error: "nothing, since from and until say how long",
    }),
  z
    .strictObject({
      type: z.literal("every"),
      period: duration.describe("milliseconds from one time to the next"),
      from,
      until: instant.exactOptional().describe("first instant at which it no longer happens"),
      effect,
    })
    .describe("again and again")
    .superRefine(endsLater),
]);

export type TimelineEntry = Readonly<z.output<typeof timelineEntrySchema>>;

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

/** Entries whose time had not come when the run ended, in words. @param end milliseconds */
export const neverCame = (timeline: readonly TimelineEntry[], end: number): string[] =>
  timeline.flatMap((entry, at) =>
    firstTime(entry) <= end
      ? []
      : [
          `world.timeline[${at}] (${entry.effect.type}) is for ${formatTime(firstTime(entry))}; the run ends at ${formatTime(end)}`,
        ],
  );
