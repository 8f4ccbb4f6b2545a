/**
 * Lowers a program to a TensorFlow graph in a SavedModel.
 *
 * Base weights are resource variables. An initializer that runs once, at loading, assigns them slices of the mapped
 * weights file: on a CPU every session reads the same pages, on a GPU each has a copy on the device.
 *
 * A vector that is an input and an output of one name is *state*, and a variable too. One graph serves two kinds of run:
 * fed in place of the read, it passes through host memory like any input; otherwise it stays where it is, and the run
 * assigns its new value.
 *
 * Elementwise work is on whole ragged tensors: cutting one into its groups costs nothing on a CPU, where the pieces are
 * views, and the pieces of a product are joined once.
 */
import { InvariantError, invariant } from "../../base/errors.ts";
import { constantOp, inputOp, reachable, staticSize, weightOp, zerosOp } from "../graph/graph.ts";
import type { Node, Program, Tensor, TensorflowAttributes, TensorflowLowering } from "../graph/ir.ts";
import { type DType, groupsOf, type Shape, type SymbolicDim, sameShape, sizeOf } from "../graph/shape.ts";
import type { WeightSource } from "./executor.ts";
import { type AttrValue, dataTypes, encodeSavedModel, type NodeDef, shapeProto } from "./tensorflow-proto.ts";

/** A graph, and the names by which a session feeds and fetches its values. */
export interface TensorflowModel {
  /** `saved_model.pb`. */
  readonly bytes: Uint8Array;
  /** Input → what to feed; for state, the read that feeding replaces. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly state: readonly StateNames[];
  /** Fetched so that all state is assigned: after a load, and by a run that keeps its state. */
  readonly loaded: string;
  readonly stepped: string;
  /** Fed when nothing else is, because the addon cannot run a session without an input. */
  readonly nothing: string;
}

export interface StateNames {
  readonly name: string;
  /** Fed with the value that a load assigns. */
  readonly load: string;
  /** Fetched to read the value back. */
  readonly save: string;
}

interface Value {
  whole?: string;
  /** One name per group of a ragged tensor. */
  pieces?: readonly string[];
  /** One `[a, b]` name per group of a `[groups, a, b]` tensor. */
  matrices?: readonly string[];
}

const keyOf = (tensor: Tensor): string => `${tensor.node.id}.${tensor.index}`;
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

export class TensorflowEmitter implements TensorflowLowering {
  readonly #nodes: NodeDef[] = [];
  readonly #literals = new Map<string, string>();
  readonly #values = new Map<string, Value>();
  readonly #counts = new Map<SymbolicDim, string>();
  readonly #assigned: string[] = [];
  readonly #stateHandles = new Map<string, string>();
  #names = 0;
  readonly #program: Program;
  readonly #weights: WeightSource | null;

  constructor(program: Program, weights: WeightSource | null) {
    this.#program = program;
    this.#weights = weights;
  }

  emit(): TensorflowModel {
    const { inputs, outputs } = this.#program;
    const state = Object.keys(inputs).filter((name) => this.#isState(name));
    const fed = Object.entries(inputs).map(([name, tensor]) => [name, this.#input(name, tensor)] as const);
    for (const node of reachable([...Object.values(outputs), ...Object.values(inputs)])) this.#lower(node);
    const fetched = Object.entries(outputs).map(([name, tensor]) => [name, this.#output(name, tensor)] as const);
    const initializer = this.#push("NoOp", "initialize", this.#after(this.#assigned), {});
    const { loads, loaded, stepped } = this.#stateRuns(state);
    const nothing = this.#push("Placeholder", "nothing", [], typeAndShape("int32", []));
    const info = (names: readonly (readonly [string, string])[], tensors: Program["inputs"]) =>
      Object.fromEntries(names.map(([name, value]) => [name, { ...describe(tensors[name]!), name: `${value}:0` }]));
    return {
      bytes: encodeSavedModel({
        nodes: this.#nodes,
        initializer,
        inputs: info(fed, inputs),
        outputs: info(fetched, outputs),
      }),
      inputs: Object.fromEntries(fed),
      outputs: Object.fromEntries(fetched),
      state: loads,
      loaded,
      stepped,
      nothing,
    };
  }

  node(opType: string, inputs: readonly string[], attributes: TensorflowAttributes = {}, outputs = 1): string[] {
    const attr: Record<string, AttrValue> = {};
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "string") attr[key] = { type: dataTypes[value] };
      else attr[key] = typeof value === "boolean" ? { b: value } : { i: value };
    }
    const name = this.#push(opType, `n${this.#names++}`, inputs, attr);
    return Array.from({ length: outputs }, (_, index) => (index === 0 ? name : `${name}:${index}`));
  }

  cast(name: string, from: DType, to: DType): string {
    return from === to ? name : this.node("Cast", [name], { SrcT: from, DstT: to })[0]!;
  }

  scaled(name: string, factor: number): string {
    return factor === 1 ? name : this.node("Mul", [name, this.scalar(factor)], { T: "float32" })[0]!;
  }

  scalar(value: number, dtype: DType = "float32"): string {
    return this.#literal([value], [], dtype);
  }

  floats(values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.#literal(values, shape, "float32");
  }

  integers(values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.#literal(values, shape, "int32");
  }

  oneHot(index: string, dtype: DType, columns: number): string {
    const operands = [index, this.scalar(columns, "int32"), this.scalar(1), this.scalar(0)];
    return this.node("OneHot", operands, { T: "float32", TI: dtype })[0]!;
  }

  causalMask(length: number): string {
    const key = `causal ${length}`;
    let mask = this.#literals.get(key);
    if (mask === undefined) {
      const range = [this.scalar(0, "int32"), this.scalar(length, "int32"), this.scalar(1, "int32")];
      const [columns] = this.node("Range", range, { Tidx: "int32" });
      const [rows] = this.node("ExpandDims", [columns!, this.scalar(1, "int32")], { T: "int32" });
      const [later] = this.node("Greater", [columns!, rows!], { T: "int32" });
      mask = this.scaled(this.cast(later!, "bool", "float32"), -1e9);
      this.#literals.set(key, mask);
    }
    return mask;
  }

  define(node: Node, names: readonly string[]): void {
    for (const [index, output] of node.outputs.entries()) this.#values.set(keyOf(output), { whole: names[index]! });
  }

  defineRagged(tensor: Tensor, form: { whole?: string; pieces?: readonly string[]; counts?: string }): void {
    const { counts, ...value } = form;
    if (counts !== undefined) this.#counts.set(tensor.shape[0] as SymbolicDim, counts);
    this.#values.set(keyOf(tensor), value);
  }

  defineMatrices(tensor: Tensor, matrices: readonly string[]): void {
    this.#values.set(keyOf(tensor), { matrices });
  }

  whole(tensor: Tensor): string {
    const value = this.#value(tensor);
    value.whole ??= value.pieces ? this.#concatenated(value.pieces, tensor.dtype) : this.#stacked(value.matrices!);
    return value.whole;
  }

  pieces(tensor: Tensor): readonly string[] {
    const value = this.#value(tensor);
    if (!value.pieces) {
      const counts = this.#counts.get(tensor.shape[0] as SymbolicDim);
      invariant(counts !== undefined, "pieces: the ragged dimension has no counts");
      const groups = groupsOf(tensor.shape);
      const operands = [this.whole(tensor), counts, this.scalar(0, "int32")];
      value.pieces = this.node("SplitV", operands, { T: tensor.dtype, Tlen: "int64", num_split: groups }, groups);
    }
    return value.pieces;
  }

  matrices(tensor: Tensor, factor = 1): readonly string[] {
    const value = this.#value(tensor);
    if (factor === 1 && value.matrices) return value.matrices;
    const num = tensor.shape[0] as number;
    const whole = this.scaled(this.whole(tensor), factor);
    const matrices = this.node("Unpack", [whole], { T: tensor.dtype, num, axis: 0 }, num);
    if (factor === 1) value.matrices = matrices;
    return matrices;
  }

  #concatenated(pieces: readonly string[], dtype: DType): string {
    // TensorFlow concatenates at least two.
    if (pieces.length === 1) return pieces[0]!;
    return this.node("ConcatV2", [...pieces, this.scalar(0, "int32")], { N: pieces.length, T: dtype })[0]!;
  }

  #stacked(matrices: readonly string[]): string {
    return this.node("Pack", matrices, { N: matrices.length, T: "float32", axis: 0 })[0]!;
  }

  #lower(node: Node): void {
    const { op, attributes } = node;
    const [output] = node.outputs as [Tensor];
    // Inputs were declared by the program, under its names for them.
    if (op === inputOp) this.#value(output);
    else if (op === weightOp) this.define(node, [this.#weight(attributes.name as string, output.shape)]);
    else if (op === constantOp) {
      this.define(node, [this.#literal(attributes.values as number[], attributes.shape as number[], output.dtype)]);
    } else if (op === zerosOp) {
      this.define(node, this.node("Fill", [this.integers(output.shape as number[]), this.scalar(0)], { T: "float32" }));
    } else if (op.tensorflowGrouped) op.tensorflowGrouped(this, node);
    else if (!op.tensorflow) throw new InvariantError(`tensorflow: ${op.name} has no lowering`);
    else {
      const inputs = node.inputs.map((input) => this.whole(input));
      this.define(node, op.tensorflow(this, inputs, node));
    }
  }

  #isState(name: string): boolean {
    const [before, after] = [this.#program.inputs[name], this.#program.outputs[name]];
    if (!before || !after || before.dtype !== "float32" || after.dtype !== "float32") return false;
    return sameShape(before.shape, after.shape) && before.shape.every((dim) => typeof dim === "number");
  }

  /** The value of an input, and what to feed for it. The addon has no 64-bit integers: those are fed as 32-bit ones. */
  #input(name: string, tensor: Tensor): string {
    if (this.#isState(name)) {
      const handle = this.#variable(`state.${name}`, tensor.shape as number[]);
      this.#stateHandles.set(name, handle);
      const read = this.#push("ReadVariableOp", `input.${name}`, [handle], { dtype: { type: dataTypes.float32 } });
      this.define(tensor.node, [read]);
      return read;
    }
    const placeholder = this.#push(
      "Placeholder",
      `input.${name}`,
      [],
      typeAndShape(fedType(tensor.dtype), tensor.shape),
    );
    this.define(tensor.node, [this.cast(placeholder, fedType(tensor.dtype), tensor.dtype)]);
    return placeholder;
  }

  #output(name: string, tensor: Tensor): string {
    const dtype = fedType(tensor.dtype);
    const value = this.cast(this.whole(tensor), tensor.dtype, dtype);
    return this.#push("Identity", `output.${name}`, [value], { T: { type: dataTypes[dtype] } });
  }

  /** What assigns state from outside, what assigns it at the end of a run, and what reads it. */
  #stateRuns(state: readonly string[]): { loads: StateNames[]; loaded: string; stepped: string } {
    const dtype = { type: dataTypes.float32 };
    const loads: StateNames[] = [];
    const loadAssigns: string[] = [];
    const stepAssigns: string[] = [];
    for (const name of state) {
      const handle = this.#stateHandles.get(name)!;
      const { shape } = this.#program.inputs[name]!;
      const load = this.#push("Placeholder", `load.${name}`, [], typeAndShape("float32", shape));
      // A variable that kept the fed array itself would hold memory of the JavaScript heap.
      const copy = this.#push("DeepCopy", `copy.${name}`, [load], { T: dtype });
      loadAssigns.push(this.#push("AssignVariableOp", `loaded.${name}`, [handle, copy], { dtype }));
      const next = [handle, `output.${name}`, `^input.${name}`];
      stepAssigns.push(this.#push("AssignVariableOp", `stepped.${name}`, next, { dtype }));
      loads.push({ name, load, save: this.#push("ReadVariableOp", `save.${name}`, [handle], { dtype }) });
    }
    const done = (name: string, assigns: readonly string[]) =>
      this.#push("Identity", name, [this.scalar(0, "int32"), ...this.#after(assigns)], {
        T: { type: dataTypes.int32 },
      });
    return { loads, loaded: done("loaded", loadAssigns), stepped: done("stepped", stepAssigns) };
  }

  /** A variable that the initializer sets from the weights file, read. */
  #weight(name: string, shape: Shape): string {
    const entry = this.#weights?.tensors.get(name);
    if (!entry || !this.#weights) throw new InvariantError(`tensorflow: the base weights have no tensor "${name}"`);
    invariant(entry.type === undefined, () => `tensorflow: base weight "${name}" is ${entry.type}, expected float32`);
    const dtype = { type: dataTypes.float32 };
    const handle = this.#variable(`weight.${name}`, shape as number[]);
    const start = this.#literal([entry.offset / 4], [1], "int64");
    const size = this.#literal([sizeOf(shape)], [1], "int64");
    const [slice] = this.node("Slice", [this.#mappedFile(this.#weights), start, size], {
      T: "float32",
      Index: "int64",
    });
    const [value] = this.node("Reshape", [slice!, this.integers(shape as number[])], { T: "float32" });
    this.#assigned.push(this.#push("AssignVariableOp", `assign.${name}`, [handle, value!], { dtype }));
    return this.#push("ReadVariableOp", `read.${name}`, [handle], { dtype });
  }

  /** The whole weights file as one vector, mapped rather than read. */
  #mappedFile({ path, tensors }: WeightSource): string {
    let end = 0;
    for (const { offset, shape } of tensors.values()) end = Math.max(end, offset / 4 + sizeOf(shape));
    const known = this.#literals.get("weights file");
    if (known !== undefined) return known;
    const name = this.#push("ImmutableConst", "weights", [], {
      ...typeAndShape("float32", [end]),
      memory_region_name: { s: encode(path) },
    });
    this.#literals.set("weights file", name);
    return name;
  }

  #variable(name: string, shape: readonly number[]): string {
    return this.#push("VarHandleOp", name, [], { ...typeAndShape("float32", shape), shared_name: { s: encode(name) } });
  }

  #value(tensor: Tensor): Value {
    const value = this.#values.get(keyOf(tensor));
    invariant(value, () => `tensorflow: ${tensor.node.op.name} was not emitted`);
    return value;
  }

  #literal(values: readonly number[], shape: readonly number[], dtype: DType): string {
    const key = `${dtype} ${shape.join("x")} ${values.join()}`;
    const known = this.#literals.get(key);
    if (known !== undefined) return known;
    const make = {
      int64: () => BigInt64Array.from(values, (value) => BigInt(value)),
      int32: () => Int32Array.from(values),
      bool: () => Uint8Array.from(values),
      float32: () => Float32Array.from(values),
    };
    const { buffer } = make[dtype]();
    const type = dataTypes[dtype];
    const tensor = { dtype: type, tensorShape: shapeProto(shape), tensorContent: new Uint8Array(buffer) };
    const name = this.#push("Const", `c${this.#names++}`, [], { dtype: { type }, value: { tensor } });
    this.#literals.set(key, name);
    return name;
  }

  #after(names: readonly string[]): string[] {
    return names.map((name) => `^${name}`);
  }

  #push(op: string, name: string, input: readonly string[], attr: Readonly<Record<string, AttrValue>>): string {
    this.#nodes.push({ name, op, input, attr });
    return name;
  }
}

const typeAndShape = (dtype: DType, shape: Shape) => ({
  dtype: { type: dataTypes[dtype] },
  shape: { shape: shapeProto(shape.map(staticSize)) },
});

const describe = ({ dtype, shape }: Tensor) => ({
  dtype: dataTypes[fedType(dtype)],
  tensorShape: shapeProto(shape.map(staticSize)),
});

/** The type in which values of a type enter and leave. */
const fedType = (dtype: DType): DType => (dtype === "float32" ? "float32" : "int32");
