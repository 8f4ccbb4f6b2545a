/**
 * What a study varies, as a scenario file says it (`export const study: Study = { … }`), a program (`study(scenario, axes)`)
 * or the command line, in the words of `flame run --set`.
 */
import * as z from "zod";
import { probability } from "../../base/fields.ts";
import { parseSpec } from "../../base/problem.ts";

const variation = z.strictObject({ name: z.string().min(1), set: z.array(z.string()) });
const names = z.array(z.string().min(1)).default([]);
const seeds = z.array(z.int().min(0)).min(1);

const axes = z.strictObject({
  /** `flame`, `flame:frequencyExponent=4`, or the scenario's own by its name or type. Empty: that alone. */
  strategies: names,
  /** As strategies; sizes that are not given follow from the scenario's cohort. */
  policies: names,
  samplers: names,
  /** `none`, `sign-flip`, `scaling:factor=5:share=0.3:tier=phone`; a fifth of the clients unless given. */
  attackers: names,
  /** Probability of dropping out of every tier. */
  dropouts: z.array(probability).default([]),
  /** Values of fields, crossed: `{ "data.partition.alpha": [0.1, 1] }`. */
  vary: z.record(z.string().min(1), z.array(z.unknown()).min(1)).default({}),
  /** So many of the combinations of `vary`. */
  sample: z
    .strictObject({ count: z.int().min(1), by: z.enum(["random", "latin"]).default("random") })
    .nullable()
    .default(null),
  /** Other settings of the scenario, compared like strategies; and worlds in which all is compared anew. */
  variants: z.array(variation).default([]),
  conditions: z.array(variation).default([]),
  /** Data, partition, fleet and luck are the same in all cells of a seed, as far as the axes allow. */
  seeds: seeds.exactOptional(),
});

/** Changes of all cells. */
const throughout = {
  rounds: z.int().min(1).exactOptional(),
  timingOnly: z.boolean().default(false),
  calibration: z.string().exactOptional(),
  set: z.array(z.string()).default([]),
};

const matrixSchema = z.strictObject({ ...axes.shape, ...throughout, seeds: seeds.default([1, 2, 3, 4, 5]) });

const studySchema = axes.extend({
  smoke: z
    .strictObject({
      seeds: seeds.default([1]),
      dropouts: axes.shape.dropouts.unwrap().exactOptional(),
      rounds: z.int().min(1),
      set: z.array(z.string()).default([]),
    })
    .describe("what --smoke makes of it: the same cells, small")
    .exactOptional(),
});

/** A study that a scenario file brings along. */
export type Study = z.input<typeof studySchema>;
export type PlannedStudy = z.output<typeof studySchema>;
/** What `study(scenario, axes)` varies. */
export type Axes = z.input<typeof matrixSchema>;
export type Matrix = z.output<typeof matrixSchema>;
export type Sample = NonNullable<Matrix["sample"]>;

/** @throws ScenarioError that names the file */
export function plannedStudy(study: unknown, file: string): PlannedStudy | null {
  return study === undefined ? null : parseSpec(`${file}: study`, studySchema, study);
}

/** @throws ScenarioError */
export const matrixOf = (axes: Axes): Matrix => parseSpec("study", matrixSchema, axes);
