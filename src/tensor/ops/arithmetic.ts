/**
 * Elementwise arithmetic with NumPy broadcasting, and reductions: each is the other's derivative.
 */
import { apply } from "../graph/graph.ts";
import type { Node, Op, Tensor, TensorflowLowering, TensorType } from "../graph/ir.ts";
import {
  broadcastShapes,
  type Dim,
  type DType,
  isRagged,
  normalAxis,
  type Shape,
  sameShape,
  shapeError,
  stretchedAxes,
} from "../graph/shape.ts";
import { reshape } from "./layout.ts";

type Binary = "Add" | "Sub" | "Mul" | "Div";

export function binaryType(name: string, inputs: readonly Tensor[]): TensorType[] {
  const [a, b] = inputs as [Tensor, Tensor];
  return [{ shape: broadcastShapes(name, a.shape, b.shape), dtype: a.dtype }];
}

const binary = (
  name: string,
  onnx: Binary,
  backward: (a: Tensor, b: Tensor, gradient: Tensor, node: Node) => readonly [Tensor, Tensor],
): Op => ({
  name,
  infer: (inputs) => binaryType(name, inputs),
  backward(node, [gradient]) {
    const [a, b] = node.inputs as [Tensor, Tensor];
    const [da, db] = backward(a, b, gradient!, node);
    return [sumTo(da, a.shape), sumTo(db, b.shape)];
  },
  onnx: (emit, inputs) => emit.node(onnx, inputs),
  tensorflow(emit, inputs, node) {
    const operands = onnx === "Add" ? withoutMatrixBias(emit, inputs, node) : inputs;
    return emit.node({ Add: "AddV2", Sub: "Sub", Mul: "Mul", Div: "RealDiv" }[onnx], operands, {
      T: node.inputs[0]!.dtype,
    });
  },
  eager: (run, node) => run.binary(node, onnx),
});

/**
 * TensorFlow's optimizer takes a single row that is added to a product for a bias, and then fails because a bias has one
 * axis. So the row is given one.
 */
function withoutMatrixBias(emit: TensorflowLowering, names: readonly string[], node: Node): readonly string[] {
  const [output] = node.outputs as [Tensor];
  const isRow = ({ shape }: Tensor) => shape.length > 1 && shape.slice(0, -1).every((dim) => dim === 1);
  const row = node.inputs.findIndex((x, i) => isRow(x) && sameShape(node.inputs[1 - i]!.shape, output.shape));
  const columns = node.inputs[row]?.shape.at(-1);
  if (typeof columns !== "number") return names;
  const [flat] = emit.node("Reshape", [names[row]!, emit.integers([columns])], { T: output.dtype });
  return names.map((name, i) => (i === row ? flat! : name));
}

const addOp = binary("add", "Add", (_a, _b, g) => [g, g]);
const subOp = binary("sub", "Sub", (_a, _b, g) => [g, neg(g)]);
const mulOp = binary("mul", "Mul", (a, b, g) => [mul(g, b), mul(g, a)]);
const divOp = binary("div", "Div", (_a, b, g, node) => [div(g, b), neg(div(mul(g, node.outputs[0]!), b))]);

/** A stretched operand need not be materialised when the other already has the full shape. */
function slim(a: Tensor, b: Tensor): [Tensor, Tensor] {
  const source = (t: Tensor, other: Tensor) =>
    t.node.op === broadcastLikeOp && sameShape(t.shape, other.shape) ? t.node.inputs[0]! : t;
  const left = source(a, b);
  return left === a ? [a, source(b, a)] : [left, b];
}

export const add = (a: Tensor, b: Tensor): Tensor => apply(addOp, slim(a, b));
export const sub = (a: Tensor, b: Tensor): Tensor => apply(subOp, slim(a, b));
export const mul = (a: Tensor, b: Tensor): Tensor => apply(mulOp, slim(a, b));
export const div = (a: Tensor, b: Tensor): Tensor => apply(divOp, slim(a, b));

/** Undoes broadcasting: sums `gradient` over the axes along which `shape` was stretched. */
export function sumTo(gradient: Tensor, shape: Shape): Tensor {
  if (sameShape(gradient.shape, shape)) return gradient;
  const axes = stretchedAxes(shape, gradient.shape);
  const summed = axes.length > 0 ? reduceSum(gradient, axes, true) : gradient;
  return sameShape(summed.shape, shape) ? summed : reshape(summed, shape);
}

const unary = (name: string, onnx: string, backward?: (x: Tensor, y: Tensor, g: Tensor) => Tensor): Op => ({
  name,
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  ...(backward && {
    backward: (node: Node, [g]: readonly (Tensor | null)[]) => [backward(node.inputs[0]!, node.outputs[0]!, g!)],
  }),
  onnx: (emit, inputs) => emit.node(onnx, inputs),
  // The five that exist bear the same names in both.
  tensorflow: (emit, inputs, node) => emit.node(onnx, inputs, { T: node.inputs[0]!.dtype }),
  eager: (run, node) => run.unary(node, onnx),
});

const negOp = unary("neg", "Neg", (_x, _y, g) => neg(g));
const expOp = unary("exp", "Exp", (_x, y, g) => mul(g, y));
const logOp = unary("log", "Log", (x, _y, g) => div(g, x));
const sqrtOp = unary("sqrt", "Sqrt", (_x, y, g) => scale(div(g, y), 0.5));

export const neg = (x: Tensor): Tensor => apply(negOp, [x]);
export const exp = (x: Tensor): Tensor => apply(expOp, [x]);
export const log = (x: Tensor): Tensor => apply(logOp, [x]);
export const sqrt = (x: Tensor): Tensor => apply(sqrtOp, [x]);
export const square = (x: Tensor): Tensor => mul(x, x);

const scaleOp: Op = {
  name: "scale",
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  backward: (node, [g]) => [scale(g!, node.attributes.factor as number)],
  onnx: (emit, [x], node) => emit.node("Mul", [x!, emit.scalar(node.attributes.factor as number)]),
  tensorflow: (emit, [x], node) => [emit.scaled(x!, node.attributes.factor as number)],
  eager: (run, node) =>
    run.set(node, run.tf.mul(run.get(node.inputs[0]!), run.tf.scalar(node.attributes.factor as number))),
};
export const scale = (x: Tensor, factor: number): Tensor => (factor === 1 ? x : apply(scaleOp, [x], { factor }));

const addScalarOp: Op = {
  name: "addScalar",
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  backward: (_node, [g]) => [g!],
  onnx: (emit, [x], node) =>
    emit.node("Add", [x!, emit.scalar(node.attributes.term as number, node.outputs[0]!.dtype)]),
  tensorflow(emit, [x], node) {
    const { dtype } = node.outputs[0]!;
    return emit.node("AddV2", [x!, emit.scalar(node.attributes.term as number, dtype)], { T: dtype });
  },
  eager: (run, node) => run.set(node, run.tf.add(run.get(node.inputs[0]!), node.attributes.term as number)),
};
export const addScalar = (x: Tensor, term: number): Tensor => apply(addScalarOp, [x], { term });

/** 1 where `low ≤ x ≤ high`, else 0. Carries no gradient. */
const withinOp: Op = {
  name: "within",
  infer: ([x]) => [{ shape: x!.shape, dtype: "float32" }],
  onnx(emit, [x], node) {
    const [above] = emit.node("GreaterOrEqual", [x!, emit.scalar(node.attributes.low as number)]);
    const [below] = emit.node("LessOrEqual", [x!, emit.scalar(node.attributes.high as number)]);
    const [both] = emit.node("And", [above!, below!]);
    return emit.cast(both!, "float32");
  },
  tensorflow(emit, [x], node) {
    const T = node.inputs[0]!.dtype;
    const [above] = emit.node("GreaterEqual", [x!, emit.scalar(node.attributes.low as number)], { T });
    const [below] = emit.node("LessEqual", [x!, emit.scalar(node.attributes.high as number)], { T });
    return [emit.cast(emit.node("LogicalAnd", [above!, below!])[0]!, "bool", "float32")];
  },
  eager(run, node) {
    const x = run.get(node.inputs[0]!);
    const { low, high } = node.attributes as { low: number; high: number };
    run.set(node, run.tf.cast(run.tf.logicalAnd(run.tf.greaterEqual(x, low), run.tf.lessEqual(x, high)), "float32"));
  },
};

const clipOp: Op = {
  name: "clip",
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  backward: (node, [g]) => [mul(g!, apply(withinOp, [node.inputs[0]!], node.attributes))],
  onnx: (emit, [x], node) =>
    emit.node("Clip", [x!, emit.scalar(node.attributes.low as number), emit.scalar(node.attributes.high as number)]),
  tensorflow(emit, [x], node) {
    const T = node.inputs[0]!.dtype;
    const [above] = emit.node("Maximum", [x!, emit.scalar(node.attributes.low as number)], { T });
    return emit.node("Minimum", [above!, emit.scalar(node.attributes.high as number)], { T });
  },
  eager(run, node) {
    const { low, high } = node.attributes as { low: number; high: number };
    run.set(node, run.tf.clipByValue(run.get(node.inputs[0]!), low, high));
  },
};
/** Clamps to [low, high]; the gradient is zero outside. */
export const clip = (x: Tensor, low: number, high: number): Tensor => apply(clipOp, [x], { low, high });

const castOp: Op = {
  name: "cast",
  infer: ([x], attributes) => [{ shape: x!.shape, dtype: attributes.dtype as DType }],
  // Integers carry no gradient.
  backward: (node, [g]) => [node.inputs[0]!.dtype === "float32" ? g! : null],
  onnx: (emit, [x], node) => emit.cast(x!, node.attributes.dtype as DType),
  tensorflow: (emit, [x], node) => [emit.cast(x!, node.inputs[0]!.dtype, node.attributes.dtype as DType)],
  eager: (run, node) =>
    run.set(node, run.tf.cast(run.get(node.inputs[0]!), node.attributes.dtype === "float32" ? "float32" : "int32")),
};
export const cast = (x: Tensor, dtype: DType): Tensor => (x.dtype === dtype ? x : apply(castOp, [x], { dtype }));

const broadcastLikeOp: Op = {
  name: "broadcastLike",
  infer([x, like]) {
    if (!sameShape(broadcastShapes("broadcastLike", x!.shape, like!.shape), like!.shape)) {
      throw shapeError("broadcastLike", "a shape that stretches to the other", x!.shape, like!.shape);
    }
    return [{ shape: like!.shape, dtype: x!.dtype }];
  },
  backward: (node, [g]) => [sumTo(g!, node.inputs[0]!.shape), null],
  onnx(emit, [x, like]) {
    const [shape] = emit.node("Shape", [like!]);
    return emit.node("Expand", [x!, shape!]);
  },
  tensorflow(emit, [x, like], node) {
    const [shape] = emit.node("Shape", [like!], { T: node.inputs[1]!.dtype });
    return emit.node("BroadcastTo", [x!, shape!], { T: node.inputs[0]!.dtype });
  },
  eager(run, node) {
    const [x, like] = node.inputs as [Tensor, Tensor];
    const { shape } = run.get(like);
    // TensorFlow.js takes a size of 0 for one that need not be stretched.
    run.set(node, shape.includes(0) ? run.tf.zeros(shape) : run.tf.broadcastTo(run.get(x), shape));
  },
};
/** @internal Stretches `x` to the shape of `like`. */
export const broadcastLike = (x: Tensor, like: Tensor): Tensor =>
  sameShape(x.shape, like.shape) ? x : apply(broadcastLikeOp, [x, like]);

/** Gated linear unit with SiLU: `gate · σ(gate) · up`; σ(gate) and gate · σ(gate) are kept for the derivative. */
const swigluOp: Op = {
  name: "swiglu",
  infer([gate, up]) {
    if (!sameShape(gate!.shape, up!.shape)) throw shapeError("swiglu", "two equal shapes", gate!.shape, up!.shape);
    const type: TensorType = { shape: gate!.shape, dtype: "float32" };
    return [type, type, type];
  },
  backward(node, [g]) {
    const [, up] = node.inputs as [Tensor, Tensor];
    const [, s, silu] = node.outputs as [Tensor, Tensor, Tensor];
    // d silu ÷ d gate = σ + silu·(1 − σ)
    const slope = add(s, mul(silu, complement(s)));
    return [mul(mul(g!, up), slope), mul(g!, silu)];
  },
  onnx(emit, [gate, up]) {
    const [s] = emit.node("Sigmoid", [gate!]);
    const [silu] = emit.node("Mul", [gate!, s!]);
    const [y] = emit.node("Mul", [silu!, up!]);
    return [y!, s!, silu!];
  },
  tensorflow(emit, [gate, up]) {
    const [s] = emit.node("Sigmoid", [gate!], { T: "float32" });
    const [silu] = emit.node("Mul", [gate!, s!], { T: "float32" });
    const [y] = emit.node("Mul", [silu!, up!], { T: "float32" });
    return [y!, s!, silu!];
  },
  eager(run, node) {
    const [gate, up] = node.inputs as [Tensor, Tensor];
    const s = run.tf.sigmoid(run.get(gate));
    const silu = run.tf.mul(run.get(gate), s);
    run.set(node, run.tf.mul(silu, run.get(up)), 0);
    run.set(node, s, 1);
    run.set(node, silu, 2);
  },
};
export const swiglu = (gate: Tensor, up: Tensor): Tensor => apply(swigluOp, [gate, up]);

const siluOp: Op = {
  name: "silu",
  infer: ([x]) => [
    { shape: x!.shape, dtype: "float32" },
    { shape: x!.shape, dtype: "float32" },
  ],
  backward(node, [g]) {
    const [silu, s] = node.outputs as [Tensor, Tensor];
    return [mul(g!, add(s, mul(silu, complement(s))))];
  },
  onnx(emit, [x]) {
    const [s] = emit.node("Sigmoid", [x!]);
    return [emit.node("Mul", [x!, s!])[0]!, s!];
  },
  tensorflow(emit, [x]) {
    const [s] = emit.node("Sigmoid", [x!], { T: "float32" });
    return [emit.node("Mul", [x!, s!], { T: "float32" })[0]!, s!];
  },
  eager(run, node) {
    const x = run.get(node.inputs[0]!);
    const s = run.tf.sigmoid(x);
    run.set(node, run.tf.mul(x, s), 0);
    run.set(node, s, 1);
  },
};
/** x · σ(x); σ(x) is kept for the derivative. */
export const silu = (x: Tensor): Tensor => apply(siluOp, [x]);

const complementOp: Op = {
  name: "complement",
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  backward: (_node, [g]) => [neg(g!)],
  onnx: (emit, [x]) => emit.node("Sub", [emit.scalar(1), x!]),
  tensorflow: (emit, [x]) => emit.node("Sub", [emit.scalar(1), x!], { T: "float32" }),
  eager: (run, node) => run.set(node, run.tf.sub(1, run.get(node.inputs[0]!))),
};
/** 1 − x. */
const complement = (x: Tensor): Tensor => apply(complementOp, [x]);

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
  tensorflow: (emit, [x], { attributes, inputs }) =>
    emit.node(onnx === "ReduceSum" ? "Sum" : "Max", [x!, emit.integers(attributes.axes as number[])], {
      T: inputs[0]!.dtype,
      keep_dims: attributes.keep as boolean,
    }),
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
  if (isRagged(x.shape) && normal.includes(0))
    throw shapeError(op.name, "axes within the rows of a ragged tensor", x.shape);
  // To ONNX, no axes means all of them.
  return normal.length === 0 ? x : apply(op, [x], { axes: normal, keep });
}

export const reduceSum = (x: Tensor, axes: readonly number[], keep = false): Tensor =>
  reduce(reduceSumOp, x, axes, keep);
/** Carries no gradient. */
export const reduceMax = (x: Tensor, axes: readonly number[], keep = false): Tensor =>
  reduce(reduceMaxOp, x, axes, keep);

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
  tensorflow: (emit, [x], node) =>
    emit.node("ArgMax", [x!, emit.scalar(-1, "int32")], { T: node.inputs[0]!.dtype, output_type: "int64" }),
  eager: (run, node) => run.set(node, run.tf.argMax(run.get(node.inputs[0]!), -1)),
};
/** Index of the largest entry along the last axis; ties go to the lower index. */
export const argMax = (x: Tensor): Tensor => apply(argMaxOp, [x]);

export const arithmeticOps: readonly Op[] = [
  addOp,
  subOp,
  mulOp,
  divOp,
  negOp,
  expOp,
  logOp,
  sqrtOp,
  scaleOp,
  addScalarOp,
  withinOp,
  clipOp,
  castOp,
  broadcastLikeOp,
  swigluOp,
  siluOp,
  complementOp,
  reduceSumOp,
  reduceMaxOp,
  argMaxOp,
];
