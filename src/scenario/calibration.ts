/**
 * What a token costs at each budget, as measured by `flame calibrate` instead of counted in FLOPs. A device's speed is
 * quoted at one budget; the calibration says how much faster it is at another. Between measured budgets the time a token
 * takes is linear in k; beyond them it goes on as the FLOPs do.
 */

import * as z from "zod";
import { count, positive } from "../base/fields.ts";
import { readJson } from "../base/json.ts";

export const calibrationSchema = z.strictObject({
  machine: z.string().exactOptional().describe("what it was measured on; for readers"),
  engine: z.string().exactOptional().describe("what computed; for readers"),
  model: z.string().exactOptional().describe("what was trained; for readers"),
  batchSize: count.exactOptional().describe("examples of a step that was measured; for readers"),
  length: count.exactOptional().describe("tokens of an example; for readers"),
  budgets: z
    .array(
      z.strictObject({
        budget: count.describe("experts per token"),
        tokensPerSecond: positive.describe("tokens trained in a second, padding not counted"),
        millisecondsPerStep: positive.exactOptional().describe("of an optimizer step; for readers"),
      }),
    )
    .min(1)
    .refine((budgets) => new Set(budgets.map(({ budget }) => budget)).size === budgets.length, "each budget once")
    .describe("measurements, one for each budget; between them the time of a token is linear in the budget"),
});

export type Calibration = z.output<typeof calibrationSchema>;

/**
 * Cost of a training token at k active experts, in FLOPs as far as only ratios matter: at the largest measured budget it
 * is what `flops` says.
 */
export function measuredCost({ budgets }: Calibration, flops: (budget: number) => number): (budget: number) => number {
  const points = budgets
    .toSorted((a, b) => a.budget - b.budget)
    .map(({ budget, tokensPerSecond }) => ({ budget, time: 1 / tokensPerSecond }));
  const [first, last] = [points[0]!, points.at(-1)!];
  const unit = flops(last.budget) / last.time;
  return (budget) => {
    if (budget <= first.budget) return (unit * first.time * flops(budget)) / flops(first.budget);
    if (budget >= last.budget) return flops(budget);
    const above = points.findIndex((point) => point.budget >= budget);
    const [low, high] = [points[above - 1]!, points[above]!];
    const share = (budget - low.budget) / (high.budget - low.budget);
    return unit * (low.time + share * (high.time - low.time));
  };
}

/** What the file says; the scenario it comes into checks it. @throws InputError */
export function calibrationFrom(path: string): Calibration {
  return readJson(path, 2 ** 20) as Calibration;
}
