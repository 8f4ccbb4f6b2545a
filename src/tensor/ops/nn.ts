/** Operations of transformers that deserve one fused node. */
import { apply, staticSize } from "../graph.ts";
import type { Node, Op, Tensor } from "../ir.ts";
import { sameShape, shapeError } from "../shape.ts";
import { mul, reduceSum, scale, sub } from "./arithmetic.ts";
import { eagerOneHot, minusOneAt } from "./index-ops.ts";
import { reshape } from "./layout.ts";

function softmaxBackward(node: Node, [g]: readonly (Tensor | null)[]): [Tensor] {
  const y = node.outputs[0]!;
  const weighted = mul(g!, y);
  return [sub(weighted, mul(y, reduceSum(weighted, [-1], true)))];
}

const softmaxOp: Op = {
  name: "softmax",
  infer: ([x]) => [{ shape: x!.shape, dtype: "float32" }],
  backward: softmaxBackward,
  onnx: (emit, [x]) => emit.node("Softmax", [x!], { axis: -1 }),
  tensorflow: (emit, inputs) => emit.node("Softmax", inputs, { T: "float32" }),
  eager: (run, node) => run.set(node, run.tf.softmax(run.get(node.inputs[0]!))),
};
/** Softmax along the last axis. */
export const softmax = (x: Tensor): Tensor => apply(softmaxOp, [x]);

const causalSoftmaxOp: Op = {
  name: "causalSoftmax",
  infer([scores]) {
    const [rows, columns] = scores!.shape.slice(-2);
    if (typeof rows !== "number" || rows !== columns)
      throw shapeError("causalSoftmax", "square score matrices", scores!.shape);
    return [{ shape: scores!.shape, dtype: "float32" }];
  },
  // Hidden entries have probability zero, and so does their gradient.
  backward: softmaxBackward,
  onnx(emit, [scores], node) {
    const [masked] = emit.node("Add", [scores!, emit.causalMask(node.outputs[0]!.shape.at(-1) as number)]);
    return emit.node("Softmax", [masked!], { axis: -1 });
  },
  tensorflow(emit, [scores], node) {
    const mask = emit.causalMask(node.outputs[0]!.shape.at(-1) as number);
    const masked = emit.node("AddV2", [scores!, mask], { T: "float32" });
    return emit.node("Softmax", masked, { T: "float32" });
  },
  eager(run, node) {
    const tf = run.tf;
    const length = node.outputs[0]!.shape.at(-1) as number;
    const mask = tf.mul(tf.sub(1, tf.linalg.bandPart(tf.ones([length, length]), -1, 0)), -1e9);
    run.set(node, tf.softmax(tf.add(run.get(node.inputs[0]!), mask)));
  },
};
/** Softmax of attention scores `[.., length, length]` over the row's own and earlier positions. */
export const causalSoftmax = (scores: Tensor): Tensor => apply(causalSoftmaxOp, [scores]);

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
    const columns = x.shape.at(-1) as number;
    // With n = x·r and h = g·w: dx = r·(h − n·mean(h·n)) and dw = Σ g·n.
    const h = mul(g!, weight);
    const along = mul(reduceSum(mul(h, x), [-1], true), scale(mul(mul(rstd, rstd), rstd), 1 / columns));
    const dx = sub(mul(h, rstd), mul(x, along));
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
