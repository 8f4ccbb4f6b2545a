/**
 * What a token costs at each budget, as measured by `flame calibrate` instead of counted in FLOPs. A device's speed is
 * quoted at one budget; the calibration says how much faster it is at another. Between measured budgets the time a token
 * takes is linear in k; beyond them it goes on as the FLOPs do.
 */

import { z } from "zod";
import { count, positive } from "../base/fields.ts";
import { readJson } from "../base/json.ts";

export const calibrationSchema = z.strictObject({
  /** What was measured, and on what; for readers. */
  machine: z.string().exactOptional(),
  engine: z.string().exactOptional(),
  model: z.string().exactOptional(),
  batchSize: count.exactOptional(),
  length: count.exactOptional(),
  budgets: z
    .array(
      z.strictObject({
        topK: count,
        /** Of training, padding not counted. */
        tokensPerSecond: positive,
        millisecondsPerStep: positive.exactOptional(),
      }),
    )
    .min(1),
});

export type Calibration = z.output<typeof calibrationSchema>;

/**
 * Cost of a training token at k active experts, in FLOPs as far as only ratios matter: at the largest measured budget it
 * is what `flops` says.
 */
export function measuredCost({ budgets }: Calibration, flops: (topK: number) => number): (topK: number) => number {
  const points = budgets
    .toSorted((a, b) => a.topK - b.topK)
    .map(({ topK, tokensPerSecond }) => ({ topK, time: 1 / tokensPerSecond }));
  const [first, last] = [points[0]!, points.at(-1)!];
  const unit = flops(last.topK) / last.time;
  return (topK) => {
    if (topK <= first.topK) return (unit * first.time * flops(topK)) / flops(first.topK);
    if (topK >= last.topK) return flops(topK);
    const above = points.findIndex((point) => point.topK >= topK);
    const [low, high] = [points[above - 1]!, points[above]!];
    const share = (topK - low.topK) / (high.topK - low.topK);
    return unit * (low.time + share * (high.time - low.time));
  };
}

/** What the file says; the scenario it comes into checks it. @throws InputError */
export function calibrationFrom(path: string): Calibration {
  return readJson(path, 2 ** 20) as Calibration;
}
