/** Operations that move elements without changing them. */
import { invariant } from "../../base/errors.ts";
import { apply, staticSize } from "../graph/graph.ts";
import type { Op, Tensor } from "../graph/ir.ts";
import { type Dim, isRagged, normalAxis, type Shape, sameShape, shapeError, sizeOf } from "../graph/shape.ts";

const reshapeOp: Op = {
  name: "reshape",
  infer([x], attributes) {
    const shape = attributes.shape as Shape;
    const dynamic = shape.filter((dim) => typeof dim !== "number");
    const known = (dims: Shape) => dims.reduce<number>((product, dim) => product * Math.abs(staticSize(dim)), 1);
    const kept = dynamic.every((dim) => x!.shape.includes(dim)) && dynamic.length <= 1;
    if (!kept || known(x!.shape) !== known(shape))
      throw shapeError("reshape", "equally many elements", x!.shape, shape);
    return [{ shape, dtype: x!.dtype }];
  },
  backward: (node, [g]) => [reshape(g!, node.inputs[0]!.shape)],
  onnx: (emit, [x], node) => emit.node("Reshape", [x!, emit.integers(node.outputs[0]!.shape.map(staticSize))]),
  tensorflow: (emit, [x], node) =>
    emit.node("Reshape", [x!, emit.integers(node.outputs[0]!.shape.map(staticSize))], { T: node.inputs[0]!.dtype }),
  eager: (run, node) => run.set(node, run.tf.reshape(run.get(node.inputs[0]!), node.outputs[0]!.shape.map(staticSize))),
};
export function reshape(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  // A chain of reshapes is its last one.
  return apply(reshapeOp, [x.node.op === reshapeOp ? x.node.inputs[0]! : x], { shape });
}

/** Sizes `[before, first, second, inner]` where a permutation swaps two stretches of axes before others that stay; or null. */
function swappedBlocks(shape: Shape, permutation: readonly number[]): [number, number, number, number] | null {
  const axes = permutation.filter((axis) => shape[axis] !== 1);
  const sorted = axes.toSorted((a, b) => a - b);
  const before = axes.findIndex((axis, at) => axis !== sorted[at]);
  const after = axes.length - axes.findLastIndex((axis, at) => axis !== sorted[at]) - 1;
  const moved = axes.slice(before, axes.length - after);
  const second = moved.indexOf(sorted[before]!);
  const isSwap = [...moved.slice(second), ...moved.slice(0, second)].every((axis, at) => axis === sorted[before + at]);
  if (before < 0 || after === 0 || !isSwap || shape.some((dim) => typeof dim !== "number")) return null;
  const sizes = [axes.slice(0, before), moved.slice(second), moved.slice(0, second), axes.slice(axes.length - after)];
  return sizes.map((part) => sizeOf(part.map((axis) => shape[axis]!))) as [number, number, number, number];
}

const transposeOp: Op = {
  name: "transpose",
  infer([x], attributes) {
    const permutation = attributes.permutation as number[];
    const valid =
      permutation.length === x!.shape.length && [...permutation].sort((a, b) => a - b).every((p, i) => p === i);
    invariant(valid, () => `transpose: [${permutation}] does not permute ${x!.shape.length} axes`);
    return [{ shape: permutation.map((axis) => x!.shape[axis]!), dtype: x!.dtype }];
  },
  backward(node, [g]) {
    const permutation = node.attributes.permutation as number[];
    return [
      transpose(
        g!,
        permutation.map((_, axis) => permutation.indexOf(axis)),
      ),
    ];
  },
  onnx(emit, [x], node) {
    const perm = node.attributes.permutation as number[];
    const sizes = swappedBlocks(node.inputs[0]!.shape, perm);
    if (sizes === null) return emit.node("Transpose", [x!], { perm });
    const [before, first, second, inner] = sizes;
    // ONNX Runtime moves an axis outwards, row by row, where it might as well move one inwards, which takes half the time:
    // so the first is moved in front of an axis of size 1.
    const [blocks] = emit.node("Reshape", [x!, emit.integers([before, first, second, 1, inner])]);
    const [swapped] = emit.node("Transpose", [blocks!], { perm: [0, 2, 3, 1, 4] });
    return emit.node("Reshape", [swapped!, emit.integers(node.outputs[0]!.shape as number[])]);
  },
  tensorflow: (emit, [x], node) =>
    emit.node("Transpose", [x!, emit.integers(node.attributes.permutation as number[])], { T: node.inputs[0]!.dtype }),
  eager: (run, node) =>
    run.set(node, run.tf.transpose(run.get(node.inputs[0]!), node.attributes.permutation as number[])),
};
/** A transpose of a transpose is one. */
export function transpose(x: Tensor, permutation: readonly number[]): Tensor {
  if (x.node.op !== transposeOp) return apply(transposeOp, [x], { permutation });
  const first = x.node.attributes.permutation as number[];
  return apply(transposeOp, x.node.inputs, { permutation: permutation.map((axis) => first[axis]!) });
}

const concatOp: Op = {
  name: "concat",
  infer(inputs, attributes) {
    const axis = attributes.axis as number;
    const [first] = inputs as [Tensor];
    let size = 0;
    for (const { shape } of inputs) {
      const fits = shape.length === first.shape.length && shape.every((dim, i) => i === axis || dim === first.shape[i]);
      if (!fits || typeof shape[axis] !== "number") {
        throw shapeError("concat", `shapes that differ in axis ${axis} alone`, first.shape, shape);
      }
      size += shape[axis];
    }
    return [{ shape: first.shape.map((dim, i) => (i === axis ? size : dim)), dtype: first.dtype }];
  },
  backward(node, [g]) {
    const axis = node.attributes.axis as number;
    return split(
      g!,
      axis,
      node.inputs.map(({ shape }) => shape[axis] as number),
    );
  },
  onnx: (emit, inputs, node) => emit.node("Concat", inputs, { axis: node.attributes.axis as number }),
  tensorflow(emit, inputs, node) {
    const axis = emit.scalar(node.attributes.axis as number, "int32");
    return emit.node("ConcatV2", [...inputs, axis], { N: inputs.length, T: node.inputs[0]!.dtype });
  },
  eager: (run, node) =>
    run.set(
      node,
      run.tf.concat(
        node.inputs.map((x) => run.get(x)),
        node.attributes.axis as number,
      ),
    ),
};
export function concat(inputs: readonly Tensor[], axis: number): Tensor {
  if (inputs.length === 1) return inputs[0]!;
  return apply(concatOp, inputs, { axis: normalAxis("concat", axis, inputs[0]!.shape) });
}

const splitOp: Op = {
  name: "split",
  infer([x], attributes) {
    const axis = attributes.axis as number;
    const sizes = attributes.sizes as number[];
    const total = sizes.reduce((a, b) => a + b, 0);
    if (x!.shape[axis] !== total || (axis === 0 && isRagged(x!.shape))) {
      throw shapeError("split", `axis ${axis} of size ${total}`, x!.shape);
    }
    return sizes.map((size) => ({ shape: x!.shape.map((dim, i): Dim => (i === axis ? size : dim)), dtype: x!.dtype }));
  },
  backward(node, gradients) {
    const parts = gradients.map((g, i) => g ?? zerosLike(node.outputs[i]!));
    return [concat(parts, node.attributes.axis as number)];
  },
  onnx: (emit, [x], { attributes }) => emit.cut(x!, attributes.sizes as number[], attributes.axis as number),
  tensorflow(emit, [x], { attributes, inputs }) {
    const sizes = attributes.sizes as number[];
    const operands = [x!, emit.integers(sizes), emit.scalar(attributes.axis as number, "int32")];
    const types = { T: inputs[0]!.dtype, Tlen: "int32", num_split: sizes.length } as const;
    return emit.node("SplitV", operands, types, sizes.length);
  },
  eager(run, node) {
    const { sizes, axis } = node.attributes as { sizes: number[]; axis: number };
    for (const [i, part] of run.tf.split(run.get(node.inputs[0]!), sizes, axis).entries()) run.set(node, part, i);
  },
};

const zerosLikeOp: Op = {
  name: "zerosLike",
  infer: ([x]) => [{ shape: x!.shape, dtype: x!.dtype }],
  onnx: (emit, [x]) => emit.node("ConstantOfShape", emit.node("Shape", [x!])),
  tensorflow: (emit, [x], node) => emit.node("ZerosLike", [x!], { T: node.inputs[0]!.dtype }),
  eager: (run, node) => run.set(node, run.tf.zerosLike(run.get(node.inputs[0]!))),
};
/** Zeros in the shape of `x`, which may be known only at run time. */
const zerosLike = (x: Tensor): Tensor =>
  x.shape.every((dim) => typeof dim === "number")
    ? x.node.graph.zeros(x.shape as readonly number[])
    : apply(zerosLikeOp, [x]);

/** Cuts `x` along `axis` into parts of the given sizes, which must add up. */
export function split(x: Tensor, axis: number, sizes: readonly number[]): readonly Tensor[] {
  if (sizes.length === 1) return [x];
  return x.node.graph.node(splitOp, [x], { axis: normalAxis("split", axis, x.shape), sizes }).outputs;
}

export function halves(x: Tensor, axis: number): [Tensor, Tensor] {
  const half = (x.shape.at(axis) as number) / 2;
  return split(x, axis, [half, half]) as [Tensor, Tensor];
}

export const layoutOps: readonly Op[] = [reshapeOp, transposeOp, concatOp, splitOp, zerosLikeOp];
