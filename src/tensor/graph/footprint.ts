/** How much memory a program needs while it runs, as far as its graph tells. */
import { constantOp, inputOp, reachable, weightOp } from "./graph.ts";
import type { Node, Program, Tensor } from "./ir.ts";
import type { DType, SymbolicDim } from "./shape.ts";

const widths: Readonly<Record<DType, number>> = { float32: 4, int32: 4, int64: 8, bool: 1 };

/**
 * The most bytes alive at one time when every node runs once, in order, and each value lives until its last use. Inputs
 * and outputs live throughout; frozen weights and constants are not counted. Executors add what they copy, align and keep
 * for later.
 *
 * @param sizeOf what a size known at run time will be
 * @param overwritten names of outputs that lie where the inputs of these names do
 */
export function peakBytes(
  { inputs, outputs }: Program,
  sizeOf: (dim: SymbolicDim) => number,
  overwritten: ReadonlySet<string> = new Set(),
): number {
  const bytesOf = ({ shape, dtype }: Tensor): number =>
    shape.reduce<number>((size, dim) => size * (typeof dim === "number" ? dim : sizeOf(dim)), widths[dtype]);
  const isCounted = ({ op }: Node) => op !== weightOp && op !== constantOp;
  const order = reachable(Object.values(outputs)).filter(isCounted);
  const lastUse = new Map<Node, number>();
  for (const [at, node] of order.entries()) for (const { node: source } of node.inputs) lastUse.set(source, at);
  const kept = new Set([...Object.values(inputs), ...Object.values(outputs)].map(({ node }) => node));
  const weigh = (node: Node): number => node.outputs.reduce((sum, output) => sum + bytesOf(output), 0);

  const placed = new Set([...overwritten].map((name) => outputs[name]!.node));
  let alive = Object.values(inputs).reduce((sum, input) => sum + bytesOf(input), 0);
  let most = alive;
  for (const [at, node] of order.entries()) {
    if (node.op !== inputOp && !placed.has(node)) alive += weigh(node);
    most = Math.max(most, alive);
    for (const source of new Set(node.inputs.map((input) => input.node))) {
      if (lastUse.get(source) === at && !kept.has(source) && isCounted(source)) alive -= weigh(source);
    }
  }
  return most;
}
