/** How transformers divides a model among safetensors files: by size, with an index that says which tensor is where. */
import { sizeOf } from "../../tensor/graph/shape.ts";
import type { TensorSpec } from "./safetensors-writer.ts";

export const singleName = "model.safetensors";
export const indexName = "model.safetensors.index.json";

/** Bytes of tensors in one file, unless a single tensor is larger: what transformers takes. */
const usualShardBytes = 5e9;

/** File name → its tensors, in order; a tensor that would make a file too large begins the next one. */
export function shardsOf(
  specs: Iterable<TensorSpec>,
  bytesPerWeight: number,
  most: number = usualShardBytes,
): Map<string, TensorSpec[]> {
  const shards: TensorSpec[][] = [[]];
  let bytes = 0;
  for (const spec of specs) {
    const size = sizeOf(spec.shape) * bytesPerWeight;
    if (bytes > 0 && bytes + size > most) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(spec);
    bytes += size;
  }
  const five = (number: number) => String(number).padStart(5, "0");
  const nameOf = (at: number) =>
    shards.length === 1 ? singleName : `model-${five(at + 1)}-of-${five(shards.length)}.safetensors`;
  return new Map(shards.map((tensors, at) => [nameOf(at), tensors]));
}

/** @param total bytes of all tensors */
export function indexText(shards: ReadonlyMap<string, readonly TensorSpec[]>, total: number): string {
  const homes = [...shards].flatMap(([file, specs]) => specs.map(({ name }) => [name, file]));
  return `${JSON.stringify({ metadata: { total_size: total }, weight_map: Object.fromEntries(homes) }, null, 2)}\n`;
}
