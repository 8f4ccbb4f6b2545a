/** What a worker that nobody vouches for sends as a result: whether it has the shape of one. */
import * as z from "zod";
import { InputError } from "../src/base/errors.ts";
import type { GatheredJob } from "../src/runtime/pledges.ts";
import type { Task } from "../src/runtime/pools/pool.ts";
import { evaluationSchema } from "../src/tasks/training-engine.ts";
import { type TrainRecipe, trainedSchema } from "./recipes.ts";

const trainedOf = (parameters: number) =>
  trainedSchema.extend({
    values: trainedSchema.shape.values.refine(({ length }) => length === parameters, `expected ${parameters} values`),
  });

/** @throws InputError that says what is wrong with it */
export function checkResult({ work, job }: Task, value: unknown): void {
  const { success, error } = schemaOf(work, job).safeParse(value);
  if (success) return;
  const { path, message } = error.issues[0]!;
  throw new InputError(`${path.join(".")} ${message}`);
}

function schemaOf(work: string, job: unknown): z.ZodType {
  const sizeOf = ({ adapter }: TrainRecipe) => adapter.bytes / 4;
  if (work === "train") return trainedOf(sizeOf(job as TrainRecipe));
  if (work === "trainTogether") {
    const [first, ...rest] = (job as GatheredJob<TrainRecipe>).jobs;
    const results = z.array(trainedOf(sizeOf(first!))).length(rest.length + 1);
    return z.strictObject({ results, problems: z.array(z.string()) });
  }
  return work === "evaluate" ? evaluationSchema : z.unknown();
}
