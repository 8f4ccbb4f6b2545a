/**
 * The parts of a tensor program, and what an operation may ask of the executor that runs it.
 */
import type { DType, Shape, SymbolicDim } from "./shape.ts";

export type AttributeValue = number | string | boolean | readonly number[] | Shape | SymbolicDim;
export type Attributes = Readonly<Record<string, AttributeValue>>;

export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** One output of a node. */
export interface Tensor extends TensorType {
  readonly node: Node;
  /** Which output. */
  readonly index: number;
}

export interface Node {
  readonly id: number;
  readonly graph: GraphBuilder;
  readonly op: Op;
  readonly inputs: readonly Tensor[];
  readonly attributes: Attributes;
  readonly outputs: readonly Tensor[];
  /** Which stretch of a graph that recomputes it belongs to: see `Graph.segment`. */
  readonly segment: number | null;
}

/** What operations need of the graph they are applied in; `Graph` is the one implementation. */
export interface GraphBuilder {
  node(op: Op, inputs: readonly Tensor[], attributes?: Attributes): Node;
  symbol(name: string, stretches?: Omit<SymbolicDim, "symbol">): SymbolicDim;
  constant(values: readonly number[], shape: readonly number[], dtype?: DType): Tensor;
  zeros(shape: readonly number[]): Tensor;
  segment<Built>(build: () => Built): Built;
}

/**
 * One operation in one place: its shape rule, its derivative, and how each executor runs it.
 *
 * Lowerings see one tensor per input. When an output is ragged and the op has no `onnxGrouped`, the executor may call
 * `onnx` once per group, on the rows of that group.
 */
export interface Op {
  readonly name: string;
  infer(inputs: readonly Tensor[], attributes: Attributes): readonly TensorType[];
  /** Gradients of the inputs, null where there is none. `gradients` has one entry per output, null where unused. */
  backward?(node: Node, gradients: readonly (Tensor | null)[]): readonly (Tensor | null)[];
  /** What comes out counts as a constant. */
  readonly stopsGradients?: boolean;
  /** @internal Emits ONNX nodes and returns the names of the outputs. */
  onnx?(emit: OnnxLowering, inputs: readonly string[], node: Node): readonly string[];
  /** @internal Lowering of an op that handles all groups itself, through `emit.pieces` and `emit.define…`. */
  onnxGrouped?(emit: OnnxLowering, node: Node): void;
  /** @internal Emits TensorFlow nodes and returns the names of the outputs; ragged tensors are whole here. */
  tensorflow?(emit: TensorflowLowering, inputs: readonly string[], node: Node): readonly string[];
  /** @internal Lowering of an op that handles all groups itself, through `emit.pieces` and `emit.define…`. */
  tensorflowGrouped?(emit: TensorflowLowering, node: Node): void;
  /** @internal Runs eagerly on TensorFlow.js; ragged tensors are whole here. */
  eager?(run: EagerLowering, node: Node): void;
}

export type OnnxAttributes = Readonly<Record<string, number | string | readonly number[]>>;

/** What a provider of ONNX Runtime cannot do, or not well. */
export interface OnnxLimits {
  /** Most parts of one cut along an axis. */
  readonly parts?: number;
  /** Rows of groups stay together: cuts at places known at run time only are avoided. */
  readonly whole?: boolean;
  /** Fused norms do not give the reciprocal deviation. */
  readonly plainNorms?: boolean;
  /** No shape is hidden from it. */
  readonly shapes?: boolean;
}

/** Emits ONNX nodes; values are names. */
export interface OnnxLowering {
  readonly limits: OnnxLimits;
  /** Adds a node and returns the names of its outputs. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: OnnxAttributes,
    outputs?: number,
    domain?: string,
  ): string[];
  /** The parts of these sizes along an axis. */
  cut(name: string, sizes: readonly number[], axis: number): string[];
  /** The matrix, whose shape, and that of what is made of it, only a run knows. */
  hidden(matrix: string): string;
  cast(name: string, dtype: DType): string[];
  /** An index as int64, the one type every kernel takes. */
  wide(name: string, dtype: DType): string;
  scalar(value: number, dtype?: DType): string;
  floats(values: readonly number[], shape?: readonly number[]): string;
  /** An int64 vector, as ONNX wants axes, sizes and shapes. */
  integers(values: readonly number[], shape?: readonly number[]): string;
  integer(value: number): string;
  /** Zeros of a static shape. */
  filled(shape: readonly number[]): string;
  /** What added to `[.., length, length]` scores hides every position after the row's own. */
  causalMask(length: number): string;
  /** The tensor as one value. */
  whole(tensor: Tensor): string;
  /** Matrices of one shape under a new first axis. */
  stack(matrices: readonly string[], shape: readonly number[]): string;
  /** The rows of each group of a ragged tensor. */
  pieces(tensor: Tensor): readonly string[];
  /** The matrices of a `[groups, a, b]` tensor. Those of a base weight are read in place. */
  matrices(tensor: Tensor): readonly string[];
  define(node: Node, names: readonly string[]): void;
  defineOutput(tensor: Tensor, whole: string): void;
  defineRagged(tensor: Tensor, form: { whole?: string; pieces?: readonly string[]; counts?: string }): void;
  defineMatrices(tensor: Tensor, matrices: readonly string[]): void;
}

/** Attributes of a TensorFlow node: integers, flags and element types. */
export type TensorflowAttributes = Readonly<Record<string, number | boolean | DType>>;

/** Emits TensorFlow nodes; values are names. */
export interface TensorflowLowering {
  /** Adds a node and returns the names of its outputs. */
  node(opType: string, inputs: readonly string[], attributes?: TensorflowAttributes, outputs?: number): string[];
  cast(name: string, from: DType, to: DType): string;
  /** `name` times `factor`. */
  scaled(name: string, factor: number): string;
  scalar(value: number, dtype?: DType): string;
  floats(values: readonly number[], shape?: readonly number[]): string;
  /** An int32 vector, as TensorFlow wants axes, sizes and shapes. */
  integers(values: readonly number[], shape?: readonly number[]): string;
  /** `[.., columns]` floats with a 1 in column `index[..]`. */
  oneHot(index: string, dtype: DType, columns: number): string;
  /** What added to `[.., length, length]` scores hides every position after the row's own. */
  causalMask(length: number): string;
  /** The tensor as one value. */
  whole(tensor: Tensor): string;
  /** The rows of each group of a ragged tensor. */
  pieces(tensor: Tensor): readonly string[];
  /** The matrices of a `[groups, a, b]` tensor, times `factor`. */
  matrices(tensor: Tensor, factor?: number): readonly string[];
  define(node: Node, names: readonly string[]): void;
  defineRagged(tensor: Tensor, form: { whole?: string; pieces?: readonly string[]; counts?: string }): void;
  defineMatrices(tensor: Tensor, matrices: readonly string[]): void;
}

/** What an eager run offers to operations. The executor says it, or a strategy's types would need TensorFlow.js. */
// biome-ignore lint/suspicious/noEmptyInterface: see executors/eager.ts
export interface EagerLowering {}

/** Named inputs and outputs of a graph: what an executor compiles. */
export interface Program {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: Readonly<Record<string, Tensor>>;
}
