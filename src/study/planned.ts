/** The study that a scenario file brings along: `export const study: Study = { … }`, what `flame compare` does unless told. */
import { z } from "zod";
import { ScenarioError } from "../base/errors.ts";

/** In the words of `flame run --set`. */
const variation = z.strictObject({ name: z.string().min(1), set: z.array(z.string()) });
const seeds = z.array(z.number().int().min(0)).min(1);

const studySchema = z.strictObject({
  strategies: z.array(z.string()).default([]).describe("as --strategies takes them"),
  variants: z.array(variation).default([]).describe("other settings of the scenario, a row each"),
  conditions: z
    .array(variation)
    .default([])
    .describe("worlds in which the rows are compared, tables of their own each"),
  dropouts: z.array(z.number().min(0).max(1)).default([]).describe("of every tier, conditions as well"),
  seeds: seeds.default([1, 2, 3, 4, 5]),
  smoke: z
    .strictObject({
      seeds: seeds.default([1]),
      dropouts: z.array(z.number().min(0).max(1)).optional(),
      rounds: z.number().int().positive(),
      set: z.array(z.string()).default([]),
    })
    .describe("what --smoke makes of it: the same cells, small"),
});

export type Study = z.input<typeof studySchema>;
export type PlannedStudy = z.output<typeof studySchema>;
export type Variation = z.output<typeof variation>;

/** @throws ScenarioError that names the file */
export function plannedStudy(study: unknown, file: string): PlannedStudy | null {
  if (study === undefined) return null;
  const { success, data, error } = studySchema.safeParse(study);
  if (!success) throw new ScenarioError(`${file}: study: ${z.prettifyError(error)}`);
  return data;
}
