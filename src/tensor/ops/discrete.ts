/** Operations on values as they are: choices, comparisons, whole numbers, constants, and when something is computed. */
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

const afterOp: Op = {
  name: "after",
  infer: ([x]) => [{ shape: x!.shape, dtype: "float32" }],
  backward: (node, [g]) => node.inputs.map((_, index) => (index === 0 ? g! : null)),
  onnx(emit, [x, ...awaited], { inputs }) {
    // ONNX has no order but that of data: a⁰ = 1 whatever a is, and x · 1 = x. A 1 stands in for what has no numbers.
    const firsts = awaited.map((name, at) => {
      const [flat] = emit.node("Reshape", [name, emit.integers([-1])]);
      const [first] = emit.node("Slice", [flat!, emit.integers([0]), emit.integers([1])]);
      return inputs[at + 1]!.dtype === "float32" ? first! : emit.cast(first!, "float32")[0]!;
    });
    const [joined] = emit.node("Concat", [...firsts, emit.floats([1])], { axis: 0 });
    const [ones] = emit.node("Pow", [joined!, emit.scalar(0)]);
    const [one] = emit.node("ReduceMax", [ones!, emit.integers([0])], { keepdims: 1 });
    return emit.node("Mul", [x!, one!]);
  },
  tensorflow: (emit, [x, ...awaited]) => emit.node("Identity", [x!, ...awaited.map(controlOf)], { T: "float32" }),
  eager: (run, node) => run.set(node, run.tf.clone(run.get(node.inputs[0]!))),
};

const controlOf = (name: string): string => `^${name.split(":")[0]}`;

/** `x`, bit for bit, but not before `awaited` have been computed, and never merged with the computation of `x` before. */
export const after = (x: Tensor, awaited: readonly Tensor[]): Tensor => apply(afterOp, [x, ...awaited]);

export const discreteOps: readonly Op[] = [minimumOp, lessOp, detachOp, integerDivideOp, afterOp];
