/** Fields and checks that several policies have in common. */
import * as z from "zod";
import { expected, type Problem } from "../../base/problem.ts";
import { longestTime } from "../../base/units.ts";

/** A positive duration of virtual time, in milliseconds. */
export const duration = z.number().positive().max(longestTime);

/** A duration, or null for ever. `Infinity` becomes null, which JSON can carry. */
export const patience = z.preprocess(
  (value: number | null) => (value === Infinity ? null : value),
  duration.nullable(),
);

/** A problem if `value` exceeds `limit`, the number of `what` there are. */
export const atMost = (path: string, value: number, limit: number, what: string): Problem[] =>
  value <= limit ? [] : [expected(path, `at most ${limit}, ${what}`, value)];
