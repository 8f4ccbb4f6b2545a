/** Sums, means and maxima along axes. */
import { apply, type Op, type Tensor } from "../graph.ts";
import { type Dim, isRagged, normalAxis, shapeError, type Shape } from "../shape.ts";
import { broadcastLike, scale } from "./elementwise.ts";
import { reshape } from "./layout.ts";

function reducedShape(shape: Shape, axes: readonly number[], keep: boolean): Shape {
  const dims: Dim[] = [];
  for (const [axis, dim] of shape.entries()) {
    if (!axes.includes(axis)) dims.push(dim);
    else if (keep) dims.push(1);
  }
  return dims;
}

const reduction = (name: string, onnx: "ReduceSum" | "ReduceMax"): Op => ({
  name,
  infer([x], { axes, keep }) {
    return [{ shape: reducedShape(x!.shape, axes as number[], keep as boolean), dtype: x!.dtype }];
  },
  backward(node, [g]) {
    if (onnx === "ReduceMax") return [null];
    const [x] = node.inputs as [Tensor];
    const kept = reducedShape(x.shape, node.attributes.axes as number[], true);
    return [broadcastLike(reshape(g!, kept), x)];
  },
  onnx: (emit, [x], { attributes }) =>
    emit.node(onnx, [x!, emit.integers(attributes.axes as number[])], { keepdims: attributes.keep ? 1 : 0 }),
  eager(run, node) {
    const { axes, keep } = node.attributes as { axes: number[]; keep: boolean };
    const x = run.get(node.inputs[0]!);
    run.set(node, onnx === "ReduceSum" ? run.tf.sum(x, axes, keep) : run.tf.max(x, axes, keep));
  },
});

const reduceSumOp = reduction("reduceSum", "ReduceSum");
const reduceMaxOp = reduction("reduceMax", "ReduceMax");

function reduce(op: Op, x: Tensor, axes: readonly number[], keep: boolean): Tensor {
  const normal = axes.map((axis) => normalAxis(op.name, axis, x.shape)).sort((a, b) => a - b);
  if (isRagged(x.shape) && normal.includes(0)) throw shapeError(op.name, "axes within the rows of a ragged tensor", x.shape);
  return apply(op, [x], { axes: normal, keep });
}

export const reduceSum = (x: Tensor, axes: readonly number[], keep = false): Tensor => reduce(reduceSumOp, x, axes, keep);
/** Carries no gradient. */
export const reduceMax = (x: Tensor, axes: readonly number[], keep = false): Tensor => reduce(reduceMaxOp, x, axes, keep);

/** Mean over axes of static size. */
export function reduceMean(x: Tensor, axes: readonly number[], keep = false): Tensor {
  const count = axes.reduce<number>((product, axis) => {
    const dim = x.shape[normalAxis("reduceMean", axis, x.shape)]!;
    if (typeof dim !== "number") throw shapeError("reduceMean", "axes of static size", x.shape);
    return product * dim;
  }, 1);
  return scale(reduceSum(x, axes, keep), 1 / count);
}

const argMaxOp: Op = {
  name: "argMax",
  infer: ([x]) => [{ shape: x!.shape.slice(0, -1), dtype: "int64" }],
  onnx: (emit, [x]) => emit.node("ArgMax", [x!], { axis: -1, keepdims: 0 }),
  eager: (run, node) => run.set(node, run.tf.argMax(run.get(node.inputs[0]!), -1)),
};
/** Index of the largest entry along the last axis; ties go to the lower index. */
export const argMax = (x: Tensor): Tensor => apply(argMaxOp, [x]);
