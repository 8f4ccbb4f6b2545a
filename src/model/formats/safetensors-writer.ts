/**
 * Writes safetensors files: the same tensors give the same bytes, and the file appears whole or not at all.
 *
 * Format: https://github.com/huggingface/safetensors
 */
import { writeAtomically, writeFully } from "../../base/disk.ts";
import { InputError, invariant } from "../../base/errors.ts";
import { narrowBfloat, narrowHalf } from "../../tensor/stored/half.ts";
import { type Dtype, dtypeBytes } from "./safetensors-header.ts";

/** How float32 values are stored. float16 and bfloat16 round to nearest, ties to even. */
export type StoredDtype = "F32" | "F16" | "BF16";

export const dtypeNames = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

export interface TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
}

export interface NamedTensor extends TensorSpec {
  /** Row-major. */
  readonly values: Float32Array;
}

/** Elements converted at a time. */
const chunkSize = 1 << 18;

/** What libraries expect of files made for PyTorch. */
const pytorch: Readonly<Record<string, string>> = { format: "pt" };

/** Writes tensors that are in memory. */
export function writeSafetensors(
  path: string,
  tensors: readonly NamedTensor[],
  options: { readonly dtype?: StoredDtype; readonly metadata?: Readonly<Record<string, string>> } = {},
): void {
  const values = tensors.map((tensor) => tensor.values);
  streamSafetensors(path, tensors, values, options);
}

/**
 * Writes tensors that are made while writing, so that a model larger than the memory can pass through.
 *
 * @param specs in file order
 * @param chunks the elements of all tensors one after the other, cut anywhere; a chunk may be reused once it was taken
 * @throws InputError at a number that 16 bits would turn into infinity: every loss of such a model would be NaN
 * @throws InvariantError if the chunks are more or fewer elements than the shapes say
 */
export function streamSafetensors(
  path: string,
  specs: readonly TensorSpec[],
  chunks: Iterable<Float32Array>,
  options: { readonly dtype?: StoredDtype; readonly metadata?: Readonly<Record<string, string>> } = {},
): void {
  const dtype = options.dtype ?? "F32";
  const { header, elements } = encodeHeader(specs, dtype, options.metadata);
  writeAtomically(path, (descriptor) => {
    writeFully(descriptor, header);
    let position = header.length;
    for (const chunk of chunks) {
      for (let first = 0; first < chunk.length; first += chunkSize) {
        const values = chunk.subarray(first, first + chunkSize);
        const bytes = encode(values, dtype, (at) => {
          const [name, element] = placeOf(specs, (position - header.length) / dtypeBytes[dtype] + at);
          return new InputError(
            `${path}: tensor ${name} has ${values[at]} at element ${element}, expected a finite number that ` +
              `${dtypeNames[dtype]} can hold; store it as ${dtype === "F16" ? "bfloat16 or float32" : "float32"}`,
          );
        });
        writeFully(descriptor, bytes, position);
        position += bytes.length;
      }
    }
    const written = (position - header.length) / dtypeBytes[dtype];
    invariant(written === elements, () => `${path}: wrote ${written} elements, the shapes say ${elements}`);
  });
}

/** Length and JSON, padded with spaces so that the data begin at a multiple of 8. */
export function encodeHeader(
  specs: readonly TensorSpec[],
  dtype: Dtype,
  metadata: Readonly<Record<string, string>> = pytorch,
): { header: Uint8Array; elements: number } {
  // A Map and `fromEntries` keep a tensor called "__proto__" an ordinary name.
  const fields = new Map<string, unknown>([["__metadata__", metadata]]);
  let elements = 0;
  for (const { name, shape } of specs) {
    invariant(!fields.has(name), () => `two tensors are called ${name}`);
    const begin = elements * dtypeBytes[dtype];
    elements += shape.reduce((size, length) => size * length, 1);
    fields.set(name, { dtype, shape, data_offsets: [begin, elements * dtypeBytes[dtype]] });
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(fields)));
  const length = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, 8);
  return { header, elements };
}

function encode(values: Float32Array, dtype: StoredDtype, overflow: (at: number) => InputError): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const narrow = new Uint16Array(values.length);
  if (dtype === "F16") narrowHalf(values, narrow);
  else narrowBfloat(values, narrow);
  // All bits of the exponent: infinity, or not a number.
  const exponent = dtype === "F16" ? 0x7c00 : 0x7f80;
  const at = narrow.findIndex((bits) => (bits & exponent) === exponent);
  if (at >= 0) throw overflow(at);
  return new Uint8Array(narrow.buffer);
}

/** The tensor in which an element of the file lies, and its number there. */
function placeOf(specs: readonly TensorSpec[], element: number): [name: string, element: number] {
  let left = element;
  for (const { name, shape } of specs) {
    const size = shape.reduce((product, length) => product * length, 1);
    if (left < size) return [name, left];
    left -= size;
  }
  return ["behind the last", left];
}
