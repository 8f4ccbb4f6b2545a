/** RFA: the point whose distances to all updates are least in sum, which no minority can carry away. */
import * as z from "zod";
import type { Range } from "../../../tasks/layout.ts";
import { addDelta } from "../../averaging.ts";
import { deltaFactor, keeping, minTrainersField, perGroup } from "../../kept-updates.ts";
import { hasTrained, type Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";

interface Weiszfeld {
  readonly iterations: number;
  readonly tolerance: number;
  readonly nu: number;
}

export const geometricMedian = defineStrategy({
  type: "geometric-median",
  about: {
    adapts: "how updates add up: the point with the least sum of distances to all",
    formula: `
      Δ = argmin over v of Σ p_i·‖v − Δ_i‖                by Weiszfeld's steps, smoothed, from v = Σ p_i·Δ_i:
      β_i = p_i ÷ max(ν, ‖v − Δ_i‖),   v ← Σ β_i·Δ_i ÷ Σ β_i
    `,
    notes: `
      It withstands malicious clients with less than half of the weight. "scope" is what a vector is: each expert over
      the clients that trained it, or the whole adapter with untrained experts as zeros, as the paper has it. Each step
      needs weighted sums and nothing else, so it could run on top of secure aggregation. Three steps, as in the paper, are
      not yet the median where somebody is far away: steps end before their number where v moves less than the tolerance.
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Pillutla, Kakade, Harchaoui",
        title: "Robust Aggregation for Federated Learning",
        year: 2019,
        url: "https://arxiv.org/abs/1912.13445",
      },
    ],
    certainty: "as published",
    reduces: [
      {
        options: { iterations: 0 },
        to: { type: "fedavg", weighting: "uniform", absentPolicy: "renormalise" },
        gives: ["program", "values"],
      },
    ],
  },
  options: {
    iterations: z.int().min(0).max(10_000).default(3).describe("Weiszfeld's steps at most; with none it is the mean"),
    tolerance: z.number().min(0).default(1e-9).describe("of ‖v‖, how little a step must move for the last"),
    nu: z.number().positive().default(1e-6).describe("ν, how near an update may be counted"),
    weighting: z
      .enum(["uniform", "examples"])
      .default("uniform")
      .describe("p_i: all alike, or n_i, which clients claim"),
    scope: z.enum(["expert", "adapter"]).default("expert").describe("what a vector is"),
    ...minTrainersField,
  },
  name: ({ iterations }) => `geometric-median(${iterations})`,
  make({ weighting, scope, minTrainers, ...steps }) {
    const weightOf = ({ examples }: Update) => (weighting === "uniform" ? 1 : examples);
    if (scope === "expert") {
      return perGroup(minTrainers, (trainers, group, { groups }, delta) =>
        writeMedian(trainers, weightOf, groups[group]!.ranges, steps, delta),
      );
    }
    return keeping(1, (kept, server, layout) => {
      const parameters = server.parameters.slice();
      const delta = new Float64Array(layout.size);
      const trainersOf = (group: number) => kept.filter((update) => hasTrained(update, group)).length;
      const trained = layout.groups.filter((_, group) => trainersOf(group) >= minTrainers);
      const ranges = trained.flatMap((group) => group.ranges);
      writeMedian(kept, weightOf, ranges, steps, delta);
      addDelta(parameters, delta, ranges);
      return { ...server, parameters };
    });
  },
});

function writeMedian(
  updates: readonly Update[],
  weightOf: (update: Update) => number,
  ranges: readonly Range[],
  { iterations, tolerance, nu }: Weiszfeld,
  delta: Float64Array,
): void {
  writeMean(updates, updates.map(weightOf), ranges, delta);
  const before = new Float64Array(delta.length);
  for (let step = 0; step < iterations; step++) {
    const betas = updates.map((update) => weightOf(update) / Math.max(nu, distance(update, ranges, delta)));
    before.set(delta);
    writeMean(updates, betas, ranges, delta);
    let [moved, length] = [0, 0];
    for (const { start, end } of ranges) {
      for (let i = start; i < end; i++) {
        moved += (delta[i]! - before[i]!) ** 2;
        length += delta[i]! ** 2;
      }
    }
    if (moved <= tolerance ** 2 * length) return;
  }
}

/** ‖v − Δ_i‖ */
function distance(update: Update, ranges: readonly Range[], v: Float64Array): number {
  const { values, base } = update;
  const factor = deltaFactor(update);
  let square = 0;
  for (const { start, end } of ranges)
    for (let i = start; i < end; i++) square += (v[i]! - factor * (values[i]! - base[i]!)) ** 2;
  return Math.sqrt(square);
}

/** The weighted mean, in running form so that equal updates have exactly themselves as mean. */
function writeMean(
  updates: readonly Update[],
  weights: readonly number[],
  ranges: readonly Range[],
  mean: Float64Array,
): void {
  for (const { start, end } of ranges) mean.fill(0, start, end);
  let total = 0;
  for (const [at, update] of updates.entries()) {
    const weight = weights[at]!;
    if (weight === 0) continue;
    total += weight;
    const { values, base } = update;
    const [factor, share] = [deltaFactor(update), weight / total];
    for (const { start, end } of ranges)
      for (let i = start; i < end; i++) mean[i]! += share * (factor * (values[i]! - base[i]!) - mean[i]!);
  }
}
