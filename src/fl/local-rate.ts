/**
 * Learning rates of clients: the scenario's, which may change from round to round, and those of methods that prescribe plain
 * SGD, which wants another rate than AdamW. A schedule is a factor f(r) of all of them, of round r of R with w of warm-up:
 *
 *   r ≤ w      f = r ÷ (w + 1)
 *   constant   f = 1
 *   linear     f = 1 − (1 − e)·p                      p = (r − w − 1) ÷ (R − w)
 *   cosine     f = e + (1 − e)·(1 + cos π·p) ÷ 2      e what would be left in round R + 1
 *   step       f = factor ^ (how many rounds of `after` have passed)
 *
 * So are PyTorch's LinearLR and CosineAnnealingLR, stepped once a round.
 */
import * as z from "zod";
import type { Setting } from "../tasks/task.ts";
import type { Plan } from "./plan.ts";

const warmup = z.int().min(0).default(0).describe("w, rounds in which the rate rises");
const final = z.number().min(0).max(1).default(0).describe("e, share of the rate that decay ends at");

export const scheduleSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("constant"), warmup }).describe("stays, after the warm-up"),
  z.strictObject({ type: z.literal("linear"), warmup, final }).describe("falls by as much each round"),
  z.strictObject({ type: z.literal("cosine"), warmup, final }).describe("falls slowly, fast, and slowly again"),
  z
    .strictObject({
      type: z.literal("step"),
      warmup,
      after: z.array(z.int().min(0)).min(1).readonly().describe("rounds after which the rate falls"),
      factor: z.number().gt(0).max(1).default(0.1).describe("what it is multiplied by"),
    })
    .describe("falls at once, after given rounds"),
]);

/** Survives msgpack and JSON. */
export type Schedule = Readonly<z.output<typeof scheduleSchema>>;

/** f(r), in (0, 1]; a prelude, round 0, trains at the rate of round 1. @param rounds R */
export function rateFactor(schedule: Schedule | undefined, round: number, rounds: number): number {
  if (schedule === undefined) return 1;
  const r = Math.max(1, round);
  const { warmup } = schedule;
  if (r <= warmup) return r / (warmup + 1);
  const progress = (r - warmup - 1) / (rounds - warmup);
  switch (schedule.type) {
    case "constant":
      return 1;
    case "linear":
      return 1 - (1 - schedule.final) * progress;
    case "cosine":
      return schedule.final + ((1 - schedule.final) * (1 + Math.cos(Math.PI * progress))) / 2;
    case "step":
      return schedule.factor ** schedule.after.filter((last) => r > last).length;
  }
}

export const localRateField = {
  localLearningRate: z
    .number()
    .positive()
    .optional()
    .describe(
      "of local SGD steps; the scenario's training.learningRate unless given, and like this under its schedule",
    ),
};

/** A method's own rate, as the schedule leaves it. */
export const ofRate = (
  rate: number | undefined,
  { rateFactor: factor }: Pick<Setting, "rateFactor">,
): Partial<Pick<Plan, "learningRate">> => (rate === undefined ? {} : { learningRate: factor * rate });
