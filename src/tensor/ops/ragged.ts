/**
 * Ragged operations: rows sorted by group, and one matrix product per group.
 *
 * These are what a sparse mixture of experts is made of. Nothing is padded: a group without rows costs nothing, and
 * its weight gradient is zero.
 */
import { apply } from "../graph/graph.ts";
import type { OnnxAttributes, OnnxLowering, Op, Tensor } from "../graph/ir.ts";
import { groupsOf, isRagged, type Shape, shapeError } from "../graph/shape.ts";

const sortByGroupOp: Op = {
  name: "sortByGroup",
  infer([groups], attributes) {
    if (groups!.shape.length !== 1) throw shapeError("sortByGroup", "one axis", groups!.shape);
    return [
      { shape: [attributes.rows as never], dtype: "int64" },
      { shape: [attributes.groups as number], dtype: "int64" },
    ];
  },
  onnxGrouped(emit, node) {
    const groups = node.attributes.groups as number;
    const labels = emit.whole(node.inputs[0]!);
    const [row] = emit.node("Unsqueeze", [labels, emit.integers([0])]);
    const numbers = emit.integers(
      Array.from({ length: groups }, (_, group) => group),
      [groups, 1],
    );
    const [member] = emit.node("Equal", [row!, numbers]);
    // NonZero walks row by row, so positions come out sorted by group and, within a group, in order.
    const [found] = emit.node("NonZero", [member!]);
    const [positions] = emit.node("Gather", [emit.hidden(found!), emit.integer(1)], { axis: 0 });
    // Floats are summed several at a time, and are exact up to 2²⁴ rows.
    const [count] = emit.node("ReduceSum", [emit.cast(member!, "float32")[0]!, emit.integers([1])], { keepdims: 0 });
    const [counts] = emit.cast(count!, "int64");
    emit.defineRagged(node.outputs[0]!, { whole: positions!, counts: counts! });
    emit.defineOutput(node.outputs[1]!, counts!);
  },
  tensorflowGrouped(emit, node) {
    const groups = node.attributes.groups as number;
    const { dtype } = node.inputs[0]!;
    const [row] = emit.node("ExpandDims", [emit.whole(node.inputs[0]!), emit.scalar(0, "int32")], { T: dtype });
    const numbers = emit.integers(
      Array.from({ length: groups }, (_, group) => group),
      [groups, 1],
    );
    const [member] = emit.node("Equal", [row!, emit.cast(numbers, "int32", dtype)], { T: dtype });
    // Where walks row by row, so positions come out sorted by group and, within a group, in order.
    const [found] = emit.node("Where", [member!], { T: "bool" });
    const [, positions] = emit.node("Unpack", [found!], { T: "int64", num: 2, axis: 1 }, 2);
    const ones = emit.cast(member!, "bool", "int64");
    const [counts] = emit.node("Sum", [ones, emit.integers([1])], { T: "int64", keep_dims: false });
    emit.define(node, [positions!, counts!]);
    emit.defineRagged(node.outputs[0]!, { whole: positions!, counts: counts! });
  },
  eager(run, node) {
    const labels = run.get(node.inputs[0]!).dataSync();
    const groups = node.attributes.groups as number;
    const members: number[][] = Array.from({ length: groups }, () => []);
    for (const [position, label] of labels.entries()) members[label]?.push(position);
    const counts = members.map((rows) => rows.length);
    run.set(node, run.tf.tensor1d(members.flat(), "int32"), 0);
    run.set(node, run.tf.tensor1d(counts, "int32"), 1);
    run.setCounts(node.outputs[0]!, counts);
  },
};

/**
 * Sorts positions by group, keeping their order within a group. Labels outside `[0, groups)` are left out.
 *
 * @param labels `[positions]` int64
 * @returns `positions`, ragged `[rows]`, and `counts` `[groups]`, the rows of each group
 */
export function sortByGroup(labels: Tensor, groups: number): { positions: Tensor; counts: Tensor } {
  const graph = labels.node.graph;
  const [most] = labels.shape;
  const rows = graph.symbol("rows", { groups, ...(typeof most === "number" && { most }) });
  const { outputs } = graph.node(sortByGroupOp, [labels], { groups, rows });
  return { positions: outputs[0]!, counts: outputs[1]! };
}

/**
 * The product that Gemm makes, to the bit; but of hidden shapes Gemm makes one that is known to have two axes.
 *
 * @param flags `transA`, `transB`, `alpha`
 */
export function productOf(emit: OnnxLowering, a: string, b: string, flags: OnnxAttributes): string {
  const [op, domain] = emit.limits.shapes ? ["Gemm", ""] : ["FusedMatMul", "com.microsoft"];
  return emit.node(op!, [a, b], flags, 1, domain)[0]!;
}

interface GroupedFlags {
  /** `weights` are `[groups, out, in]` instead of `[groups, in, out]`. */
  readonly transposed?: boolean;
  readonly alpha?: number;
  /** Added to the product; ragged like `x`. */
  readonly base?: Tensor;
}

const groupedMatmulOp: Op = {
  name: "groupedMatmul",
  infer([x, weights, base], { transposed }) {
    const [groups, a, b] = weights!.shape as Shape;
    const [input, output] = transposed ? [b, a] : [a, b];
    const fits = isRagged(x!.shape) && x!.shape.length === 2 && groupsOf(x!.shape) === groups && x!.shape[1] === input;
    if (!fits || weights!.shape.length !== 3) {
      const wanted = `ragged rows and one ${transposed ? "[out, in]" : "[in, out]"} matrix per group`;
      throw shapeError("groupedMatmul", wanted, x!.shape, weights!.shape);
    }
    const shape = [x!.shape[0]!, output!];
    if (base && (base.shape[0] !== shape[0] || base.shape[1] !== shape[1])) {
      throw shapeError("groupedMatmul", "a base shaped like the product", shape, base.shape);
    }
    return [{ shape, dtype: "float32" }];
  },
  backward(node, [g]) {
    const [x, weights] = node.inputs as [Tensor, Tensor];
    const { transposed, alpha } = node.attributes as { transposed: boolean; alpha: number };
    return [
      groupedMatmul(g!, weights, { transposed: !transposed, alpha }),
      transposed ? groupedOuter(g!, x, alpha) : groupedOuter(x, g!, alpha),
      ...(node.inputs.length > 2 ? [g!] : []),
    ];
  },
  onnxGrouped(emit, node) {
    const [x, weights, base] = node.inputs as [Tensor, Tensor, Tensor?];
    const { transposed, alpha } = node.attributes as { transposed: boolean; alpha: number };
    const matrices = emit.matrices(weights);
    const bases = base && emit.pieces(base);
    const flags = { transB: transposed ? 1 : 0, alpha };
    const plain = !transposed && alpha === 1;
    const pieces = emit.pieces(x).map((rows, group) => {
      const matrix = matrices[group]!;
      if (bases) return emit.node("Gemm", [rows, matrix, bases[group]!], flags)[0]!;
      return plain ? emit.node("MatMul", [rows, matrix])[0]! : productOf(emit, rows, matrix, flags);
    });
    emit.defineRagged(node.outputs[0]!, { pieces });
  },
  tensorflowGrouped(emit, node) {
    const [x, weights, base] = node.inputs as [Tensor, Tensor, Tensor?];
    const { transposed, alpha } = node.attributes as { transposed: boolean; alpha: number };
    const flags = { T: "float32", transpose_b: transposed } as const;
    const matrices = emit.matrices(weights, alpha);
    const pieces = emit.pieces(x).map((rows, group) => emit.node("MatMul", [rows, matrices[group]!], flags)[0]!);
    emit.defineRagged(node.outputs[0]!, { pieces });
    if (!base) return;
    const [whole] = emit.node("AddV2", [emit.whole(node.outputs[0]!), emit.whole(base)], { T: "float32" });
    emit.defineRagged(node.outputs[0]!, { whole: whole! });
  },
  eager(run, node) {
    const [x, weights, base] = node.inputs as [Tensor, Tensor, Tensor?];
    const { transposed, alpha } = node.attributes as { transposed: boolean; alpha: number };
    const tf = run.tf;
    const matrices = tf.unstack(run.get(weights));
    const parts = run.pieces(x).map((rows, group) => {
      if (rows.shape[0] === 0) return tf.zeros([0, node.outputs[0]!.shape[1] as number]);
      return tf.mul(tf.matMul(rows as never, matrices[group] as never, false, transposed), alpha);
    });
    const product = tf.concat(parts, 0);
    run.set(node, base ? tf.add(product, run.get(base)) : product);
  },
};

/** Multiplies the rows of each group by that group's matrix: `[rows, in] · [groups, in, out] → [rows, out]`. */
export const groupedMatmul = (x: Tensor, weights: Tensor, flags: GroupedFlags = {}): Tensor => {
  const { transposed = false, alpha = 1, base } = flags;
  return apply(groupedMatmulOp, base ? [x, weights, base] : [x, weights], { transposed, alpha });
};

const groupedOuterOp: Op = {
  name: "groupedOuter",
  infer([a, b]) {
    const same = isRagged(a!.shape) && a!.shape[0] === b!.shape[0] && a!.shape.length === 2 && b!.shape.length === 2;
    if (!same) throw shapeError("groupedOuter", "two tensors over the same ragged rows", a!.shape, b!.shape);
    return [{ shape: [groupsOf(a!.shape), a!.shape[1]!, b!.shape[1]!], dtype: "float32" }];
  },
  onnxGrouped(emit, node) {
    const [a, b] = node.inputs as [Tensor, Tensor];
    const alpha = node.attributes.alpha as number;
    const [, m, n] = node.outputs[0]!.shape as [number, number, number];
    // The transposed operand is better narrow: (bᵀ·a)ᵀ takes half the time of aᵀ·b when b has a few columns.
    const [left, right] = m > 2 * n ? [b, a] : [a, b];
    const others = emit.pieces(right);
    const matrices = emit
      .pieces(left)
      .map((rows, group) => productOf(emit, rows, others[group]!, { transA: 1, alpha }));
    if (left === a) emit.defineMatrices(node.outputs[0]!, matrices);
    else emit.define(node, emit.node("Transpose", [emit.stack(matrices, [n, m])], { perm: [0, 2, 1] }));
  },
  tensorflowGrouped(emit, node) {
    const [a, b] = node.inputs as [Tensor, Tensor];
    const right = emit.pieces(b);
    const flags = { T: "float32", transpose_a: true } as const;
    const matrices = emit.pieces(a).map((left, group) => emit.node("MatMul", [left, right[group]!], flags)[0]!);
    emit.defineMatrices(node.outputs[0]!, matrices);
    const alpha = node.attributes.alpha as number;
    if (alpha !== 1) emit.define(node, [emit.scaled(emit.whole(node.outputs[0]!), alpha)]);
  },
  eager(run, node) {
    const [a, b] = node.inputs as [Tensor, Tensor];
    const tf = run.tf;
    const [, m, n] = node.outputs[0]!.shape as [number, number, number];
    const right = run.pieces(b);
    const parts = run.pieces(a).map((left, group) => {
      if (left.shape[0] === 0) return tf.zeros([m, n]);
      return tf.mul(tf.matMul(left as never, right[group] as never, true), node.attributes.alpha as number);
    });
    run.set(node, tf.stack(parts));
  },
};

/** alpha · Σ over the rows of each group of aᵀ·b: `[rows, m], [rows, n] → [groups, m, n]`. */
const groupedOuter = (a: Tensor, b: Tensor, alpha: number): Tensor => apply(groupedOuterOp, [a, b], { alpha });

/** The rows a and b and alpha, where a tensor is alpha · Σ aᵀ·b of each group. */
export function outerOperands({
  node,
}: Tensor): { readonly a: Tensor; readonly b: Tensor; readonly alpha: number } | null {
  if (node.op !== groupedOuterOp) return null;
  const [a, b] = node.inputs as [Tensor, Tensor];
  return { a, b, alpha: node.attributes.alpha as number };
}

export const raggedOps: readonly Op[] = [sortByGroupOp, groupedMatmulOp, groupedOuterOp];
