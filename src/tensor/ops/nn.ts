/** Operations of transformers that deserve one fused node. */
import { invariant } from "../../base/errors.ts";
import { apply, staticSize } from "../graph/graph.ts";
import type { Node, Op, Tensor } from "../graph/ir.ts";
import { sameShape, shapeError } from "../graph/shape.ts";
import { mul, reduceSum, scale, square, sub } from "./arithmetic.ts";
import { eagerOneHot, minusOneAt } from "./index-ops.ts";
import { reshape, transpose } from "./layout.ts";
import { matmul } from "./matrix.ts";

const softmaxOp: Op = {
  name: "softmax",
  infer: ([x]) => [{ shape: x!.shape, dtype: "float32" }],
  backward(node, [g]) {
    const y = node.outputs[0]!;
    return [mul(y, sub(g!, reduceSum(mul(g!, y), [-1], true)))];
  },
  onnx: (emit, [x]) => emit.node("Softmax", [x!], { axis: -1 }),
  tensorflow: (emit, inputs) => emit.node("Softmax", inputs, { T: "float32" }),
  eager: (run, node) => run.set(node, run.tf.softmax(run.get(node.inputs[0]!))),
};
/** Softmax along the last axis. */
export const softmax = (x: Tensor): Tensor => apply(softmaxOp, [x]);

const causalAttentionOp: Op = {
  name: "causalAttention",
  infer([q, k, v]) {
    const [m, size] = q!.shape.slice(-2) as [number, number];
    const [length, width] = v!.shape.slice(-2) as [number, number];
    const lead = q!.shape.slice(0, -2);
    const fits =
      sameShape(k!.shape, [...lead, length, size]) && sameShape(v!.shape.slice(0, -2), lead) && m % length === 0;
    if (!fits) {
      const wanted = "queries [.., n · length, size], keys [.., length, size] and values [.., length, width]";
      throw shapeError("causalAttention", wanted, q!.shape, k!.shape, v!.shape);
    }
    return [
      { shape: [...lead, m, width], dtype: "float32" },
      { shape: [...lead, m, length], dtype: "float32" },
    ];
  },
  backward(node, [g, onProbabilities]) {
    invariant(g && !onProbabilities, "causalAttention: its probabilities are for its own derivative");
    const [q, k, v] = node.inputs as [Tensor, Tensor, Tensor];
    const [attended, p] = node.outputs as [Tensor, Tensor];
    const alpha = node.attributes.alpha as number;
    // Σ over keys of p·dp is Σ over columns of g·attended, which are fewer (Dao et al., https://arxiv.org/abs/2205.14135).
    const dp = matmul(g, v, { transposeB: true });
    const ds = mul(p, sub(dp, reduceSum(mul(g, attended), [-1], true)));
    // (gᵀ·p)ᵀ and not pᵀ·g: the transposed operand is better the narrow one.
    const turned = (narrow: Tensor, wide: Tensor, factor = 1) => {
      const product = matmul(narrow, wide, { transposeA: true, alpha: factor });
      const axes = [...product.shape.keys()];
      return transpose(product, [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!]);
    };
    return [matmul(ds, k, { alpha }), turned(q, ds, alpha), turned(g, p)];
  },
  onnx(emit, [q, k, v], node) {
    const { square, flat, length } = scoreShapes(node);
    const alpha = node.attributes.alpha as number;
    const [scores] = emit.node("FusedMatMul", [q!, k!], { transB: 1, alpha }, 1, "com.microsoft");
    const [squares] = emit.node("Reshape", [scores!, emit.integers(square)]);
    const [masked] = emit.node("Add", [squares!, emit.causalMask(length)]);
    const [softmaxed] = emit.node("Softmax", [masked!], { axis: -1 });
    const [p] = emit.node("Reshape", [softmaxed!, emit.integers(flat)]);
    return [emit.node("MatMul", [p!, v!])[0]!, p!];
  },
  tensorflow(emit, [q, k, v], node) {
    const T = "float32";
    const { square, flat, length } = scoreShapes(node);
    const scaled = emit.scaled(q!, node.attributes.alpha as number);
    const [scores] = emit.node("BatchMatMulV2", [scaled, k!], { T, adj_x: false, adj_y: true });
    const [squares] = emit.node("Reshape", [scores!, emit.integers(square)], { T });
    const [masked] = emit.node("AddV2", [squares!, emit.causalMask(length)], { T });
    const [softmaxed] = emit.node("Softmax", [masked!], { T });
    const [p] = emit.node("Reshape", [softmaxed!, emit.integers(flat)], { T });
    return [emit.node("BatchMatMulV2", [p!, v!], { T, adj_x: false, adj_y: false })[0]!, p!];
  },
  eager(run, node) {
    const tf = run.tf;
    const { square, flat, length } = scoreShapes(node);
    const [q, k, v] = node.inputs.map((input) => run.get(input));
    const scores = tf.mul(tf.matMul(q!, k!, false, true), node.attributes.alpha as number);
    const mask = tf.mul(tf.sub(1, tf.linalg.bandPart(tf.ones([length, length]), -1, 0)), -1e9);
    const p = tf.reshape(tf.softmax(tf.add(tf.reshape(scores, square), mask)), flat);
    run.set(node, tf.matMul(p, v!), 0);
    run.set(node, p, 1);
  },
};

/** The scores as they are, and as square matrices, which a mask fits. */
function scoreShapes({ outputs }: Node): { square: number[]; flat: number[]; length: number } {
  const flat = outputs[1]!.shape.map(staticSize);
  const [m, length] = flat.slice(-2) as [number, number];
  return { square: [...flat.slice(0, -2), m / length, length, length], flat, length };
}

/**
 * softmax(alpha · q·kᵀ)·v, where a query sees the keys of its own and earlier positions.
 *
 * @param q `[.., n · length, size]`: n queries that share their keys lie under one another, each of `length` positions
 * @param k `[.., length, size]`
 * @param v `[.., length, width]`
 * @returns `[.., n · length, width]`
 */
export const causalAttention = (q: Tensor, k: Tensor, v: Tensor, alpha: number): Tensor =>
  apply(causalAttentionOp, [q, k, v], { alpha });

const crossEntropyOp: Op = {
  name: "crossEntropy",
  infer([logits, targets]) {
    if (!sameShape(logits!.shape.slice(0, -1), targets!.shape)) {
      throw shapeError("crossEntropy", "one target per row of logits", logits!.shape, targets!.shape);
    }
    return [{ shape: targets!.shape, dtype: "float32" }];
  },
  backward(node, [g]) {
    const [logits, targets] = node.inputs as [Tensor, Tensor];
    const difference = minusOneAt(softmax(logits), targets);
    return [mul(difference, reshape(g!, [...g!.shape, 1])), null];
  },
  onnx(emit, [logits, targets]) {
    const [logProbabilities] = emit.node("LogSoftmax", [logits!], { axis: -1 });
    const [columns] = emit.node("Unsqueeze", [targets!, emit.integers([-1])]);
    const [picked] = emit.node("GatherElements", [logProbabilities!, columns!], { axis: -1 });
    const [flat] = emit.node("Squeeze", [picked!, emit.integers([-1])]);
    return emit.node("Neg", [flat!]);
  },
  tensorflow(emit, [logits, targets], { inputs, outputs }) {
    // The kernel wants a matrix.
    const classes = inputs[0]!.shape.at(-1) as number;
    const { dtype } = inputs[1]!;
    const [rows] = emit.node("Reshape", [logits!, emit.integers([-1, classes])], { T: "float32" });
    const [labels] = emit.node("Reshape", [targets!, emit.integers([-1])], { T: dtype });
    const types = { T: "float32", Tlabels: dtype } as const;
    const [losses] = emit.node("SparseSoftmaxCrossEntropyWithLogits", [rows!, labels!], types, 2);
    return emit.node("Reshape", [losses!, emit.integers(outputs[0]!.shape.map(staticSize))], { T: "float32" });
  },
  eager(run, node) {
    const [logits, targets] = node.inputs as [Tensor, Tensor];
    const tf = run.tf;
    const chosen = eagerOneHot(run, targets, logits.shape.at(-1) as number);
    run.set(node, tf.neg(tf.sum(tf.mul(tf.logSoftmax(run.get(logits)), chosen), -1)));
  },
};
/** −log softmax(logits)[target] of each row, in nats. */
export const crossEntropy = (logits: Tensor, targets: Tensor): Tensor => apply(crossEntropyOp, [logits, targets]);

const rmsNormOp: Op = {
  name: "rmsNorm",
  infer([x, weight]) {
    if (!sameShape(x!.shape.slice(-1), weight!.shape))
      throw shapeError("rmsNorm", "one weight per column", x!.shape, weight!.shape);
    return [
      { shape: x!.shape, dtype: "float32" },
      { shape: [...x!.shape.slice(0, -1), 1], dtype: "float32" },
    ];
  },
  backward(node, [g]) {
    const [x, weight] = node.inputs as [Tensor, Tensor];
    const rstd = node.outputs[1]!;
    // With n = x·r, y = n·w and h = g·w: dx = r·(h − n·mean(h·n)), which needs x alone of the forward pass; dw = Σ g·n.
    const columns = x.shape.at(-1) as number;
    const h = mul(g!, weight);
    const mean = scale(reduceSum(mul(h, x), [-1], true), 1 / columns);
    const dx = mul(sub(h, mul(x, mul(mean, square(rstd)))), rstd);
    const lead = x.shape.map((_, axis) => axis).slice(0, -1);
    return [dx, reduceSum(mul(g!, mul(x, rstd)), lead)];
  },
  onnx(emit, inputs, node) {
    const epsilon = node.attributes.epsilon as number;
    if (!emit.limits.plainNorms) return emit.node("SimplifiedLayerNormalization", inputs, { axis: -1, epsilon }, 2);
    const [x, weight] = inputs as [string, string];
    const [squares] = emit.node("Mul", [x, x]);
    const [mean] = emit.node("ReduceMean", [squares!, emit.integers([-1])], { keepdims: 1 });
    const [deviation] = emit.node("Sqrt", emit.node("Add", [mean!, emit.scalar(epsilon)]));
    const [rstd] = emit.node("Reciprocal", [deviation!]);
    const [normal] = emit.node("Mul", [x, rstd!]);
    return [emit.node("Mul", [normal!, weight])[0]!, rstd!];
  },
  tensorflow(emit, [x, weight], node) {
    const T = "float32";
    const [squares] = emit.node("Square", [x!], { T });
    const [mean] = emit.node("Mean", [squares!, emit.integers([-1])], { T, keep_dims: true });
    const [shifted] = emit.node("AddV2", [mean!, emit.scalar(node.attributes.epsilon as number)], { T });
    const [rstd] = emit.node("Rsqrt", [shifted!], { T });
    const [normal] = emit.node("Mul", [x!, rstd!], { T });
    return [emit.node("Mul", [normal!, weight!], { T })[0]!, rstd!];
  },
  eager(run, node) {
    const [x, weight] = node.inputs.map((input) => run.get(input)) as [never, never];
    const tf = run.tf;
    const rstd = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), node.attributes.epsilon as number));
    run.set(node, tf.mul(tf.mul(x, rstd), weight), 0);
    run.set(node, rstd, 1);
  },
};
/** x ÷ √(mean(x²) + ε) · weight over the last axis. Zhang and Sennrich, https://arxiv.org/abs/1910.07467 */
export const rmsNorm = (x: Tensor, weight: Tensor, epsilon: number): Tensor =>
  apply(rmsNormOp, [x, weight], { epsilon });

const rotaryOp: Op = {
  name: "rotary",
  infer([x], attributes) {
    const { heads } = attributes as { heads: number };
    const width = x!.shape[2];
    if (x!.shape.length !== 3 || typeof width !== "number" || width % (2 * heads) !== 0) {
      throw shapeError("rotary", `[rows, length, ${heads} heads of even size]`, x!.shape);
    }
    return [{ shape: x!.shape, dtype: "float32" }];
  },
  // A rotation's transpose is the rotation back.
  backward: (node, [g]) => [apply(rotaryOp, [g!], { ...node.attributes, inverse: !node.attributes.inverse })],
  onnx(emit, [x], node) {
    const { cos, sin } = rotaryTables(node.inputs[0]!, node.attributes);
    const half = cos.length / (node.inputs[0]!.shape[1] as number);
    const tables = [cos, sin].map((table) => emit.floats(table, [table.length / half, half]));
    const inputs = [x!, emit.integers([0]), ...tables];
    return emit.node("RotaryEmbedding", inputs, { num_heads: node.attributes.heads as number }, 1, "com.microsoft");
  },
  tensorflow(emit, [x], node) {
    const T = "float32";
    const { shape } = node.inputs[0]!;
    const [rows, length, width] = shape.map(staticSize) as [number, number, number];
    const heads = node.attributes.heads as number;
    const half = width / heads / 2;
    const { cos, sin } = rotaryTables(node.inputs[0]!, node.attributes);
    const [split] = emit.node("Reshape", [x!, emit.integers([rows, length, heads, 2 * half])], { T });
    const parts = [split!, emit.integers([half, half]), emit.scalar(3, "int32")];
    const [a, b] = emit.node("SplitV", parts, { T, Tlen: "int32", num_split: 2 }, 2);
    const [swapped] = emit.node("ConcatV2", [b!, a!, emit.scalar(3, "int32")], { N: 2, T });
    const doubled = (left: number[], right: number[]) =>
      emit.floats(
        Array.from({ length }, (_, position) => {
          const row = [position * half, (position + 1) * half] as const;
          return [...left.slice(...row), ...right.slice(...row)];
        }).flat(),
        [1, length, 1, 2 * half],
      );
    // (a, b) turns into (a·cos − b·sin, b·cos + a·sin).
    const [kept] = emit.node("Mul", [split!, doubled(cos, cos)], { T });
    const minus = sin.map((value) => -value);
    const [crossed] = emit.node("Mul", [swapped!, doubled(minus, sin)], { T });
    const [turned] = emit.node("AddV2", [kept!, crossed!], { T });
    return emit.node("Reshape", [turned!, emit.integers([rows, length, width])], { T });
  },
  eager(run, node) {
    const tf = run.tf;
    const [rows, length, width] = run.get(node.inputs[0]!).shape as [number, number, number];
    const heads = node.attributes.heads as number;
    const half = width / heads / 2;
    const { cos, sin } = rotaryTables(node.inputs[0]!, node.attributes);
    const c = tf.tensor(cos, [1, length, 1, half]);
    const s = tf.tensor(sin, [1, length, 1, half]);
    const [a, b] = tf.split(tf.reshape(run.get(node.inputs[0]!), [rows, length, heads, 2 * half]), 2, 3);
    const rotated = tf.concat([tf.sub(tf.mul(a!, c), tf.mul(b!, s)), tf.add(tf.mul(b!, c), tf.mul(a!, s))], 3);
    run.set(node, tf.reshape(rotated, [rows, length, width]));
  },
};

/** cos and sin of position · θ^(−2m/size), `[length, size/2]`, rounded to float32. */
function rotaryTables(x: Tensor, attributes: Record<string, unknown>): { cos: number[]; sin: number[] } {
  const { heads, theta, inverse } = attributes as { heads: number; theta: number; inverse: boolean };
  const [, length, width] = x.shape as [number, number, number];
  const half = width / heads / 2;
  const cos: number[] = [];
  const sin: number[] = [];
  for (let position = 0; position < length; position++) {
    for (let m = 0; m < half; m++) {
      // The reference computes frequencies and angles in float32.
      const frequency = Math.fround(1 / Math.fround(theta ** Math.fround(m / half)));
      const angle = Math.fround(position * frequency);
      cos.push(Math.fround(Math.cos(angle)));
      sin.push(Math.fround(Math.sin(inverse ? -angle : angle)));
    }
  }
  return { cos, sin };
}

/**
 * Rotary position embedding in the half-rotation layout, positions counted from 0 in each row.
 * `x` is `[rows, length, heads · size]`. Su et al., https://arxiv.org/abs/2104.09864
 */
export const rotary = (x: Tensor, heads: number, theta: number): Tensor =>
  apply(rotaryOp, [x], { heads, theta, inverse: false });

export const networkOps: readonly Op[] = [softmaxOp, causalAttentionOp, crossEntropyOp, rmsNormOp, rotaryOp];
