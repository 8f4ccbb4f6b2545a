/** Safetensors files whose tensors are stretches of one flat vector: what adapters are stored in. */
import { InputError } from "../../base/errors.ts";
import { throwMistakes } from "../../base/problem.ts";
import { floatDtypes, SafetensorsFile } from "./safetensors.ts";
import type { NamedTensor } from "./safetensors-writer.ts";
import { transposeInto } from "./transpose.ts";

export interface FlatTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** First element in the flat vector. */
  readonly start: number;
  /** Whether the vector has the transpose of this matrix. */
  readonly transposed?: boolean;
}

const sizeOf = ({ shape }: FlatTensor): number => shape.reduce((size, length) => size * length, 1);

/** With their values, as files hold them. */
export const namedTensors = (tensors: Iterable<FlatTensor>, vector: Float32Array): NamedTensor[] =>
  [...tensors].map((tensor) => {
    const { name, shape, start, transposed = false } = tensor;
    const values = vector.subarray(start, start + sizeOf(tensor));
    return { name, shape, values: transposed ? transposeOf(values, shape[1]!, shape[0]!) : values };
  });

/**
 * @param size elements of the flat vector
 * @throws InputError naming the file and everything that is missing, unexpected or misshaped; or the first element that
 *   is not a finite number
 */
export function readFlatTensors(path: string, tensors: Iterable<FlatTensor>, size: number): Float32Array {
  const expected = [...tensors];
  const file = SafetensorsFile.open(path);
  try {
    checkTensors(file, expected);
    const vector = new Float32Array(size);
    for (const tensor of expected) readTensor(file, tensor, vector);
    return vector;
  } finally {
    file.close();
  }
}

/** A diverged training leaves NaN behind, which would make every answer NaN and nobody know why. */
export function readTensor(file: SafetensorsFile, tensor: FlatTensor, vector: Float32Array): void {
  const { name, shape, start, transposed = false } = tensor;
  const values = vector.subarray(start, start + sizeOf(tensor));
  file.readFloats(name, values);
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at >= 0) {
    const columns = shape.at(-1)!;
    const place = shape.length === 1 ? `[${at}]` : `[${Math.floor(at / columns)}, ${at % columns}]`;
    throw new InputError(`${file.path}: tensor ${name} has ${values[at]} at ${place}, expected finite numbers`);
  }
  if (transposed) values.set(transposeOf(values, shape[0]!, shape[1]!));
}

/** @throws InputError that lists what is missing, unexpected or misshaped */
export function checkTensors(file: SafetensorsFile, expected: readonly Pick<FlatTensor, "name" | "shape">[]): void {
  const problems: string[] = [];
  const names = new Set(expected.map(({ name }) => name));
  for (const { name, shape } of expected) {
    const entry = file.tensors.get(name);
    if (entry === undefined) problems.push(`tensor ${name} is missing, expected shape [${shape.join(", ")}]`);
    else if (entry.shape.join() !== shape.join()) {
      problems.push(`tensor ${name} has shape [${entry.shape.join(", ")}], expected [${shape.join(", ")}]`);
    } else if (!floatDtypes.has(entry.dtype))
      problems.push(`tensor ${name} is ${entry.dtype}, expected a floating-point type`);
  }
  for (const name of file.tensors.keys()) {
    if (!names.has(name)) problems.push(`tensor ${JSON.stringify(name.slice(0, 160))} is unexpected`);
  }
  throwMistakes(file.path, problems);
}

/** @param values `[rows, columns]` */
function transposeOf(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  transposeInto(values, columns, 0, turned, rows, 0, rows, columns);
  return turned;
}
