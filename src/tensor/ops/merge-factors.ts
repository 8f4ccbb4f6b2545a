/** Matrices that carry a low-rank change, of which only the factors are trained. */
import type * as Tf from "@tensorflow/tfjs-core";
import { apply } from "../graph/graph.ts";
import type { Op, Tensor } from "../graph/ir.ts";
import { type Shape, sameShape, shapeError } from "../graph/shape.ts";
import { matmul } from "./matrix.ts";
import { outerOperands, productOf } from "./ragged.ts";

/**
 * Gradients of the factors of a merged matrix that multiplied the rows `x` and got `dy` back, with nothing of the size of
 * the matrix in between: dA = alpha · (dy·B)ᵀ·x and dB = alpha · dyᵀ·(x·Aᵀ).
 */
const factorGradientsOp: Op = {
  name: "factorGradients",
  infer: ([, , a, b]) => [a!, b!].map(({ shape }) => ({ shape, dtype: "float32" })),
  onnxGrouped(emit, node) {
    const [x, dy, a, b] = node.inputs as [Tensor, Tensor, Tensor, Tensor];
    const [groups, rank, input] = a.shape as [number, number, number];
    const output = b.shape[1] as number;
    const [rows, gradients, as, bs] = [emit.pieces(x), emit.pieces(dy), emit.matrices(a), emit.matrices(b)];
    const outer = { transA: 1, alpha: node.attributes.alpha as number };
    // One tree per group: ONNX Runtime works a tree off before the next, while the rows of the group are in the cache.
    const trees = rows.map((row, group) => {
      const gradient = gradients[group]!;
      const low = productOf(emit, row, as[group]!, { transB: 1 });
      const [back] = emit.node("MatMul", [gradient, bs[group]!]);
      return [productOf(emit, back!, row, outer), productOf(emit, low, gradient, outer)];
    });
    // What is equally wide is stacked as it is.
    const same = input === output;
    const stack = same ? trees.flat() : trees.map((pair) => emit.node("Concat", pair, { axis: 1 })[0]!);
    const [all] = emit.node("Concat", stack, { axis: 0 });
    const [ofA, ofB] = same
      ? emit.cut(emit.node("Reshape", [all!, emit.integers([groups, 2 * rank, input])])[0]!, [rank, rank], 1)
      : emit.cut(all!, [input, output], 1);
    const [da] = emit.node("Reshape", [ofA!, emit.integers([groups, rank, input])]);
    const [columns] = emit.node("Reshape", [ofB!, emit.integers([groups, rank, output])]);
    emit.define(node, [da!, emit.node("Transpose", [columns!], { perm: [0, 2, 1] })[0]!]);
  },
  tensorflowGrouped(emit, node) {
    const [x, dy, a, b] = node.inputs as [Tensor, Tensor, Tensor, Tensor];
    const alpha = node.attributes.alpha as number;
    const product = (left: string, right: string, flags: { transpose_a?: boolean; transpose_b?: boolean }) =>
      emit.node("MatMul", [left, right], { T: "float32", transpose_a: false, transpose_b: false, ...flags })[0]!;
    const [rows, gradients, as, bs] = [
      emit.pieces(x),
      emit.pieces(dy),
      emit.matrices(a, alpha),
      emit.matrices(b, alpha),
    ];
    const ofA = rows.map((row, i) => product(product(gradients[i]!, bs[i]!, {}), row, { transpose_a: true }));
    const ofB = rows.map((row, i) =>
      product(gradients[i]!, product(row, as[i]!, { transpose_b: true }), { transpose_a: true }),
    );
    emit.defineMatrices(node.outputs[0]!, ofA);
    emit.defineMatrices(node.outputs[1]!, ofB);
  },
  eager(run, node) {
    const [x, dy, a, b] = node.inputs as [Tensor, Tensor, Tensor, Tensor];
    const tf = run.tf;
    const [as, bs] = [tf.unstack(run.get(a)), tf.unstack(run.get(b))] as [Tf.Tensor2D[], Tf.Tensor2D[]];
    const gradients = run.pieces(dy) as Tf.Tensor2D[];
    const pairs = (run.pieces(x) as Tf.Tensor2D[]).map((row, group): [Tf.Tensor, Tf.Tensor] => {
      if (row.shape[0] === 0) return [tf.zerosLike(as[group]!), tf.zerosLike(bs[group]!)];
      const gradient = gradients[group]!;
      const [low, back] = [tf.matMul(row, as[group]!, false, true), tf.matMul(gradient, bs[group]!)];
      return [tf.matMul(back, row, true), tf.matMul(gradient, low, true)];
    });
    for (const index of [0, 1] as const) {
      const stacked = tf.stack(pairs.map((pair) => pair[index]));
      run.set(node, tf.mul(stacked, node.attributes.alpha as number), index);
    }
  },
};

const mergeFactorsOp: Op = {
  name: "mergeFactors",
  infer([weights, a, b]) {
    const [groups, input, output] = weights!.shape as Shape;
    const rank = a!.shape[1]!;
    if (!sameShape(a!.shape, [groups!, rank, input!]) || !sameShape(b!.shape, [groups!, output!, rank])) {
      const wanted = "weights [groups, in, out] and factors [groups, rank, in] and [groups, out, rank]";
      throw shapeError("mergeFactors", wanted, weights!.shape, a!.shape, b!.shape);
    }
    return [{ shape: weights!.shape, dtype: "float32" }];
  },
  backward(node, [g]) {
    const [, a, b] = node.inputs as [Tensor, Tensor, Tensor];
    const alpha = node.attributes.alpha as number;
    const outer = outerOperands(g!);
    if (!outer) {
      const flags = { transposeA: true, transposeB: true, alpha };
      return [g!, matmul(b, g!, flags), matmul(g!, a, flags)];
    }
    // The gradient of the matrix is xᵀ·dy, which need not be formed: (xᵀ·dy)·B is xᵀ·(dy·B), and thin.
    const operands = [outer.a, outer.b, a, b];
    const { outputs } = node.graph.node(factorGradientsOp, operands, { alpha: alpha * outer.alpha });
    return [g!, ...outputs];
  },
  onnxGrouped(emit, node) {
    const [weights, a, b] = node.inputs.map((input) => emit.matrices(input)) as [string[], string[], string[]];
    const flags = { transA: 1, transB: 1, alpha: node.attributes.alpha as number };
    const merged = weights.map((matrix, group) => emit.node("Gemm", [a[group]!, b[group]!, matrix], flags)[0]!);
    emit.defineMatrices(node.outputs[0]!, merged);
  },
  tensorflow(emit, [weights, a, b], node) {
    const T = "float32";
    const scaled = emit.scaled(a!, node.attributes.alpha as number);
    const [change] = emit.node("BatchMatMulV2", [scaled, b!], { T, adj_x: true, adj_y: true });
    return emit.node("AddV2", [weights!, change!], { T });
  },
  eager(run, node) {
    const [weights, a, b] = node.inputs.map((input) => run.get(input));
    const change = run.tf.matMul(a!, b!, true, true);
    run.set(node, run.tf.add(weights!, run.tf.mul(change, node.attributes.alpha as number)));
  },
};

/**
 * W + alpha · Aᵀ·Bᵀ of each group. Where the result multiplies ragged rows, no gradient of a whole matrix is formed.
 *
 * @param weights `[groups, in, out]`
 * @param a `[groups, rank, in]`
 * @param b `[groups, out, rank]`
 * @returns `[groups, in, out]`
 */
export const mergeFactors = (weights: Tensor, a: Tensor, b: Tensor, alpha: number): Tensor =>
  apply(mergeFactorsOp, [weights, a, b], { alpha });

export const factorOps: readonly Op[] = [factorGradientsOp, mergeFactorsOp];
