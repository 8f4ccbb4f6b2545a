/** Operations that choose by index: gather, scatter-add, top-k, one-hot. */
import type * as Tf from "@tensorflow/tfjs-core";
import { apply } from "../graph/graph.ts";
import type { EagerLowering, OnnxLowering, Op, Tensor } from "../graph/ir.ts";
import { type Dim, isRagged, type Shape, sameShape, shapeError, sizeOf } from "../graph/shape.ts";

/** `[.., columns]` with a 1 in column `index[..]`, for eager runs; TensorFlow.js's own refuses a single column. */
export function eagerOneHot(run: EagerLowering, index: Tensor, columns: number): Tf.Tensor {
  const { tf } = run;
  return tf.cast(tf.equal(tf.expandDims(run.integers(index), -1), tf.range(0, columns, 1, "int32")), "float32");
}

const gatherRowsOp: Op = {
  name: "gatherRows",
  infer([table, index]) {
    if (isRagged(table!.shape)) throw shapeError("gatherRows", "a table that is not ragged", table!.shape);
    return [{ shape: [...index!.shape, ...table!.shape.slice(1)], dtype: table!.dtype }];
  },
  backward(node, [g]) {
    const [table, index] = node.inputs as [Tensor, Tensor];
    return [scatterAddRows(g!, index, table.shape[0]!), null];
  },
  onnx: (emit, inputs) => emit.node("Gather", inputs, { axis: 0 }),
  tensorflow(emit, inputs, { inputs: [table, index] }) {
    const types = { Tparams: table!.dtype, Tindices: index!.dtype, Taxis: "int32" } as const;
    return emit.node("GatherV2", [...inputs, emit.scalar(0, "int32")], types);
  },
  eager: (run, node) => run.set(node, run.tf.gather(run.get(node.inputs[0]!), run.integers(node.inputs[1]!), 0)),
};
/** `out[i] = table[index[i]]`. A ragged index gives ragged rows. */
export const gatherRows = (table: Tensor, index: Tensor): Tensor => apply(gatherRowsOp, [table, index]);

const scatterAddRowsOp: Op = {
  name: "scatterAddRows",
  infer([values, index, onto], attributes) {
    const [rows] = attributes.rows as readonly Dim[];
    if (!sameShape(values!.shape.slice(0, index!.shape.length), index!.shape)) {
      throw shapeError("scatterAddRows", "one row per index", values!.shape, index!.shape);
    }
    const shape = [rows!, ...values!.shape.slice(index!.shape.length)];
    if (onto && !sameShape(onto.shape, shape)) throw shapeError("scatterAddRows", "rows to add to", shape, onto.shape);
    return [{ shape, dtype: values!.dtype }];
  },
  backward: (node, [g]) => [gatherRows(g!, node.inputs[1]!), null, ...(node.inputs.length > 2 ? [g!] : [])],
  onnxGrouped(emit, node) {
    const [values, index, onto] = node.inputs as [Tensor, Tensor, Tensor?];
    const start = onto ? emit.whole(onto) : emit.filled(node.outputs[0]!.shape as readonly number[]);
    const [positions] = emit.node("Unsqueeze", [emit.wide(emit.whole(index), index.dtype), emit.integers([-1])]);
    emit.define(node, emit.node("ScatterND", [start, positions!, emit.whole(values)], { reduction: "add" }));
  },
  tensorflow(emit, [values, index, onto], node) {
    const rows = emit.scalar(node.outputs[0]!.shape[0] as number, "int32");
    const T = node.inputs[0]!.dtype;
    const sums = emit.node("UnsortedSegmentSum", [values!, index!, rows], { T, Tindices: node.inputs[1]!.dtype });
    return onto === undefined ? sums : emit.node("AddV2", [onto, ...sums], { T });
  },
  eager(run, node) {
    const [values, index, onto] = node.inputs as [Tensor, Tensor, Tensor?];
    const tf = run.tf;
    // A one-hot product: slow, and obviously right.
    const shape = node.outputs[0]!.shape as number[];
    const chosen = tf.reshape(eagerOneHot(run, index, shape[0]!), [-1, shape[0]!]) as Tf.Tensor2D;
    const rows = tf.reshape(run.get(values), [chosen.shape[0], sizeOf(shape) / shape[0]!]) as Tf.Tensor2D;
    const sums = tf.reshape(tf.matMul(chosen, rows, true), shape);
    run.set(node, onto ? tf.add(run.get(onto), sums) : sums);
  },
};
/** Sums `values[i]` into row `index[i]` of a zero tensor with `rows` rows, or of `onto`. */
export const scatterAddRows = (values: Tensor, index: Tensor, rows: Dim, onto?: Tensor): Tensor =>
  apply(scatterAddRowsOp, onto ? [values, index, onto] : [values, index], { rows: [rows] });

const topKOp: Op = {
  name: "topK",
  infer([x], attributes) {
    const k = attributes.k as number;
    const last = x!.shape.at(-1);
    if (typeof last !== "number" || k < 1 || k > last) throw shapeError("topK", `at least ${k} columns`, x!.shape);
    const shape = [...x!.shape.slice(0, -1), k];
    return [
      { shape, dtype: x!.dtype },
      { shape, dtype: "int64" },
    ];
  },
  backward(node, [g]) {
    if (!g) return [null];
    const columns = node.inputs[0]!.shape.at(-1) as number;
    return [scatterColumns(g, node.outputs[1]!, columns)];
  },
  onnx: (emit, [x], node) =>
    emit.node("TopK", [x!, emit.integers([node.attributes.k as number])], { axis: -1, largest: 1, sorted: 1 }, 2),
  tensorflow(emit, [x], node) {
    const k = emit.scalar(node.attributes.k as number, "int32");
    const [values, indices] = emit.node("TopKV2", [x!, k], { T: node.inputs[0]!.dtype, sorted: true }, 2);
    return [values!, emit.cast(indices!, "int32", "int64")];
  },
  eager(run, node) {
    const { values, indices } = run.tf.topk(run.get(node.inputs[0]!), node.attributes.k as number, true);
    run.set(node, values, 0);
    run.set(node, indices, 1);
  },
};
/** The k largest entries of the last axis, largest first, and their indices; ties go to the lower index. */
export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  const { outputs } = x.node.graph.node(topKOp, [x], { k });
  return { values: outputs[0]!, indices: outputs[1]! };
}

/** @param like a value whose axes but the last are those of `shape` */
function zerosOf(emit: OnnxLowering, shape: Shape, like: string): string {
  if (shape.every((dim) => typeof dim === "number")) return emit.filled(shape as readonly number[]);
  const [sizes] = emit.node("Shape", [like]);
  const [lead] = emit.node("Slice", [sizes!, emit.integers([0]), emit.integers([-1])]);
  const [whole] = emit.node("Concat", [lead!, emit.integers([shape.at(-1) as number])], { axis: 0 });
  return emit.node("ConstantOfShape", [whole!])[0]!;
}

/** Puts `values[r, c]` into column `indices[r, c]` of a zero matrix. Indices within a row are distinct. */
const scatterColumnsOp: Op = {
  name: "scatterColumns",
  infer: ([values], attributes) => [
    { shape: [...values!.shape.slice(0, -1), attributes.columns as number], dtype: values!.dtype },
  ],
  onnx(emit, [values, indices], node) {
    const [{ shape }] = node.outputs as [Tensor];
    return emit.node("ScatterElements", [zerosOf(emit, shape, values!), indices!, values!], { axis: -1 });
  },
  tensorflow(emit, [values, indices], node) {
    const chosen = emit.oneHot(indices!, node.inputs[1]!.dtype, node.attributes.columns as number);
    const [column] = emit.node("ExpandDims", [values!, emit.scalar(-1, "int32")], { T: "float32" });
    const [spread] = emit.node("Mul", [chosen, column!], { T: "float32" });
    return emit.node("Sum", [spread!, emit.integers([-2])], { T: "float32", keep_dims: false });
  },
  eager(run, node) {
    const [values, indices] = node.inputs as [Tensor, Tensor];
    const chosen = eagerOneHot(run, indices, node.attributes.columns as number);
    run.set(node, run.tf.sum(run.tf.mul(chosen, run.tf.expandDims(run.get(values), -1)), -2));
  },
};
/** The values of each row in the columns `indices` of zeros. Carries no gradient. */
export const scatterColumns = (values: Tensor, indices: Tensor, columns: number): Tensor =>
  apply(scatterColumnsOp, [values, indices], { columns });

const gatherColumnsOp: Op = {
  name: "gatherColumns",
  infer([x, indices]) {
    if (!sameShape(x!.shape.slice(0, -1), indices!.shape.slice(0, -1))) {
      throw shapeError("gatherColumns", "columns for every row", x!.shape, indices!.shape);
    }
    return [{ shape: indices!.shape, dtype: x!.dtype }];
  },
  backward(node, [g]) {
    const [x, indices] = node.inputs as [Tensor, Tensor];
    return [scatterColumns(g!, indices, x.shape.at(-1) as number), null];
  },
  onnx: (emit, inputs) => emit.node("GatherElements", inputs, { axis: -1 }),
  tensorflow: (emit, inputs, { inputs: [x, indices] }) =>
    emit.node("GatherV2", [...inputs, emit.scalar(-1, "int32")], {
      Tparams: x!.dtype,
      Tindices: indices!.dtype,
      Taxis: "int32",
      batch_dims: x!.shape.length - 1,
    }),
  eager(run, node) {
    const [x, indices] = node.inputs as [Tensor, Tensor];
    const chosen = eagerOneHot(run, indices, x.shape.at(-1) as number);
    run.set(node, run.tf.sum(run.tf.mul(chosen, run.tf.expandDims(run.get(x), -2)), -1));
  },
};
/** The entries of each row in the columns `indices`, `[.., k]`, of which no two in a row are equal. */
export const gatherColumns = (x: Tensor, indices: Tensor): Tensor => apply(gatherColumnsOp, [x, indices]);

const minusOneAtOp: Op = {
  name: "minusOneAt",
  infer([x, column]) {
    if (!sameShape(x!.shape.slice(0, -1), column!.shape)) {
      throw shapeError("minusOneAt", "one column per row", x!.shape, column!.shape);
    }
    return [{ shape: x!.shape, dtype: x!.dtype }];
  },
  onnx(emit, [x, column], node) {
    const labels = emit.wide(column!, node.inputs[1]!.dtype);
    const [indices] = emit.node("Unsqueeze", [labels, emit.integers([-1])]);
    const [ones] = emit.node("Expand", [emit.floats([-1]), emit.node("Shape", [indices!])[0]!]);
    return emit.node("ScatterElements", [x!, indices!, ones!], { axis: -1, reduction: "add" });
  },
  tensorflow(emit, [x, column], node) {
    const chosen = emit.oneHot(column!, node.inputs[1]!.dtype, node.inputs[0]!.shape.at(-1) as number);
    return emit.node("Sub", [x!, chosen], { T: "float32" });
  },
  eager(run, node) {
    const [x, column] = node.inputs as [Tensor, Tensor];
    const chosen = eagerOneHot(run, column, x.shape.at(-1) as number);
    run.set(node, run.tf.sub(run.get(x), chosen));
  },
};
/** `x` with 1 taken off in column `column[i]` of each row. Carries no gradient. */
export const minusOneAt = (x: Tensor, column: Tensor): Tensor => apply(minusOneAtOp, [x, column]);

export const indexOps: readonly Op[] = [
  gatherRowsOp,
  scatterAddRowsOp,
  topKOp,
  scatterColumnsOp,
  gatherColumnsOp,
  minusOneAtOp,
];
