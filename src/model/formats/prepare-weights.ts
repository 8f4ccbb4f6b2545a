/**
 * Converts a checkpoint once and finds the result again:
 *
 *   <cache>/<digest>/weights.bin     the executor layout, to be mapped
 *   <cache>/<digest>/weights.json    what it is
 *   <cache>/seen-<key>.json          the digest of large source files, as long as they are untouched
 *
 * The folder gets its name when both files are complete and on disk; until then it is called `….partial`, and is removed
 * by whoever fails, or by the next run if the machine stopped.
 */

import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { threadId } from "node:worker_threads";
import { Draft, diskError, makeFolder, onDisk, syncFolder, writeFully } from "../../base/disk.ts";
import { InvariantError, invariant } from "../../base/errors.ts";
import { largestJson, openToRead } from "../../base/open.ts";
import { userFolder } from "../../base/places.ts";
import { isRunning } from "../../base/processes.ts";
import { readText } from "../../base/text.ts";
import { sizeOf } from "../../tensor/graph/shape.ts";
import { blockRows, readStored } from "../../tensor/stored/stored.ts";
import { type BaseForm, type BaseWeights, baseWeightPlan, type WeightSource } from "../base-weights.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { checkpointDigest } from "./checkpoint-digest.ts";
import { type ConversionOptions, convertWeights, halfTypes } from "./convert-weights.ts";

/** Where converted weights are kept unless the user says otherwise. */
export const defaultWeightsCache = (): string => join(userFolder("cache"), "weights");

/**
 * The checkpoint in executor layout: from the cache if it was converted before, else converted now.
 *
 * @throws MachineError if the disk refuses; nothing is left behind then, nor after an abort
 */
export async function prepareBaseWeights(
  checkpoint: Checkpoint,
  cache: string = defaultWeightsCache(),
  { form = "f32", ...options }: PreparationOptions = {},
): Promise<BaseWeights> {
  const { config } = checkpoint;
  const digest = onDisk(`cannot write ${cache}`, () => {
    makeFolder(cache);
    removeLeftovers(cache);
    return checkpointDigest(checkpoint, cache, form);
  });
  const folder = join(cache, digest);
  const plan = baseWeightPlan(config, form, halfTypes(checkpoint));
  const planned: Planned = { path: join(folder, "weights.bin"), digest, form, config, ...plan };
  return complete(folder, planned) ?? (await convertInto(cache, folder, checkpoint, planned, options));
}

interface PreparationOptions extends ConversionOptions {
  /** Float32 unless given. */
  readonly form?: BaseForm;
}

/** Base weights before they are there. */
type Planned = Omit<BaseWeights, "error">;

/** Base weights as a file that pieces are read from. */
export class BaseWeightsFile implements WeightSource {
  readonly config: WeightSource["config"];
  readonly #weights: BaseWeights;
  #descriptor: number | null;

  constructor(weights: BaseWeights) {
    this.config = weights.config;
    this.#weights = weights;
    this.#descriptor = openToRead(weights.path);
  }

  read(name: string, target: Float32Array, first = 0): void {
    const tensor = this.#weights.tensors.get(name) ?? unknownTensor(name);
    invariant(
      first + target.length <= sizeOf(tensor.shape),
      () => `elements up to ${first + target.length} of ${name}`,
    );
    invariant(this.#descriptor !== null, "base weights are read after they were closed");
    readStored(this.#descriptor, this.#weights.path, tensor, target, first);
  }

  /** Closes the file; a second call does nothing. */
  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
  }
}

function unknownTensor(name: string): never {
  throw new InvariantError(`base weights have no tensor ${name}`);
}

/** The name was given last, so that a folder of this name is whole; what is checked is that nobody cut it since. */
function complete(folder: string, planned: Planned): BaseWeights | null {
  try {
    const text = readText(join(folder, "weights.json"), largestJson);
    const weights = { ...planned, error: Number(JSON.parse(text).error ?? 0) };
    return statSync(planned.path).size === planned.bytes && text === sidecar(weights) ? weights : null;
  } catch {
    return null;
  }
}

function sidecar({ digest, form, error, config, bytes, tensors }: BaseWeights): string {
  const stored = form === "f32" ? { dtype: "float32" } : { form, block: blockRows, error };
  return `${JSON.stringify({ digest, ...stored, config, bytes, tensors: Object.fromEntries(tensors) })}\n`;
}

/** Conversions under way in this thread. */
const active = new Set<string>();
let conversions = 0;

async function convertInto(
  cache: string,
  folder: string,
  checkpoint: Checkpoint,
  planned: Planned,
  options: ConversionOptions,
): Promise<BaseWeights> {
  const name = `${planned.digest}.${process.pid}.${threadId}.${conversions++}.partial`;
  const partial = join(cache, name);
  const draft = new Draft();
  active.add(name);
  try {
    mkdirSync(draft.add(partial));
    const error = await writeSynced(join(partial, "weights.bin"), (descriptor) => {
      // The gaps between tensors are zeros.
      ftruncateSync(descriptor, planned.bytes);
      return convertWeights(checkpoint, descriptor, planned.tensors, options);
    });
    const weights = { ...planned, error };
    await writeSynced(join(partial, "weights.json"), async (descriptor) => {
      writeFully(descriptor, new TextEncoder().encode(sidecar(weights)));
    });
    syncFolder(partial);
    publish(partial, folder, planned);
    return weights;
  } catch (error) {
    throw diskError(`cannot write ${folder}`, error);
  } finally {
    draft.remove();
    active.delete(name);
  }
}

async function writeSynced<Result>(path: string, write: (descriptor: number) => Promise<Result>): Promise<Result> {
  const descriptor = openSync(path, "wx");
  try {
    const result = await write(descriptor);
    fsyncSync(descriptor);
    return result;
  } finally {
    closeSync(descriptor);
  }
}

/** Gives the finished folder its name. If somebody else finished first, theirs has the same bytes and stays. */
function publish(partial: string, folder: string, planned: Planned): void {
  if (complete(folder, planned) !== null) return;
  rmSync(folder, { recursive: true, force: true });
  try {
    renameSync(partial, folder);
  } catch (error) {
    if (complete(folder, planned) === null) throw error;
  }
  syncFolder(join(folder, ".."));
}

/** Removes what interrupted conversions left: folders of processes that are gone. */
function removeLeftovers(cache: string): void {
  for (const name of readdirSync(cache)) {
    const match = /^[0-9a-f]{64}\.(\d+)\.(\d+)\.\d+\.partial$/.exec(name);
    if (match === null) continue;
    const [pid, thread] = [Number(match[1]), Number(match[2])];
    const isOurs = pid === process.pid && thread === threadId;
    if (isOurs ? !active.has(name) : pid !== process.pid && !isRunning(pid)) {
      rmSync(join(cache, name), { recursive: true, force: true });
    }
  }
}
