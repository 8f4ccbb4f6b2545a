/** Elementwise operations that carry no gradient: choices, comparisons, whole numbers, and values taken as constants. */
import { apply } from "../graph/graph.ts";
import type { Op, Tensor } from "../graph/ir.ts";
import { binaryType } from "./arithmetic.ts";

const minimumOp: Op = {
  name: "minimum",
  infer: (inputs) => binaryType("minimum", inputs),
  onnx: (emit, inputs) => emit.node("Min", inputs),
  tensorflow: (emit, inputs, node) => emit.node("Minimum", inputs, { T: node.inputs[0]!.dtype }),
  eager: (run, node) => run.set(node, run.tf.minimum(run.get(node.inputs[0]!), run.get(node.inputs[1]!))),
};
/** Elementwise smaller one. Carries no gradient. */
export const minimum = (a: Tensor, b: Tensor): Tensor => apply(minimumOp, [a, b]);

const lessOp: Op = {
  name: "less",
  infer: (inputs) => [{ ...binaryType("less", inputs)[0]!, dtype: "float32" }],
  onnx: (emit, inputs) => emit.cast(emit.node("Less", inputs)[0]!, "float32"),
  tensorflow: (emit, inputs, node) => [
    emit.cast(emit.node("Less", inputs, { T: node.inputs[0]!.dtype })[0]!, "bool", "float32"),
  ],
  eager: (run, node) =>
    run.set(node, run.tf.cast(run.tf.less(run.get(node.inputs[0]!), run.get(node.inputs[1]!)), "float32")),
};
/** 1 where a < b, else 0. Carries no gradient. */
export const less = (a: Tensor, b: Tensor): Tensor => apply(lessOp, [a, b]);

const detachOp: Op = {
  name: "detach",
  stopsGradients: true,
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  onnx: (emit, inputs) => emit.node("Identity", inputs),
  tensorflow: (emit, inputs, node) => emit.node("Identity", inputs, { T: node.inputs[0]!.dtype }),
  eager: (run, node) => run.set(node, run.tf.clone(run.get(node.inputs[0]!))),
};
/** The same values, without the way back: no gradient passes. */
export const detach = (x: Tensor): Tensor => apply(detachOp, [x]);

const integerDivideOp: Op = {
  name: "integerDivide",
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  onnx: (emit, [x], node) =>
    emit.node("Div", [x!, emit.scalar(node.attributes.divisor as number, node.outputs[0]!.dtype)]),
  tensorflow(emit, [x], node) {
    const { dtype } = node.outputs[0]!;
    return emit.node("FloorDiv", [x!, emit.scalar(node.attributes.divisor as number, dtype)], { T: dtype });
  },
  eager: (run, node) =>
    run.set(node, run.tf.floorDiv(run.get(node.inputs[0]!), run.tf.scalar(node.attributes.divisor as number, "int32"))),
};
/** ⌊x ÷ divisor⌋ for integers x ≥ 0. */
export const integerDivide = (x: Tensor, divisor: number): Tensor =>
  divisor === 1 ? x : apply(integerDivideOp, [x], { divisor });

export const discreteOps: readonly Op[] = [minimumOp, lessOp, detachOp, integerDivideOp];
