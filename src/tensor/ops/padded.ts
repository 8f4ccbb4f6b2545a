/**
 * Padded groups: the rows of a ragged tensor spread over groups of one length, so that one batched product serves all.
 *
 * A ragged tensor has a stretch of rows per group; here each stretch falls further into `parts`, and every (part, group)
 * gets a block as long as the longest of them, filled up with rows of zeros. A row's place is its *slot*,
 * (part · groups + group) · longest + its number within the block.
 *
 *   [rows, columns], ragged over groups  ⇄  [parts · groups, longest, columns]
 */
import { apply } from "../graph/graph.ts";
import type { Op, Tensor } from "../graph/ir.ts";
import { isRagged, type Shape, type SymbolicDim, shapeError } from "../graph/shape.ts";

interface Sizes {
  readonly groups: number;
  readonly parts: number;
}

/** Block number of each pair of a group and a part, in the order in which sorted rows come: group after group. */
const blockOrder = ({ groups, parts }: Sizes): number[] =>
  Array.from({ length: groups * parts }, (_, pair) => (pair % parts) * groups + Math.floor(pair / parts));

const groupSlotsOp: Op = {
  name: "groupSlots",
  infer([positions, labels], attributes) {
    const { parts } = attributes as unknown as Sizes;
    const [size] = labels!.shape;
    if (!isRagged(positions!.shape) || labels!.shape.length !== 1 || typeof size !== "number" || size % parts !== 0) {
      throw shapeError("groupSlots", `sorted positions and labels in ${parts} parts`, positions!.shape, labels!.shape);
    }
    const { groups } = attributes as unknown as Sizes;
    return [
      { shape: positions!.shape, dtype: "int64" },
      { shape: [groups * parts], dtype: "int64" },
      { shape: [1], dtype: "int64" },
    ];
  },
  onnxGrouped(emit, node) {
    const { groups, parts } = node.attributes as unknown as Sizes;
    const [positions, labels] = node.inputs.map((input) => emit.whole(input)) as [string, string];
    const size = (node.inputs[1]!.shape[0] as number) / parts;
    const numbers = emit.integers([...Array(groups).keys()], [groups, 1]);
    const [row] = emit.node("Unsqueeze", [labels, emit.integers([0])]);
    const [member] = emit.node("Equal", [row!, numbers]);
    const [ones] = emit.node("Reshape", [emit.cast(member!, "int32")[0]!, emit.integers([groups * parts, size])]);
    const [count] = emit.node("ReduceSum", [ones!, emit.integers([1])], { keepdims: 0 });
    const [counts] = emit.cast(count!, "int64");
    const [largest] = emit.node("ReduceMax", [counts!, emit.integers([0])], { keepdims: 1 });
    // A block has a row even where nobody has one: kernels differ on products over nothing.
    const [longest] = emit.node("Max", [largest!, emit.integers([1])]);
    const [starts] = emit.node("CumSum", [counts!, emit.integer(0)], { exclusive: 1 });
    const [blocks] = emit.node("Mul", [emit.integers(blockOrder({ groups, parts })), longest!]);
    const [shifts] = emit.node("Sub", [blocks!, starts!]);

    const [group] = emit.node("Gather", [labels, positions], { axis: 0 });
    const [scaled] = emit.node("Mul", [group!, emit.integers([parts])]);
    const [part] = emit.node("Div", [positions, emit.integers([size])]);
    const [pair] = emit.node("Add", [scaled!, part!]);
    const [shift] = emit.node("Gather", [shifts!, pair!], { axis: 0 });
    const [rows] = emit.node("Gather", [emit.node("Shape", [positions])[0]!, emit.integer(0)], { axis: 0 });
    const [numbered] = emit.node("Range", [emit.integer(0), rows!, emit.integer(1)]);
    emit.defineRagged(node.outputs[0]!, { whole: emit.node("Add", [shift!, numbered!])[0]! });
    emit.defineOutput(node.outputs[1]!, counts!);
    emit.defineOutput(node.outputs[2]!, longest!);
  },
  tensorflow(emit, [positions, labels], node) {
    const { groups, parts } = node.attributes as unknown as Sizes;
    const size = (node.inputs[1]!.shape[0] as number) / parts;
    const T = "int64";
    const long = (values: readonly number[], shape = [values.length]) =>
      emit.cast(emit.integers(values, shape), "int32", T);
    const [row] = emit.node("ExpandDims", [labels!, emit.scalar(0, "int32")], { T });
    const [member] = emit.node("Equal", [row!, long([...Array(groups).keys()], [groups, 1])], { T });
    const shape = emit.integers([groups * parts, size]);
    const [ones] = emit.node("Reshape", [emit.cast(member!, "bool", T), shape], { T });
    const [counts] = emit.node("Sum", [ones!, emit.integers([1])], { T, keep_dims: false });
    const [largest] = emit.node("Max", [counts!, emit.integers([0])], { T, keep_dims: true });
    const [longest] = emit.node("Maximum", [largest!, long([1])], { T });
    const [starts] = emit.node("Cumsum", [counts!, emit.scalar(0, "int32")], { T, exclusive: true, reverse: false });
    const [blocks] = emit.node("Mul", [long(blockOrder({ groups, parts })), longest!], { T });
    const [shifts] = emit.node("Sub", [blocks!, starts!], { T });

    const zero = emit.scalar(0, "int32");
    const gather = { Tparams: T, Tindices: T, Taxis: "int32" } as const;
    const [group] = emit.node("GatherV2", [labels!, positions!, zero], gather);
    const [scaled] = emit.node("Mul", [group!, emit.scalar(parts, T)], { T });
    const [part] = emit.node("FloorDiv", [positions!, emit.scalar(size, T)], { T });
    const [pair] = emit.node("AddV2", [scaled!, part!], { T });
    const [shift] = emit.node("GatherV2", [shifts!, pair!, zero], gather);
    const [rows] = emit.node("Size", [positions!], { T, out_type: T });
    const [numbered] = emit.node("Range", [emit.scalar(0, T), rows!, emit.scalar(1, T)], { Tidx: T });
    return [emit.node("AddV2", [shift!, numbered!], { T })[0]!, counts!, longest!];
  },
  eager(run, node) {
    const { groups, parts } = node.attributes as unknown as Sizes;
    const [positions, labels] = node.inputs.map((input) => run.get(input).dataSync()) as [Int32Array, Int32Array];
    const size = labels.length / parts;
    const pairs = Array.from(positions, (position) => labels[position]! * parts + Math.floor(position / size));
    const counts = new Array<number>(groups * parts).fill(0);
    const numbers = pairs.map((pair) => counts[pair]!++);
    const longest = Math.max(1, ...counts);
    const order = blockOrder({ groups, parts });
    const slots = pairs.map((pair, row) => order[pair]! * longest + numbers[row]!);
    run.set(node, run.tf.tensor1d(slots, "int32"), 0);
    run.set(node, run.tf.tensor1d(counts, "int32"), 1);
    run.set(node, run.tf.tensor1d([longest], "int32"), 2);
  },
};

/** Where the rows of a ragged tensor lie when its groups are padded. */
export interface Slots extends Sizes {
  /** Of each row, ragged `[rows]` int64. */
  readonly slots: Tensor;
  /** Rows of each pair of a group and a part, `[groups · parts]` int64, group after group. */
  readonly counts: Tensor;
  /** Rows of a block, `[1]` int64: the largest count, and at least 1. */
  readonly longest: Tensor;
  /** The same number as a size. */
  readonly size: SymbolicDim;
}

/**
 * The slots of rows that `sortByGroup` sorted.
 *
 * @param positions as sorted: by group, and within a group in order
 * @param labels `[size]` int64, what was sorted; its positions fall into `parts` stretches of equal length
 */
export function groupSlots(positions: Tensor, labels: Tensor, sizes: Sizes): Slots {
  const { graph } = positions.node;
  const { groups, parts } = sizes;
  const { outputs } = graph.node(groupSlotsOp, [positions, labels], { groups, parts });
  const [slots, counts, longest] = outputs as [Tensor, Tensor, Tensor];
  return { groups, parts, slots, counts, longest, size: graph.symbol("longest") };
}

const padGroupsOp: Op = {
  name: "padGroups",
  infer([x, slots], attributes) {
    const [blocks, size] = attributes.blocks as Shape;
    const columns = x!.shape[1];
    if (
      !isRagged(x!.shape) ||
      x!.shape.length !== 2 ||
      x!.shape[0] !== slots!.shape[0] ||
      typeof columns !== "number"
    ) {
      throw shapeError("padGroups", "ragged rows and a slot for each", x!.shape, slots!.shape);
    }
    return [{ shape: [blocks!, size!, columns], dtype: "float32" }];
  },
  backward: (node, [g]) => [apply(unpadGroupsOp, [g!, node.inputs[1]!, node.inputs[2]!]), null, null],
  onnxGrouped(emit, node) {
    const [x, slots, longest] = node.inputs.map((input) => emit.whole(input)) as [string, string, string];
    const [blocks, , columns] = node.outputs[0]!.shape as [number, unknown, number];
    const [rows] = emit.node("Mul", [longest, emit.integers([blocks])]);
    const [shape] = emit.node("Concat", [rows!, emit.integers([columns])], { axis: 0 });
    const [zeros] = emit.node("ConstantOfShape", [shape!]);
    const [indices] = emit.node("Unsqueeze", [slots, emit.integers([-1])]);
    const [filled] = emit.node("ScatterND", [zeros!, indices!, x]);
    emit.define(node, emit.node("Reshape", [filled!, emit.integers([blocks, -1, columns])]));
  },
  tensorflow(emit, [x, slots, longest], node) {
    const [blocks, , columns] = node.outputs[0]!.shape as [number, unknown, number];
    const T = "float32";
    const [one] = emit.node("Reshape", [longest!, emit.integers([])], { T: "int64" });
    const [rows] = emit.node("Mul", [one!, emit.scalar(blocks, "int64")], { T: "int64" });
    // No two rows share a slot, so nothing is summed.
    const types = { T, Tindices: "int64", Tnumsegments: "int64" } as const;
    const [filled] = emit.node("UnsortedSegmentSum", [x!, slots!, rows!], types);
    return emit.node("Reshape", [filled!, emit.integers([blocks, -1, columns])], { T });
  },
  eager(run, node) {
    const [x, slots, longest] = node.inputs.map((input) => run.get(input).dataSync()) as [
      Float32Array,
      Int32Array,
      Int32Array,
    ];
    const [blocks, , columns] = node.outputs[0]!.shape as [number, unknown, number];
    const filled = new Float32Array(blocks * longest[0]! * columns);
    for (const [row, slot] of slots.entries()) {
      filled.set(x.subarray(row * columns, (row + 1) * columns), slot * columns);
    }
    run.set(node, run.tf.tensor3d(filled, [blocks, longest[0]!, columns]));
  },
};

/** `[rows, columns] → [parts · groups, size, columns]`, zero where there is no row. */
export const padGroups = (x: Tensor, { groups, parts, slots, longest, size }: Slots): Tensor =>
  apply(padGroupsOp, [x, slots, longest], { blocks: [groups * parts, size] });

const unpadGroupsOp: Op = {
  name: "unpadGroups",
  infer([blocks, slots]) {
    const columns = blocks!.shape[2];
    if (blocks!.shape.length !== 3 || !isRagged(slots!.shape) || typeof columns !== "number") {
      throw shapeError("unpadGroups", "padded groups and ragged slots", blocks!.shape, slots!.shape);
    }
    return [{ shape: [slots!.shape[0]!, columns], dtype: "float32" }];
  },
  backward(node, [g]) {
    const [blocks, slots, longest] = node.inputs as [Tensor, Tensor, Tensor];
    return [apply(padGroupsOp, [g!, slots, longest], { blocks: blocks.shape.slice(0, 2) }), null, null];
  },
  onnxGrouped(emit, node) {
    const [blocks, slots] = node.inputs as [Tensor, Tensor];
    const [flat] = emit.node("Reshape", [emit.whole(blocks), emit.integers([-1, blocks.shape[2] as number])]);
    if (emit.limits.whole) {
      emit.defineRagged(node.outputs[0]!, {
        whole: emit.node("Gather", [flat!, emit.whole(slots)], { axis: 0 })[0]!,
      });
      return;
    }
    const pieces = emit.pieces(slots).map((piece) => emit.node("Gather", [flat!, piece], { axis: 0 })[0]!);
    emit.defineRagged(node.outputs[0]!, { pieces });
  },
  tensorflow(emit, [blocks, slots], node) {
    const flat = emit.integers([-1, node.inputs[0]!.shape[2] as number]);
    const [rows] = emit.node("Reshape", [blocks!, flat], { T: "float32" });
    const types = { Tparams: "float32", Tindices: "int64", Taxis: "int32" } as const;
    return emit.node("GatherV2", [rows!, slots!, emit.scalar(0, "int32")], types);
  },
  eager(run, node) {
    const [blocks, slots] = node.inputs as [Tensor, Tensor];
    const rows = run.tf.reshape(run.get(blocks), [-1, blocks.shape[2] as number]);
    run.set(node, run.tf.gather(rows, run.integers(slots), 0));
  },
};

/** `[parts · groups, size, columns] → [rows, columns]`: the inverse of {@link padGroups}. */
export const unpadGroups = (blocks: Tensor, { slots, longest }: Slots): Tensor =>
  apply(unpadGroupsOp, [blocks, slots, longest]);

export const paddedOps: readonly Op[] = [groupSlotsOp, padGroupsOp, unpadGroupsOp];
