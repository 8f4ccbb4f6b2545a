/** The reference's padded groups, from their definitions in `src/tensor/ops/padded.ts`. */
import type { Node } from "../../src/tensor/graph/ir.ts";
import type { Dim, SymbolicDim } from "../../src/tensor/graph/shape.ts";
import { build, type Value, value } from "./reference-value.ts";

/** What the kernels ask of a run. */
interface Run {
  setSize(dim: SymbolicDim, size: number): void;
}

type Kernel<Attributes> = (inputs: Value[], attributes: Attributes, node: Node, run: Run) => Value[];

export const groupSlots: Kernel<{ groups: number; parts: number }> = ([positions, labels], { groups, parts }) => {
  const size = labels!.data.length / parts;
  const rows = [...positions!.data].map((at) => ({ group: labels!.data[at]!, part: Math.floor(at / size) }));
  const counts = Array.from(
    { length: groups * parts },
    (_, pair) => rows.filter(({ group, part }) => group * parts + part === pair).length,
  );
  const longest = Math.max(1, ...counts);
  const slots = rows.map(({ group, part }, row) => {
    const before = rows.slice(0, row).filter((other) => other.group === group && other.part === part).length;
    return (part * groups + group) * longest + before;
  });
  return [value([slots.length], slots), value([groups * parts], counts), value([1], [longest])];
};

export const padGroups: Kernel<{ blocks: readonly Dim[] }> = ([x, slots, longest], { blocks }, _, run) => {
  const columns = x!.shape[1]!;
  const most = longest!.data[0]!;
  run.setSize(blocks[1] as SymbolicDim, most);
  const filled = new Array<number>((blocks[0] as number) * most * columns).fill(0);
  for (const [row, slot] of slots!.data.entries()) {
    for (let column = 0; column < columns; column++) {
      filled[slot * columns + column] = x!.data[row * columns + column]!;
    }
  }
  return [value([blocks[0] as number, most, columns], filled)];
};

export const unpadGroups: Kernel<unknown> = ([blocks, slots]) => {
  const columns = blocks!.shape[2]!;
  const rows = [...slots!.data].map((slot) => [...blocks!.data.subarray(slot * columns, (slot + 1) * columns)]);
  return [value([rows.length, columns], rows.flat())];
};

/** Of each row the entries in its columns. */
export const gatherColumns: Kernel<unknown> = ([x, columns]) => {
  const [width, count] = [x!.shape.at(-1)!, columns!.shape.at(-1)!];
  return [build(columns!.shape, (_, i) => x!.data[Math.floor(i / count) * width + columns!.data[i]!]!)];
};
