/** What workers are asked for and what they find: plain data, with a schema by which a checkpoint is checked. */
import * as z from "zod";
import { anyNumber, doubles, floats, notNegative, positive, whole, wholeAs } from "../src/base/fields.ts";
import type { ClientId, ParticipationId, Round } from "../src/base/ids.ts";
import { kindSchema } from "../src/fl/plan.ts";
import { type WorkInput, type WorkName, workNames } from "../src/fl/works.ts";
import { blobSchema } from "../src/runtime/messages/refs.ts";
import type { WorkSchemas } from "../src/runtime/pledges.ts";
import { scopeSchema } from "../src/tasks/scope.ts";
import { mixSchema, variantSchema } from "../src/tasks/task.ts";
import { evaluationSchema } from "../src/tasks/training-engine.ts";
import { attackSchema } from "./attack.ts";
import { membersSchema } from "./members.ts";

/** What a strategy asks of a participation. */
export const methodOrderSchema = z.strictObject({
  /** Chooses the programs. */
  kind: kindSchema,
  inputs: z.record(z.string(), z.union([anyNumber, blobSchema])),
  /** Parameters that the client has; all unless given. */
  scope: scopeSchema.exactOptional(),
  /** Which models it trains, where there are several. */
  members: membersSchema.exactOptional(),
  /** The scenario's unless given. */
  learningRate: z.number().exactOptional(),
});
export type MethodOrder = Readonly<z.output<typeof methodOrderSchema>>;

/** A strategy's programs and what they are fed, as references. */
const methodRecipeSchema = z.strictObject({
  ...methodOrderSchema.omit({ kind: true }).shape,
  /** The step of so many clients in a call. */
  step: z.record(z.string(), blobSchema),
  before: z.array(blobSchema).readonly().exactOptional(),
  after: z.array(blobSchema).readonly().exactOptional(),
  validate: blobSchema.exactOptional(),
});
export type MethodRecipe = Readonly<z.output<typeof methodRecipeSchema>>;

const trainRecipeSchema = z.strictObject({
  client: wholeAs<ClientId>(),
  round: wholeAs<Round>(),
  participation: wholeAs<ParticipationId>(),
  variant: variantSchema,
  adapter: blobSchema,
  /** What a client with a stale model learns from instead; its update is still one of `adapter`. */
  stale: blobSchema.exactOptional(),
  /** s_i to start from, one factor per layer. */
  rescaler: floats,
  /** Share of its local steps that the client takes, in (0, 1]. */
  effort: positive,
  /** What the strategy adds to the step; absent for plain training. */
  method: methodRecipeSchema.exactOptional(),
  /** Set for malicious clients. */
  attack: attackSchema.nullable(),
});
export type TrainRecipe = Readonly<z.output<typeof trainRecipeSchema>>;

/** What a client found. */
export const trainedSchema = z.strictObject({
  values: floats,
  personal: floats,
  /** Uses of each group, `[groups]`, of so many units. */
  counts: doubles,
  units: notNegative,
  firstLoss: anyNumber,
  /** Per target, of this many targets: response tokens of all steps. */
  meanLoss: anyNumber,
  targets: notNegative,
  /** Optimizer steps that it took. */
  steps: whole,
  /** Sums of probes, by name. */
  found: z.record(z.string(), doubles),
});
export type Trained = Readonly<z.output<typeof trainedSchema>>;

/** A model of a deployment; see `fl/deployment.ts`. */
const evaluatedModelSchema = z.strictObject({
  adapter: blobSchema,
  rescaler: floats,
  variant: variantSchema,
  scope: scopeSchema.exactOptional(),
  inputs: z.record(z.string(), blobSchema).exactOptional(),
});
export type EvaluatedModel = Readonly<z.output<typeof evaluatedModelSchema>>;

/** What is evaluated: one model, or several whose predictions are averaged. */
export const evaluatedSchema = z.strictObject({
  models: z.array(evaluatedModelSchema).min(1).readonly(),
  mix: mixSchema.exactOptional(),
});
export type Evaluated = Readonly<z.output<typeof evaluatedSchema>>;

const evaluateRecipeSchema = evaluatedSchema.extend({
  /** Held-out batches `[from, until)`, shards of one size however many workers there are; or what a client keeps. */
  on: z.union([z.strictObject({ from: whole, until: whole }), z.strictObject({ client: wholeAs<ClientId>() })]),
});
export type EvaluateRecipe = Readonly<z.output<typeof evaluateRecipeSchema>>;

/** What a strategy asks for at the end of a round. */
export interface Computation<Name extends WorkName = WorkName> {
  readonly name: Name;
  readonly input: WorkInput<Name>;
}

/** What workers are asked for and find, to check a checkpoint by. */
export const workSchemas: Readonly<Record<string, WorkSchemas>> = {
  train: { job: trainRecipeSchema, result: trainedSchema },
  evaluate: { job: evaluateRecipeSchema, result: evaluationSchema },
  compute: { job: z.strictObject({ name: z.enum(workNames), input: z.unknown() }), result: z.unknown() },
  /** Stands for content in runs without training. */
  nothing: { job: z.null(), result: z.unknown() },
};
