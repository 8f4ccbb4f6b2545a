/**
 * The tensors of a Hugging Face model folder, whether they lie in one file (`model.safetensors`) or in several, with
 * `model.safetensors.index.json` saying which tensor is where.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { InputError } from "../../base/errors.ts";
import { readJson } from "../../base/json.ts";
import { throwMistakes } from "../../base/problem.ts";
import { SafetensorsFile, type TensorEntry } from "./safetensors.ts";
import { indexName, singleName } from "./shards.ts";

export class TensorFolder {
  readonly folder: string;
  /** Paths of the safetensors files, sorted. */
  readonly files: readonly string[];
  /** Bytes of all files. */
  readonly bytes: number;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly #opened: readonly SafetensorsFile[];
  readonly #homes: ReadonlyMap<string, SafetensorsFile>;

  private constructor(folder: string, opened: readonly SafetensorsFile[]) {
    this.folder = folder;
    this.files = opened.map(({ path }) => path).sort();
    this.bytes = opened.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#opened = opened;
    const tensors = new Map<string, TensorEntry>();
    const homes = new Map<string, SafetensorsFile>();
    for (const file of opened) {
      for (const [name, entry] of file.tensors) {
        tensors.set(name, entry);
        homes.set(name, file);
      }
    }
    this.tensors = tensors;
    this.#homes = homes;
  }

  /**
   * Opens every file and checks every header, and the index against them.
   *
   * @throws InputError naming the file and what is wrong with it
   */
  static open(folder: string): TensorFolder {
    // A folder with both is read as transformers reads it: the single file wins.
    if (existsSync(join(folder, singleName)))
      return new TensorFolder(folder, [SafetensorsFile.open(join(folder, singleName))]);
    const indexPath = join(folder, indexName);
    if (!existsSync(indexPath)) throw new InputError(missingWeights(folder));
    const index = readIndex(indexPath);
    const opened: SafetensorsFile[] = [];
    try {
      for (const file of [...new Set(index.values())].sort()) opened.push(SafetensorsFile.open(join(folder, file)));
      checkIndex(indexPath, folder, index, opened);
    } catch (error) {
      for (const file of opened) file.close();
      throw error;
    }
    return new TensorFolder(folder, opened);
  }

  /** See {@link SafetensorsFile.readFloats}. */
  readFloats(name: string, target: Float32Array, first = 0): void {
    this.#home(name).readFloats(name, target, first);
  }

  /** See {@link SafetensorsFile.readBytes}. */
  readBytes(name: string, target: Uint8Array, first = 0): void {
    this.#home(name).readBytes(name, target, first);
  }

  /** Closes every file; a second call does nothing. */
  close(): void {
    for (const file of this.#opened) file.close();
  }

  #home(name: string): SafetensorsFile {
    const file = this.#homes.get(name);
    if (file === undefined) throw new InputError(`${this.folder}: there is no tensor ${JSON.stringify(name)}`);
    return file;
  }
}

function missingWeights(folder: string): string {
  if (!existsSync(folder)) return `${folder}: there is no such folder`;
  const expected = `${folder}: expected ${singleName} or ${indexName}`;
  return existsSync(join(folder, "pytorch_model.bin")) || existsSync(join(folder, "pytorch_model.bin.index.json"))
    ? `${expected}, got pytorch_model.bin: a pickle can run code, so convert it to safetensors first`
    : `${expected}, got neither`;
}

/** Tensor name → file name. A file name is a plain name: an index may not reach out of its folder. */
function readIndex(path: string): Map<string, string> {
  const problems: string[] = [];
  const weightMap = parseIndex(path);
  const index = new Map<string, string>();
  for (const [name, file] of Object.entries(weightMap)) {
    if (typeof file === "string" && /^[^/\\\0:]+\.safetensors$/.test(file) && !file.startsWith(".."))
      index.set(name, file);
    else {
      const got = JSON.stringify(file) ?? "nothing";
      problems.push(
        `tensor ${JSON.stringify(name)} is in ${got}, expected the name of a .safetensors file in this folder`,
      );
    }
  }
  if (index.size === 0) problems.push("weight_map names no tensor");
  throwMistakes(path, problems);
  return index;
}

function parseIndex(path: string): object {
  const parsed = readJson(path);
  const weightMap = (parsed as { weight_map?: unknown } | null)?.weight_map;
  if (typeof weightMap !== "object" || weightMap === null || Array.isArray(weightMap)) {
    throw new InputError(`${path}: expected an object "weight_map" from tensor names to file names`);
  }
  return weightMap;
}

/** The index and the files must tell the same story. */
function checkIndex(
  path: string,
  folder: string,
  index: ReadonlyMap<string, string>,
  opened: readonly SafetensorsFile[],
): void {
  const problems: string[] = [];
  const found = new Map<string, string[]>();
  for (const file of opened) {
    const name = file.path.slice(join(folder, "/").length);
    for (const tensor of file.tensors.keys()) found.set(tensor, [...(found.get(tensor) ?? []), name]);
  }
  for (const [tensor, file] of index) {
    if (found.get(tensor)?.includes(file) !== true) problems.push(`${file} has no tensor ${JSON.stringify(tensor)}`);
  }
  for (const [tensor, files] of found) {
    if (files.length > 1) problems.push(`tensor ${JSON.stringify(tensor)} is in ${files.join(" and ")}`);
    else if (!index.has(tensor))
      problems.push(`${files[0]} has a tensor ${JSON.stringify(tensor)} that the index does not name`);
  }
  throwMistakes(path, problems);
}
