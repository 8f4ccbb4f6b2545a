/**
 * Lowers a program to an ONNX graph.
 *
 * A ragged tensor lives here in one piece (`whole`), as one tensor per group (`pieces`), or both; each form is made from
 * the other when somebody asks, once. Matrix products go by group. Elementwise work is done on the whole while that stays
 * in the cache, since a copy costs less than a node per group for every operation, and by group beyond.
 *
 * A base weight that is stored narrower than float32 is widened anew at every use, so that no widened matrix lives longer
 * than the product it is for. ONNX Runtime would undo that: `onnx.ts` takes the two optimisations from it that do. And it
 * runs nodes depth first, of a node's inputs the one first that was written down last: hence all widening nodes come first
 * in the file, and each runs just before its product. Forty products of 2048 × 2048 and their transposes: 20 MB more than
 * nothing, against 700 MB where any of this is missing.
 *
 * When a session is made, ONNX Runtime compares every result whose rank it knows with every buffer that is free by then, a
 * microsecond each. Most results are of one group and fit no buffer, as only a run tells how many rows they have. So their
 * shapes are hidden, and it passes over them: four layers of 64 experts are ready in 1.2 s and not in 9.
 */
import { basename } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { InvariantError, invariant } from "../../base/errors.ts";
import { constantOp, inputOp, reachable, staticSize, weightOp, zerosOp } from "../graph/graph.ts";
import type { Node, OnnxAttributes, OnnxLimits, OnnxLowering, Program, Tensor } from "../graph/ir.ts";
import { type DType, groupsOf, isRagged, type Shape, type SymbolicDim, sizeOf } from "../graph/shape.ts";
import { blockRows, bytesOf, isQuantised, type StoredTensor, type StoredType, scalesShape } from "../stored/stored.ts";
import type { WeightSource } from "./executor.ts";
import { attributeProtos, elementTypes, type GraphProto, type NodeProto, type TensorProto } from "./onnx-proto.ts";

interface Value {
  whole?: string;
  /** One name per group of a ragged tensor. */
  pieces?: readonly string[];
  /** One `[a, b]` name per group of a `[groups, a, b]` tensor. */
  matrices?: readonly string[];
}

const keyOf = (tensor: Tensor): string => `${tensor.node.id}.${tensor.index}`;

/** An input of programs that hide shapes: what a matrix is reshaped to so that it stays as it is. */
export const keptShape = { name: "kept shape", values: [0, -1] } as const;

/** A state vector is an input and an output of one name, which ONNX must tell apart. */
export const outputName = (name: string): string => `out.${name}`;

/**
 * Up to this size of a ragged tensor, elementwise work on the whole is faster: the steps of a model with 16 experts take
 * 0.94 to 0.96 of their time by group with 1.5 MB of hidden units, and 1.07 of it with 6 MB.
 */
const cacheBytes = 4 * 2 ** 20;

/** Up to this size of the result, one gather and a cut take less time than a gather for each of 16 groups. */
const smallBytes = 2 ** 20;

/** Bytes a ragged float tensor may have. */
const mostBytes = ([rows, ...rest]: Shape): number =>
  4 * sizeOf(rest) * ((rows as SymbolicDim).most ?? Number.POSITIVE_INFINITY);

export class OnnxEmitter implements OnnxLowering {
  readonly #nodes: NodeProto[] = [];
  readonly #widenings: NodeProto[] = [];
  readonly #initializers: TensorProto[] = [];
  readonly #made = new Map<string, string[]>();
  readonly #literals = new Map<string, string>();
  readonly #values = new Map<string, Value>();
  readonly #counts = new Map<SymbolicDim, string>();
  #names = 0;
  readonly #weights: WeightSource | null;
  readonly limits: OnnxLimits;

  constructor(weights: WeightSource | null, limits: OnnxLimits = {}) {
    this.#weights = weights;
    this.limits = limits;
  }

  // Known once a program was emitted: whether it reads weights that are stored narrower than float32, or hides shapes.
  get widens(): boolean {
    return this.#widenings.length > 0;
  }
  get hides(): boolean {
    return this.#literals.has(keptShape.name);
  }

  emit(program: Program): GraphProto {
    const outputs = Object.entries(program.outputs);
    for (const node of reachable([...outputs.map(([, tensor]) => tensor), ...Object.values(program.inputs)]))
      this.#lower(node);
    this.#nameOutputs(outputs.map(([name, tensor]) => [this.whole(tensor), outputName(name)]));
    const describe = (name: string, tensor: Tensor) => ({
      name,
      elementType: elementTypes[tensor.dtype],
      dims: tensor.shape.map((dim) => (typeof dim === "number" ? dim : dim.symbol)),
    });
    return {
      name: program.name,
      nodes: [...this.#widenings, ...this.#nodes],
      initializers: this.#initializers,
      inputs: [
        ...Object.values(program.inputs).map((tensor) => describe(tensor.node.attributes.name as string, tensor)),
        ...(this.hides ? [{ name: keptShape.name, elementType: elementTypes.int64 }] : []),
      ],
      outputs: outputs.map(([name, tensor]) => describe(outputName(name), tensor)),
    };
  }

  /** Adds a node, unless it is there, and returns the names of its outputs. */
  node(opType: string, inputs: readonly string[], attributes: OnnxAttributes = {}, outputs = 1, domain = ""): string[] {
    const key = `${domain} ${opType} ${outputs} ${inputs.join()} ${JSON.stringify(attributes)}`;
    const known = this.#made.get(key);
    if (known) return known;
    const names = Array.from({ length: outputs }, () => `t${this.#names++}`);
    this.#push(this.#nodes, opType, inputs, attributes, names, domain);
    this.#made.set(key, names);
    return names;
  }

  /** The parts of these sizes along an axis; in several steps where one may not have so many. */
  cut(name: string, sizes: readonly number[], axis: number): string[] {
    const { parts = sizes.length } = this.limits;
    if (sizes.length <= parts) return this.node("Split", [name, this.integers(sizes)], { axis }, sizes.length);
    const each = Math.ceil(sizes.length / parts);
    const stretches = Array.from({ length: Math.ceil(sizes.length / each) }, (_, i) =>
      sizes.slice(i * each, (i + 1) * each),
    );
    const totals = stretches.map((stretch) => stretch.reduce((a, b) => a + b, 0));
    return this.cut(name, totals, axis).flatMap((stretch, i) =>
      stretches[i]!.length === 1 ? [stretch] : this.cut(stretch, stretches[i]!, axis),
    );
  }

  hidden(matrix: string): string {
    if (this.limits.shapes) return matrix;
    this.#literals.set(keptShape.name, keptShape.name);
    return this.node("Reshape", [matrix, keptShape.name])[0]!;
  }

  cast(name: string, dtype: DType): string[] {
    return this.node("Cast", [name], { to: elementTypes[dtype] });
  }

  /** An index as int64, the one type every kernel takes. */
  wide(name: string, dtype: DType): string {
    return dtype === "int64" ? name : this.cast(name, "int64")[0]!;
  }

  scalar(value: number, dtype: DType = "float32"): string {
    return this.#literal([value], [], dtype);
  }

  floats(values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.#literal(values, shape, "float32");
  }

  /** An int64 vector, as ONNX wants axes, sizes and shapes. */
  integers(values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.#literal(values, shape, "int64");
  }

  integer(value: number): string {
    return this.#literal([value], [], "int64");
  }

  filled(shape: readonly number[]): string {
    return this.node("ConstantOfShape", [this.integers(shape)])[0]!;
  }

  define(node: Node, names: readonly string[]): void {
    for (const [index, output] of node.outputs.entries()) this.#values.set(keyOf(output), { whole: names[index]! });
  }

  defineOutput(tensor: Tensor, whole: string): void {
    this.#values.set(keyOf(tensor), { whole });
  }

  defineRagged(tensor: Tensor, form: { whole?: string; pieces?: readonly string[]; counts?: string }): void {
    if (form.counts) this.#counts.set(tensor.shape[0] as SymbolicDim, form.counts);
    this.#values.set(keyOf(tensor), {
      ...(form.whole !== undefined && { whole: form.whole }),
      ...(form.pieces && { pieces: form.pieces }),
    });
  }

  defineMatrices(tensor: Tensor, matrices: readonly string[]): void {
    this.#values.set(keyOf(tensor), { matrices });
  }

  /** The tensor as one value. */
  whole(tensor: Tensor): string {
    const value = this.#value(tensor);
    if (tensor.node.op === weightOp) return this.#weight(tensor.node.attributes.name as string, tensor.shape, 0);
    if (value.whole === undefined) {
      value.whole = value.pieces
        ? this.node("Concat", value.pieces, { axis: 0 })[0]!
        : this.stack(value.matrices!, tensor.shape.slice(1) as number[]);
    }
    return value.whole;
  }

  stack(matrices: readonly string[], shape: readonly number[]): string {
    const [joined] = this.node("Concat", matrices, { axis: 0 });
    return this.node("Reshape", [joined!, this.integers([matrices.length, ...shape])])[0]!;
  }

  /** The rows of each group of a ragged tensor. */
  pieces(tensor: Tensor): readonly string[] {
    const value = this.#value(tensor);
    if (!value.pieces) {
      const counts = this.#counts.get(tensor.shape[0] as SymbolicDim);
      invariant(counts, "pieces: the ragged dimension has no counts");
      value.pieces = this.node("Split", [this.whole(tensor), counts], { axis: 0 }, groupsOf(tensor.shape));
    }
    return value.pieces;
  }

  /** The matrices of a `[groups, a, b]` tensor. Those of a base weight are read in place. */
  matrices(tensor: Tensor): readonly string[] {
    const value = this.#value(tensor);
    const [groups, a, b] = tensor.shape as [number, number, number];
    if (tensor.node.op === weightOp) {
      const name = tensor.node.attributes.name as string;
      return Array.from({ length: groups }, (_, group) => this.#weight(name, [a, b], group));
    }
    if (!value.matrices) {
      const [flat] = this.node("Reshape", [this.whole(tensor), this.integers([groups * a, b])]);
      value.matrices = groups === 1 ? [flat!] : this.cut(flat!, new Array<number>(groups).fill(a), 0);
    }
    return value.matrices;
  }

  #lower(node: Node): void {
    const { op, attributes } = node;
    const [output] = node.outputs as [Tensor];
    if (op === inputOp) this.define(node, [attributes.name as string]);
    else if (op === weightOp) this.#values.set(keyOf(output), {});
    else if (op === constantOp) {
      this.define(node, [this.#literal(attributes.values as number[], attributes.shape as number[], output.dtype)]);
    } else if (op === zerosOp) this.define(node, [this.filled(attributes.shape as number[])]);
    else if (op.name === "gatherRows" && this.#isHalf(node.inputs[0]!)) this.define(node, this.#gatherHalves(node));
    else if (op.onnxGrouped) op.onnxGrouped(this, node);
    else if (!op.onnx) throw new InvariantError(`onnx: ${op.name} has no lowering`);
    else if (this.#inPieces(node)) this.#lowerPieces(node);
    else
      this.define(
        node,
        op.onnx(
          this,
          node.inputs.map((input) => this.whole(input)),
          node,
        ),
      );
  }

  /** Many rows gathered by group are contiguous at once; other ops on large tensors go by group when an operand does. */
  #inPieces(node: Node): boolean {
    const [output] = node.outputs as [Tensor];
    if (!isRagged(output.shape)) return false;
    if (node.op.name === "gatherRows") return this.limits.whole !== true && mostBytes(output.shape) > smallBytes;
    if (mostBytes(output.shape) <= cacheBytes) return false;
    return node.inputs.some((input) => isRagged(input.shape) && this.#value(input).pieces !== undefined);
  }

  #lowerPieces(node: Node): void {
    const groups = groupsOf(node.outputs[0]!.shape);
    const columns = node.inputs.map((input) => (isRagged(input.shape) ? this.pieces(input) : this.whole(input)));
    const results = Array.from({ length: groups }, (_, group) =>
      node.op.onnx!(
        this,
        columns.map((column) => (typeof column === "string" ? column : column[group]!)),
        node,
      ),
    );
    for (const [index, output] of node.outputs.entries()) {
      this.defineRagged(output, { pieces: results.map((names) => names[index]!) });
    }
  }

  #value(tensor: Tensor): Value {
    const value = this.#values.get(keyOf(tensor));
    invariant(value, () => `onnx: ${tensor.node.op.name} was not emitted`);
    return value;
  }

  /** A base weight, or one matrix of a stack, in float32. */
  #weight(name: string, shape: Shape, group: number): string {
    const { type, scales } = this.#storedTensor(name);
    const dims = shape as readonly number[];
    const stored = this.#stored(name, dims, group);
    if (type === undefined) return stored;
    if (!isQuantised(type)) return this.#widen("Cast", [stored], { to: elementTypes.float32 });
    const each = scalesShape(dims);
    const narrow = this.#external(`${stored}.scales`, "bfloat16", scales! + 2 * group * sizeOf(each), each);
    const factors = this.#widen("Cast", [narrow], { to: elementTypes.float32 });
    return this.#widen("DequantizeLinear", [stored, factors], { axis: dims.length - 2, block_size: blockRows });
  }

  #widen(opType: string, inputs: readonly string[], attributes: OnnxAttributes): string {
    const output = `t${this.#names++}`;
    this.#push(this.#widenings, opType, inputs, attributes, [output]);
    return output;
  }

  #isHalf({ node }: Tensor): boolean {
    if (node.op !== weightOp) return false;
    const { type } = this.#storedTensor(node.attributes.name as string);
    return type === "bfloat16" || type === "float16";
  }

  /** Of a table in 16 bits, only the rows that are asked for are widened. */
  #gatherHalves({ inputs: [table, index] }: Node): string[] {
    const { node, shape } = table!;
    const stored = this.#stored(node.attributes.name as string, shape as readonly number[], 0);
    const [rows] = this.node("Gather", [stored, this.whole(index!)], { axis: 0 });
    return this.cast(rows!, "float32");
  }

  #storedTensor(name: string): StoredTensor {
    const entry = this.#weights?.tensors.get(name);
    if (!entry) throw new InvariantError(`onnx: the base weights have no tensor "${name}"`);
    return entry;
  }

  /** A tensor as it lies in the weights file, or one matrix of it. */
  #stored(name: string, shape: readonly number[], group: number): string {
    const { offset, type } = this.#storedTensor(name);
    // The whole of a stack and its first matrix begin at one place.
    const id = `w.${name}.${shape.join("x")}.${group * sizeOf(shape)}`;
    return this.#external(id, type ?? "float32", offset + bytesOf(type, group * sizeOf(shape)), shape);
  }

  /** An initializer that points into the weights file. */
  #external(id: string, type: StoredType, offset: number, dims: readonly number[]): string {
    if (this.#literals.has(id)) return id;
    this.#literals.set(id, id);
    this.#initializers.push({
      name: id,
      dims,
      dataType: elementTypes[type],
      dataLocation: 1,
      externalData: [
        { key: "location", value: basename(this.#weights!.path) },
        { key: "offset", value: String(offset) },
        { key: "length", value: String(bytesOf(type, sizeOf(dims))) },
      ],
    });
    return id;
  }

  /** What added to `[.., length, length]` scores hides every position after the row's own. */
  causalMask(length: number): string {
    const mask = new Float32Array(length * length);
    for (let row = 0; row < length; row++) mask.fill(-1e9, row * length + row + 1, (row + 1) * length);
    return this.#initializer(mask, [length, length], "float32");
  }

  #literal(values: readonly number[], shape: readonly number[], dtype: DType): string {
    const make = {
      int64: () => BigInt64Array.from(values, (value) => BigInt(value)),
      int32: () => Int32Array.from(values),
      bool: () => Uint8Array.from(values),
      float32: () => Float32Array.from(values),
    };
    return this.#initializer(make[dtype](), shape, dtype);
  }

  #initializer(data: ArrayBufferView, shape: readonly number[], dtype: DType): string {
    const rawData = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
    const key = `${dtype} ${shape.join("x")} ${sha256(rawData)}`;
    const known = this.#literals.get(key);
    if (known) return known;
    const name = `c${this.#names++}`;
    this.#initializers.push({ name, dims: shape.map(staticSize), dataType: elementTypes[dtype], rawData });
    this.#literals.set(key, name);
    return name;
  }

  /** Gives results the names of the program's outputs; only what no node made needs a copy. */
  #nameOutputs(outputs: readonly (readonly [value: string, output: string])[]): void {
    const made = new Set(this.#nodes.flatMap(({ output }) => output));
    const renamed = new Map<string, string>();
    for (const [value, output] of outputs) {
      if (made.has(value) && !renamed.has(value)) renamed.set(value, output);
      else this.#push(this.#nodes, "Identity", [value], {}, [output]);
    }
    const rename = (name: string) => renamed.get(name) ?? name;
    for (const [i, node] of this.#nodes.entries()) {
      this.#nodes[i] = { ...node, input: node.input.map(rename), output: node.output.map(rename) };
    }
  }

  #push(
    to: NodeProto[],
    opType: string,
    input: readonly string[],
    attributes: OnnxAttributes,
    output: readonly string[],
    domain = "",
  ): void {
    const name = `${to === this.#nodes ? opType : `Widen${opType}`}.${to.length}`;
    to.push({ name, opType, domain, input, output, attribute: attributeProtos(attributes) });
  }
}
