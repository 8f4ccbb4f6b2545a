/**
 * What a run begins with in the place of fresh parameters: what another run has learned, or an adapter in the form in which a
 * run leaves it, such as PEFT's. A method's own memory is not in it and begins anew.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "../base/errors.ts";
import type { OpenedTask } from "../tasks/kind.ts";
import { readRescalers } from "./rescalers.ts";
import { openRunFolder, readResult } from "./run-folder.ts";
import { digestOfLearned, requireSealedAdapter } from "./seal.ts";

export interface WarmStart {
  readonly parameters: Float32Array;
  /** s of the budgets that the folder knows. */
  readonly rescalers: ReadonlyMap<number, Float32Array>;
  /** SHA-256 of its files. */
  readonly digest: string;
}

/**
 * @param path a finished run's folder, or one that holds an adapter
 * @throws InputError naming what is wrong with it: an unfinished run, changed files, another model's
 */
export function readWarmStart(path: string, task: Pick<OpenedTask, "read" | "task" | "layers">): WarmStart {
  const folder = learnedIn(path);
  const parameters = task.read(folder);
  const { personal } = task.task;
  const known = personal === 0 ? null : readRescalers(folder, task.layers);
  const rescalers = [...(known ?? [])].map(([topK, factors]) => [topK, fitted(factors, personal, folder)] as const);
  return { parameters, rescalers: new Map(rescalers), digest: digestOfWarmStart(path) };
}

export const digestOfWarmStart = (path: string): string => digestOfLearned(learnedIn(path));

/** The folder with the adapter. */
function learnedIn(path: string): string {
  if (!existsSync(path))
    throw new InputError(`warmStart: ${path} does not exist; expected a run's folder or an adapter's`);
  if (!existsSync(join(path, "scenario.json"))) return path;
  const folder = openRunFolder(path);
  const result = readResult(folder);
  if (result === null) throw new InputError(`warmStart: the run in ${path} has not finished; expected one that has`);
  if (result.adapterDigest === null) throw new InputError(`warmStart: the run in ${path} has trained nothing`);
  requireSealedAdapter(folder, result);
  return folder.adapter;
}

/** One factor for all layers where the scenario has one. */
function fitted(factors: Float32Array, length: number, folder: string): Float32Array {
  if (factors.length === length) return factors;
  if (new Set(factors).size === 1) return factors.slice(0, length);
  throw new InputError(`warmStart: ${folder} has a factor for each layer, but rescaler.shared is one for all of them`);
}
