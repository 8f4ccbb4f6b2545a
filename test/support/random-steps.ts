/** The steps a random program grows by. Each returns its results, or none where no operand fits. */
import type { Tensor } from "../../src/tensor/graph/ir.ts";
import { type Dim, isRagged, type Shape, type SymbolicDim, sameShape, sizeOf } from "../../src/tensor/graph/shape.ts";
import {
  add,
  addScalar,
  argMax,
  broadcastLike,
  cast,
  clip,
  div,
  exp,
  log,
  mul,
  neg,
  reduceMax,
  reduceMean,
  reduceSum,
  scale,
  silu,
  sqrt,
  square,
  sub,
  swiglu,
} from "../../src/tensor/ops/arithmetic.ts";
import { after, detach, integerDivide, less, minimum } from "../../src/tensor/ops/discrete.ts";
import { averagePool, conv, pixelShuffle, stopsOf } from "../../src/tensor/ops/images.ts";
import { gatherRows, minusOneAt, scatterAddRows, topK } from "../../src/tensor/ops/index-ops.ts";
import { concat, reshape, split, transpose } from "../../src/tensor/ops/layout.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import { mergeFactors } from "../../src/tensor/ops/merge-factors.ts";
import { causalAttention, crossEntropy, rmsNorm, rotary, softmax } from "../../src/tensor/ops/nn.ts";
import { groupSlots, padGroups, unpadGroups } from "../../src/tensor/ops/padded.ts";
import { groupedMatmul, sortByGroup } from "../../src/tensor/ops/ragged.ts";
import { gathered, picked, scattered } from "./random-lookups.ts";
import { alphaOf, any, bitsOf, isMatrix, isStatic, last, mayJump, pick } from "./random-picks.ts";
import { type Grow, type Growth, margin } from "./random-programs.ts";

export const grow: Grow = (growth, step) => steps[step.op % steps.length]!(growth, step);

function broadcasts(growth: Growth, a: Tensor, b: Tensor): boolean {
  const rank = Math.max(a.shape.length, b.shape.length);
  const at = ({ shape }: Tensor, axis: number): Dim => shape[axis - rank + shape.length] ?? 1;
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  if (!axes.every((axis) => at(a, axis) === at(b, axis) || at(a, axis) === 1 || at(b, axis) === 1)) return false;
  const ragged = [a, b].find(({ shape }) => isRagged(shape));
  // Rows of groups are the first axis, and no derivative sums over them.
  return !ragged || [a, b].every((t) => t.shape[0] === ragged.shape[0] || (!growth.smooth && t.shape.length < rank));
}

/** At least this far from 0. */
const positive = (x: Tensor): Tensor => addScalar(square(x), 0.5);

const elementwise: Grow = (growth, step) => {
  const a = pick(growth, step.a, any)!;
  const b = pick(growth, step.b, (t) => broadcasts(growth, a, t))!;
  const forms = [add, sub, mul, (x: Tensor, y: Tensor) => div(x, positive(y)), (x: Tensor) => mul(x, x)];
  return [forms[step.c % forms.length]!(a, b)];
};

const gatedUnit: Grow = (growth, { a, b }) => {
  const gate = pick(growth, a, any)!;
  return [swiglu(gate, pick(growth, b, (t) => sameShape(t.shape, gate.shape))!)];
};

const unary: Grow = (growth, { a, c }) => {
  const x = pick(growth, a, any)!;
  const forms = [neg, exp, log, sqrt, silu, (t: Tensor) => addScalar(scale(t, -1.5), 0.25)];
  const form = forms[c % forms.length]!;
  return [form(form === exp ? scale(x, 0.25) : form === log || form === sqrt ? positive(x) : x)];
};

/** Numbers that no value is near. */
function gapsOf(growth: Growth, x: Tensor): number[] {
  const sorted = [...growth.value(x).data].sort((p, q) => p - q);
  return [-5, ...sorted].flatMap((value, i) => {
    const next = sorted[i] ?? 5;
    return next - value > 2 * margin ? [Math.fround((value + next) / 2)] : [];
  });
}

/** Clamps at two edges that no value is near. */
const clipped: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, any)!;
  const gaps = gapsOf(growth, x);
  const edges = [gaps[b % gaps.length]!, gaps[c % gaps.length]!].sort((p, q) => p - q) as [number, number];
  return gaps.length > 0 && edges[0] < edges[1] ? [clip(x, ...edges)] : [];
};

const reduced: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, ({ shape }) => shape.length > 0)!;
  const [sum, keep] = bitsOf(c);
  const axes = [...x.shape.keys()].filter((axis) => ((b >> axis) & 1) === 1 && !(axis === 0 && isRagged(x.shape)));
  const mean = !sum && axes.every((axis) => typeof x.shape[axis] === "number");
  return [mean ? reduceMean(x, axes, keep) : reduceSum(x, axes, keep)];
};

/** log Σ exp through its maximum, whose own derivative cancels. */
const logSumExp: Grow = (growth, { a, c }) => {
  const x = pick(growth, a, (t) => last(t) !== undefined);
  if (!x) return [];
  const top = reduceMax(x, [-1], true);
  const stable = add(log(reduceSum(exp(sub(x, top)), [-1], true)), top);
  return growth.smooth || c % 2 === 0 ? [stable] : [stable, top];
};

const stretched: Grow = (growth, { a, b }) => {
  const like = pick(growth, a, any)!;
  const x = pick(growth, b, (t) => broadcasts(growth, t, like) && fitsInto(t.shape, like.shape));
  return x ? [broadcastLike(x, like)] : [];
};
const fitsInto = (part: Shape, full: Shape): boolean =>
  part.length <= full.length && part.every((dim, i) => dim === 1 || dim === full[i + full.length - part.length]);

const reshaped: Grow = (growth, { a, c }) => {
  const x = pick(growth, a, any)!;
  if (isStatic(x)) {
    const size = sizeOf(x.shape);
    const forms: number[][] = [[size], [1, size], [...(x.shape as number[])].reverse(), [size, 1]];
    if (size % 4 === 0) forms.push([size / 4, 4], [2, size / 4, 2]);
    return [reshape(x, forms[c % forms.length]!)];
  }
  const rest = x.shape.slice(1);
  if (!rest.every((dim) => typeof dim === "number")) return [];
  return [reshape(x, c % 2 === 0 ? [x.shape[0]!, 1, ...rest] : [x.shape[0]!, sizeOf(rest)])];
};

const transposed: Grow = (growth, { a, b }) => {
  const x = pick(growth, a, isMatrix)!;
  const fixed = isRagged(x.shape) ? 1 : 0;
  const axes = [...x.shape.keys()];
  const moving = axes.slice(fixed);
  const turn = b % moving.length;
  const turned = [...moving.slice(turn), ...moving.slice(0, turn)];
  return [transpose(x, [...axes.slice(0, fixed), ...(b % 2 === 0 ? turned : turned.toReversed())])];
};

const concatenated: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, ({ shape }) => shape.length > 0)!;
  const axis = b % x.shape.length;
  if (typeof x.shape[axis] !== "number") return [];
  const fits = ({ shape }: Tensor) =>
    shape.length === x.shape.length &&
    typeof shape[axis] === "number" &&
    sameShape(shape.with(axis, 1), x.shape.with(axis, 1));
  return [concat([x, pick(growth, c, fits)!, x].slice(0, 2 + (b % 2)), c % 2 === 0 ? axis : axis - x.shape.length)];
};

/** Either part may stay unused. */
const cut: Grow = (growth, { a, b, c }) => {
  const wide = (t: Tensor) => t.shape.some((dim) => typeof dim === "number" && dim > 1);
  // Sizes known at run time only are rare in the pool.
  const x = (c % 2 === 0 && pick(growth, a, (t) => wide(t) && !isStatic(t))) || pick(growth, a, wide)!;
  const axes = [...x.shape.keys()].filter((axis) => typeof x.shape[axis] === "number" && x.shape[axis] > 1);
  const axis = axes[b % axes.length]!;
  const size = x.shape[axis] as number;
  const first = 1 + (c % (size - 1));
  const parts = split(x, axis, [first, size - first]);
  return c % 3 === 2 ? parts : [parts[c % 3]!];
};

const product: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, (t) => isMatrix(t) && !isRagged(t.shape))!;
  const [transposeA, transposeB, useParameter] = bitsOf(b);
  const rank = x.shape.length;
  const inner = x.shape[transposeA ? rank - 2 : rank - 1]!;
  const options = { transposeA, transposeB, alpha: alphaOf(c) };
  const fits = ({ shape }: Tensor) =>
    shape.length === rank &&
    shape[transposeB ? rank - 1 : rank - 2] === inner &&
    sameShape(shape.slice(0, -2), x.shape.slice(0, -2));
  const other = useParameter ? undefined : pick(growth, c, (t) => fits(t) && !isRagged(t.shape));
  if (other) return [matmul(x, other, options)];
  if (!isStatic(x)) return typeof inner === "number" && rank === 2 ? [matmul(x, fresh(inner), options)] : [];
  return [matmul(x, fresh(inner as number), options)];

  function fresh(size: number): Tensor {
    const matrix = transposeB ? [2 + (c % 2), size] : [size, 2 + (c % 2)];
    return growth.parameter([...(x.shape.slice(0, -2) as number[]), ...matrix]);
  }
};

const normalised: Grow = (growth, { a, b }) => {
  const x = pick(growth, a, (t) => last(t) !== undefined)!;
  if (growth.smooth && isRagged(x.shape)) return [softmax(x)];
  // A small epsilon would magnify the rounding of rows near 0.
  return [b % 2 === 0 ? softmax(x) : rmsNorm(x, growth.parameter([last(x)!]), 0.1)];
};

const attention: Grow = (growth, { a, c }) => {
  const x = pick(growth, a, (t) => isMatrix(t) && typeof t.shape.at(-2) === "number" && !isRagged(t.shape));
  if (!x) return [];
  // Queries in two groups share their keys.
  const q = c % 2 === 0 ? x : concat([x, scale(x, -0.5)], -2);
  return [causalAttention(q, scale(x, 0.5), x, 0.5)];
};

const rotated: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, ({ shape }) => shape.length === 3 && typeof shape[1] === "number" && shape[2] === 4);
  return x && typeof x.shape[1] === "number" ? [rotary(x, 1 + (b % 2), c % 2 === 0 ? 10_000 : 100)] : [];
};

const entropy: Grow = (growth, { a, b }) => {
  const x = pick(growth, a, (t) => isMatrix(t) && last(t) !== undefined && !isRagged(t.shape));
  if (!x) return [];
  const shape = x.shape.slice(0, -1);
  const count = growth.value(x).data.length / last(x)!;
  return [crossEntropy(x, growth.labels(shape, count, last(x)!, b % 2 === 0 ? "int32" : "int64"))];
};

const awaited: Grow = (growth, { a, b, c }) => {
  const [x, first, second] = [a, b, c].map((choice) => pick(growth, choice, () => true)!) as [Tensor, Tensor, Tensor];
  return [after(x, c % 2 === 0 ? [first] : [first, second])];
};

/** Whether the `k` largest of each row stand clear of each other and of the rest. */
function isClear(growth: Growth, x: Tensor, k: number): boolean {
  const { shape, data } = growth.value(x);
  const columns = shape.at(-1)!;
  for (let start = 0; start < data.length; start += columns) {
    const sorted = data.slice(start, start + columns).sort((p, q) => q - p);
    for (let i = 0; i < k && i + 1 < columns; i++) if (sorted[i]! - sorted[i + 1]! < 2 * margin) return false;
  }
  return true;
}

const largest: Grow = (growth, { a, b }) => {
  const x = pick(growth, a, (t) => isStatic(t) && t.shape.length > 0)!;
  const k = 1 + (b % last(x)!);
  if (!isClear(growth, x, k)) return [];
  const { values, indices } = topK(x, k);
  growth.integers.push({ tensor: indices, limit: last(x)! });
  return [values];
};

const integral: Grow = (growth, { a, c }) => {
  const source = growth.integers[a % growth.integers.length];
  if (!source || growth.smooth) return [];
  const { tensor } = source;
  const forms = [
    () => [cast(tensor, "float32")],
    () => [cast(integerDivide(tensor, 2), "float32")],
    () => [cast(addScalar(cast(tensor, "int64"), 3), "float32")],
  ];
  return forms[c % forms.length]!();
};

/** 1 below an edge that no value is near, and 0 above it. */
const compared: Grow = (growth, { a, b }) => {
  const x = pick(growth, a, mayJump(growth))!;
  const gaps = gapsOf(growth, x);
  return gaps.length === 0 ? [] : [detach(less(x, x.node.graph.constant([gaps[b % gaps.length]!], [1])))];
};

const jumping: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, mayJump(growth))!;
  if (c % 3 === 0) {
    const other = pick(growth, b, (t) => mayJump(growth)(t) && broadcasts(growth, x, t));
    return other ? [minimum(x, other)] : [];
  }
  const columns = last(x);
  if (columns === undefined || isRagged(x.shape)) return [];
  if (c % 3 === 1) {
    const rows = growth.value(x).data.length / columns;
    return [minusOneAt(x, growth.labels(x.shape.slice(0, -1), rows, columns, b % 2 === 0 ? "int32" : "int64"))];
  }
  if (!isClear(growth, x, 1)) return [];
  growth.integers.push({ tensor: argMax(x), limit: columns });
  return [];
};

/** Rows of a matrix, sorted by a group that labels or a top-k chose. */
const dispatched: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, (t) => isStatic(t) && t.shape.length === 2)!;
  const [rows, columns] = x.shape as [number, number];
  const k = 1 + (b % 2);
  const routed = c % 3 === 0 && columns >= k && isClear(growth, x, k) ? topK(x, k) : null;
  const groups = routed ? columns : 1 + (c % 4);
  const labels = routed
    ? reshape(routed.indices, [rows * k])
    : growth.labels([rows * k], rows * k, groups + 1, "int64", -1);
  const { positions, counts } = sortByGroup(labels, groups);
  const token = integerDivide(positions, k);
  growth.integers.push({ tensor: counts, limit: rows * k + 1 });
  growth.origins.set(positions.shape[0] as SymbolicDim, { token, rows });
  const sorted = gatherRows(x, token);
  if (!routed) return [sorted];
  return [sorted, mul(sorted, gatherRows(reshape(routed.values, [rows * k, 1]), positions))];
};

const expert: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, ({ shape }) => isRagged(shape) && shape.length === 2);
  if (!x) return dispatched(growth, { op: 0, a, b, c });
  const [flip, useBase] = bitsOf(b);
  const base = useBase ? pick(growth, c, (t) => t.shape.length === 2 && t.shape[0] === x.shape[0]) : undefined;
  const out = base ? last(base)! : 1 + (c % 4);
  const { groups } = x.shape[0] as { groups: number };
  if (!base && c % 2 === 0) {
    const factors = [growth.parameter([groups, 2, last(x)!]), growth.parameter([groups, out, 2])] as const;
    const merged = mergeFactors(growth.parameter([groups, last(x)!, out]), ...factors, alphaOf(a));
    const y = groupedMatmul(x, merged, { alpha: alphaOf(b) });
    // The gradient of a matrix that is used twice is formed.
    return [a % 4 === 0 ? add(y, groupedMatmul(scale(x, 0.5), merged)) : y];
  }
  const weights = growth.parameter(flip ? [groups, out, last(x)!] : [groups, last(x)!, out]);
  return [groupedMatmul(x, weights, { transposed: flip, alpha: alphaOf(c), ...(base && { base }) })];
};

/** Rows whose groups fall into parts, through a batched product and back. */
const paddedExpert: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, (t) => isStatic(t) && t.shape.length === 2)!;
  const [rows, columns] = x.shape as [number, number];
  const groups = 1 + (b % 4);
  const parts = rows % 2 === 0 && c % 2 === 0 ? 2 : 1;
  const labels = growth.labels([rows * 2], rows * 2, groups + 1, "int64", -1);
  const { positions } = sortByGroup(labels, groups);
  const token = integerDivide(positions, 2);
  growth.origins.set(positions.shape[0] as SymbolicDim, { token, rows });
  const slots = groupSlots(positions, labels, { groups, parts });
  growth.integers.push({ tensor: slots.counts, limit: rows * 2 + 1 });
  const padded = padGroups(gatherRows(x, token), slots);
  const [transposeB, isShared] = bitsOf(b >> 2);
  const options = { transposeB, alpha: alphaOf(c) };
  const factor = (count: number) => growth.parameter(transposeB ? [count, 3, columns] : [count, columns, 3]);
  if (!isShared) return [unpadGroups(matmul(padded, factor(groups * parts), options), slots)];
  const product = matmul(reshape(padded, [parts, groups, slots.size, columns]), factor(groups), options);
  return [unpadGroups(reshape(product, [parts * groups, slots.size, 3]), slots)];
};

/** A picture from whatever is there, through a convolution; then squares to means, or channels to places. */
const pictured: Grow = (growth, { a, b, c }) => {
  const x = pick(growth, a, (t) => isStatic(t) && t.shape.length >= 2 && last(t)! <= 4)!;
  const channels = last(x)!;
  const places = sizeOf(x.shape) / channels;
  const height = places % 2 === 0 ? 2 : 1;
  const images = places % 3 === 0 && b % 2 === 0 ? 3 : 1;
  const grid = { height, width: places / height / images };
  if (!Number.isInteger(grid.width)) return [];
  const kernel = 1 + (b % 3);
  const window = { ...grid, kernel, stride: 1 + (c % 2), padding: kernel - 1 };
  const weight = growth.parameter([kernel ** 2 * channels, c % 3 === 0 ? 4 : 1]);
  const y = conv(reshape(x, [images, places / images, channels]), weight, window);
  const stops = stopsOf(window);
  if (c % 3 === 0) return [pixelShuffle(y, stops, 2)];
  return stops.height % 2 === 0 && stops.width % 2 === 0 ? [averagePool(y, stops, 2)] : [y];
};

const returned: Grow = (growth, { a }) => {
  const x = pick(growth, a, ({ shape }) => isRagged(shape));
  const origin = x && growth.origins.get(x.shape[0] as SymbolicDim)!;
  return origin ? [scatterAddRows(x, origin.token, origin.rows)] : [];
};

const steps: readonly Grow[] = [
  elementwise,
  unary,
  gatedUnit,
  clipped,
  reduced,
  logSumExp,
  stretched,
  reshaped,
  transposed,
  concatenated,
  cut,
  product,
  product,
  normalised,
  attention,
  rotated,
  entropy,
  gathered,
  picked,
  awaited,
  scattered,
  largest,
  integral,
  jumping,
  compared,
  dispatched,
  expert,
  expert,
  paddedExpert,
  pictured,
  returned,
];
