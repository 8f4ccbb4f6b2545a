/** What tasks on rows of numbers, and cuts of a model, leave of their parameters: tensors, and beside them what these are of. */
import { join } from "node:path";
import { writeAtomically } from "../../base/disk.ts";
import { InputError } from "../../base/errors.ts";
import { fieldDifferences } from "../../base/field-differences.ts";
import { readJson } from "../../base/json.ts";
import { show } from "../../base/problem.ts";
import { type FlatTensor, namedTensors, readFlatTensors } from "./flat-tensors.ts";
import { writeSafetensors } from "./safetensors-writer.ts";

interface Stored {
  /** `network_model.safetensors` */
  readonly file: string;
  readonly tensors: Iterable<FlatTensor>;
  /** Parameters in all. */
  readonly size: number;
  /** `network_config.json`, and what is in it; a folder where it says something else is of another model. */
  readonly about?: { readonly file: string; readonly content: object };
}

export function storedAs({ file, tensors, size, about }: Stored) {
  const flat = [...tensors];
  return {
    save(folder: string, parameters: Float32Array): void {
      writeSafetensors(join(folder, file), namedTensors(flat, parameters));
      if (about) writeAtomically(join(folder, about.file), `${JSON.stringify(about.content, null, 2)}\n`);
    },
    /** @throws InputError naming the file that is missing, damaged or of something else */
    read(folder: string): Float32Array {
      if (about) {
        const path = join(folder, about.file);
        const [other] = fieldDifferences(readJson(path), JSON.parse(JSON.stringify(about.content)));
        if (other !== undefined) {
          throw new InputError(`${path}: ${other.path} is ${show(other.a)}, but what is trained has ${show(other.b)}`);
        }
      }
      return readFlatTensors(join(folder, file), flat, size);
    },
  };
}
