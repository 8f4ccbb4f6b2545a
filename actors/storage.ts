/** Vectors of a strategy as content of the blob store, so that states hold references and snapshots each once. */
import * as z from "zod";
import { invariant } from "../src/base/errors.ts";
import { anyNumber, positive, whole } from "../src/base/fields.ts";
import { type ClientMemory, emptyMemory, kindSchema, type Plan, plainSchema, type Vectors } from "../src/fl/plan.ts";
import type { TurnContext } from "../src/runtime/actor.ts";
import { type BlobRef, blobSchema, type Held } from "../src/runtime/messages/refs.ts";
import { scopeSchema } from "../src/tasks/scope.ts";

/** A vector that somebody holds. */
const storedVectorSchema = z.strictObject({
  content: blobSchema,
  /** Float64 and not float32. */
  double: z.boolean(),
});
export type StoredVector = Readonly<z.output<typeof storedVectorSchema>>;

export const storedVectorsSchema = z.record(z.string(), storedVectorSchema);
export type StoredVectors = Readonly<z.output<typeof storedVectorsSchema>>;

export const storedMemorySchema = z.strictObject({ vectors: storedVectorsSchema, notes: plainSchema });
export type StoredMemory = Readonly<z.output<typeof storedMemorySchema>>;

/** A plan with its vectors stored. */
export interface StoredPlan extends Omit<Plan, "inputs" | "start"> {
  readonly start?: BlobRef;
  readonly inputs: Readonly<Record<string, number | StoredVector>>;
}

export const storedPlanSchema: z.ZodType<StoredPlan> = z.strictObject({
  kind: kindSchema,
  scope: scopeSchema.exactOptional(),
  start: blobSchema.exactOptional(),
  members: z.array(whole).exactOptional(),
  inputs: z.record(z.string(), z.union([anyNumber, storedVectorSchema])),
  effort: positive.exactOptional(),
  learningRate: z.number().exactOptional(),
  entries: whole.exactOptional(),
  bytes: z.strictObject({ down: whole.exactOptional(), up: whole.exactOptional() }).exactOptional(),
  preliminary: z.strictObject({ up: whole, down: whole }).exactOptional(),
  notes: plainSchema.exactOptional(),
  // A field that the plan has and this has not would be refused when a run is resumed.
} satisfies Record<keyof StoredPlan, z.ZodType>);

type Keeper = Pick<TurnContext, "put" | "keep" | "discard" | "bytes" | "floats">;

function store(vector: Float32Array | Float64Array, ctx: Keeper): StoredVector {
  const double = vector instanceof Float64Array;
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
  return { content: ctx.keep(ctx.put(bytes)), double };
}

/** Blobs hold bytes; a view of them as float64 needs them aligned, which shared memory of their own is. */
export function load({ content, double }: StoredVector, ctx: Keeper): Float32Array | Float64Array {
  if (!double) return ctx.floats(content);
  const { buffer, byteOffset, byteLength } = ctx.bytes(content);
  return new Float64Array(buffer, byteOffset, byteLength / 8);
}

export const loadAll = (stored: StoredVectors, ctx: Keeper): Record<string, Float32Array | Float64Array> =>
  Object.fromEntries(Object.entries(stored).map(([name, vector]) => [name, load(vector, ctx)]));

/**
 * Puts vectors in the place of others. One that is still what `loaded` gave keeps its content; contents that are no
 * longer named are let go.
 */
export function replaceAll(next: Vectors, before: StoredVectors, loaded: Vectors, ctx: Keeper): StoredVectors {
  const stored: Record<string, StoredVector> = {};
  for (const [name, vector] of Object.entries(next)) {
    const same = vector === loaded[name] ? before[name] : undefined;
    stored[name] = same ?? store(vector, ctx);
    if (same === undefined && before[name] !== undefined) ctx.discard(before[name].content);
  }
  for (const [name, { content }] of Object.entries(before)) if (!(name in next)) ctx.discard(content);
  return stored;
}

export function storePlan({ inputs = {}, start, ...plan }: Plan, ctx: Keeper): StoredPlan {
  const stored = Object.entries(inputs).map(
    ([name, value]) => [name, typeof value === "number" ? value : store(value, ctx)] as const,
  );
  return { ...plan, inputs: Object.fromEntries(stored), ...(start && { start: ctx.keep(ctx.put(start)) }) };
}

export function loadPlan({ inputs, start, ...plan }: StoredPlan, ctx: Keeper): Plan {
  const loaded = Object.entries(inputs).map(
    ([name, value]) => [name, typeof value === "number" ? value : load(value, ctx)] as const,
  );
  return { ...plan, inputs: Object.fromEntries(loaded), ...(start && { start: ctx.floats(start) }) };
}

export function discardPlan({ inputs, start }: StoredPlan, ctx: Keeper): void {
  if (start) ctx.discard(start);
  for (const value of Object.values(inputs)) if (typeof value !== "number") ctx.discard(value.content);
}

export const loadMemory = (stored: StoredMemory | undefined, ctx: Keeper): ClientMemory =>
  stored === undefined ? emptyMemory : { vectors: loadAll(stored.vectors, ctx), notes: stored.notes };

/** @internal Contents that a state's vectors refer to. */
export function* contentsOf(vectors: StoredVectors): Generator<BlobRef> {
  for (const { content } of Object.values(vectors)) yield content;
}

/**
 * A reference that weighs so much on the simulated wire: what a client has already, or is charged for elsewhere, travels
 * for nothing.
 */
export function weighing<Content extends Held>(content: Content, bytes: number): Content {
  invariant(Number.isSafeInteger(bytes) && bytes >= 0, () => `a reference weighs ${bytes} bytes`);
  return { ...content, bytes };
}
