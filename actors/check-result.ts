/** What a worker that nobody vouches for sends as a result: whether it has the shape of one. */
import { z } from "zod";
import { InputError } from "../src/base/errors.ts";
import type { GatheredJob } from "../src/runtime/pledges.ts";
import type { Task } from "../src/runtime/pools/pool.ts";
import type { TrainRecipe } from "./recipes.ts";

const count = z.int().min(0);
const number = z.union([z.number(), z.nan(), z.literal([Infinity, -Infinity])]);
const floats = z.instanceof(Float32Array);
const doubles = z.instanceof(Float64Array);

const trainedSchema = (parameters: number) =>
  z.strictObject({
    values: floats.refine(({ length }) => length === parameters, `expected ${parameters} values`),
    personal: floats,
    counts: doubles,
    units: number,
    firstLoss: number,
    meanLoss: number,
    targets: count,
    steps: count,
    found: z.record(z.string(), doubles),
  });

const evaluationSchema = z.strictObject({
  loss: number,
  targets: count,
  correct: count,
  exact: count,
  examples: count,
  more: z.record(z.string(), number),
  counts: doubles,
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
  if (work === "train") return trainedSchema(sizeOf(job as TrainRecipe));
  if (work === "trainTogether") {
    const [first, ...rest] = (job as GatheredJob<TrainRecipe>).jobs;
    const results = z.array(trainedSchema(sizeOf(first!))).length(rest.length + 1);
    return z.strictObject({ results, problems: z.array(z.string()) });
  }
  return work === "evaluate" ? evaluationSchema : z.unknown();
}
