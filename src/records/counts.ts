/** Numbers that rows on disk are made of, and how many participations ended in which way. */
import * as z from "zod";

export const count = z.int().min(0);
/** Milliseconds of virtual time. */
export const instant = z.number().min(0);
/** JSON has no NaN: a loss that left the finite numbers comes back as null. */
export const measured = z.union([z.number(), z.null().transform(() => Number.NaN)]);

/** Every invitation ends in exactly one of these. */
export const outcomes = ["counted", "late", "dropped", "rejected"] as const;
export type Outcome = (typeof outcomes)[number];

/** Participations that began, and by their ends. */
export const countFields = { invited: count, counted: count, late: count, dropped: count, rejected: count };
export type Counts = { [Field in keyof typeof countFields]: number };

export const noCounts = (): Counts => ({ invited: 0, counted: 0, late: 0, dropped: 0, rejected: 0 });

/** The sum of what `parts` counted. */
export function sumOf(parts: Iterable<Readonly<Counts>>): Counts {
  const sum = noCounts();
  for (const part of parts) {
    sum.invited += part.invited;
    for (const outcome of outcomes) sum[outcome] += part[outcome];
  }
  return sum;
}
