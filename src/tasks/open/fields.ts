/** The field `task` of a scenario. What describes a language model lies in fields of its own, `model` and `lora`. */
import * as z from "zod";
import { colouredFields } from "../coloured/fields.ts";
import { pregatingSchema } from "../pregating/fields.ts";
import { refactorSchema } from "../refactor/fields.ts";
import { restoreFields } from "../restore/fields.ts";
import { twoViewFields } from "../two-view/fields.ts";
import { visionFields } from "../vision/fields.ts";

export const taskSchema = z.discriminatedUnion("type", [
  z
    .strictObject({ type: z.literal("llm") })
    .describe("a language model of experts, whose fields are `model` and `lora`"),
  visionFields,
  restoreFields,
  refactorSchema,
  pregatingSchema,
  twoViewFields,
  colouredFields,
  z.strictObject({ type: z.literal("tabular") }).describe("a table of numbers, of which a linear model says the class"),
]);
