/**
 * Changes of whole matrices as one flat vector: for each low-rank pair of the layout, in order, `[inputs, outputs]`, which is
 * how matrices lie in programs. A variant with `delta: 1` asks for such a vector by the name `delta`, and adds it to the
 * frozen matrices.
 */
import type { ParameterLayout } from "./layout.ts";

/** Where each pair's matrix begins; one more at the end, the length of the vector. */
export function denseOffsets({ pairs }: Pick<ParameterLayout, "pairs">): number[] {
  const offsets = [0];
  for (const { inputs, outputs } of pairs) offsets.push(offsets.at(-1)! + inputs * outputs);
  return offsets;
}
