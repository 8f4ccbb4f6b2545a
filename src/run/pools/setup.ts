/** What workers elsewhere are set up with: everything that a worker thread here is given, as bytes by their digest. */
import * as z from "zod";
import type { TrainingSetup } from "../../../actors/training.ts";
import type { WorkerData } from "../../../actors/worker.ts";
import { shared } from "../../data/examples.ts";
import type { MergeLimit } from "../../engine/merge-limit.ts";
import { type ChosenEngine, engineNames } from "../../engine/names.ts";
import { encode } from "../../runtime/messages/codec.ts";
import { read } from "../../runtime/pools/nats-wire.ts";
import { taskTypes } from "../../tasks/facts.ts";
import type { TaskSpec } from "../../tasks/kind.ts";
import { narrowTypes } from "../../tensor/stored/stored.ts";
import { type Parts, partsOf, partsSchema } from "./weights.ts";

export interface Chosen {
  readonly engine: ChosenEngine;
  readonly merge: MergeLimit;
}

export interface PackedSetup {
  readonly setup: Uint8Array;
  /** The base weights, piece by piece. */
  readonly contents: ReadonlyMap<string, () => Uint8Array>;
}

const storedSchema = z.strictObject({
  offset: z.int().min(0),
  shape: z.array(z.int().min(1)),
  type: z.enum(narrowTypes).exactOptional(),
  scales: z.int().min(0).exactOptional(),
});

const setupSchema = z.strictObject({
  engine: z.enum(engineNames).exclude(["auto"]),
  merge: z.union([z.strictObject({ clients: z.int().min(1) }), z.strictObject({ bytes: z.int().min(0) })]),
  task: z.strictObject({ type: z.enum(taskTypes), options: z.unknown(), shape: z.custom<TaskSpec["shape"]>(isRecord) }),
  weights: z
    .strictObject({
      file: partsSchema,
      tensors: z.array(z.tuple([z.string(), storedSchema])),
    })
    .nullable(),
  setup: z.custom<TrainingSetup>(isRecord),
});

/** Base weights on disk are read and hashed. */
export function packSetup(
  setup: TrainingSetup,
  { weights, ...task }: TaskSpec,
  { engine, merge }: Chosen,
): PackedSetup {
  const file = weights === null ? null : partsOf(weights.path);
  const packed = {
    engine,
    merge,
    task,
    weights: file === null ? null : { file: file.parts, tensors: [...weights!.tensors] },
    setup,
  };
  return { setup: encode(packed), contents: file?.contents ?? new Map() };
}

/**
 * @param weightsFile finds or fetches base weights. @returns where they are
 * @throws InputError when it is none, or names what the weights do not hold
 */
export async function openSetup(bytes: Uint8Array, weightsFile: (file: Parts) => Promise<string>): Promise<WorkerData> {
  const { engine, merge, task, weights, setup } = read(setupSchema, bytes, "the setup of a run");
  const source = weights === null ? null : { path: await weightsFile(weights.file), tensors: new Map(weights.tensors) };
  return {
    setup: inSharedMemory(setup) as TrainingSetup,
    engine: { task: { ...task, weights: source }, engine, merge },
  };
}

/** A copy with arrays of numbers that all threads see. */
function inSharedMemory(value: unknown): unknown {
  if (ArrayBuffer.isView(value)) return shared(value.constructor as typeof Float32Array, value as Float32Array);
  if (Array.isArray(value)) return value.map(inSharedMemory);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, inSharedMemory(part)]));
}

function isRecord(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
