/**
 * A tensor program: symbolic tensors and the operations between them, built once and run many times.
 *
 * Building a node that exists already returns the existing one, so common subexpressions never appear twice, and an
 * executor only emits what its outputs need, so dead code never runs. Shapes are checked while building: a mistake is
 * an error that names the operation and the shapes.
 */
import { invariant } from "../../base/errors.ts";
import type { Attributes, GraphBuilder, Node, Op, Tensor, TensorType } from "./ir.ts";
import { type Dim, type DType, type Shape, type SymbolicDim, sizeOf } from "./shape.ts";

export class Graph implements GraphBuilder {
  readonly nodes: Node[] = [];
  readonly #known = new Map<string, Node>();
  readonly #inputs = new Map<string, Tensor>();
  readonly #recomputes: boolean;
  #symbols = 0;
  #segments = 0;
  #segment: number | null = null;

  /** @param recomputes whether gradients compute segments again, rather than keep what is in them */
  constructor({ recomputes = false }: { readonly recomputes?: boolean } = {}) {
    this.#recomputes = recomputes;
  }

  /** A stretch of a forward pass, a layer for example, of which only what leaves it is worth keeping for gradients. */
  segment<Built>(build: () => Built): Built {
    if (!this.#recomputes) return build();
    const outer = this.#segment;
    this.#segment = this.#segments++;
    try {
      return build();
    } finally {
      this.#segment = outer;
    }
  }

  /** A fresh size known only at run time. */
  symbol(name: string, stretches: Omit<SymbolicDim, "symbol"> = {}): SymbolicDim {
    return { symbol: `${name}${this.#symbols++}`, ...stretches };
  }

  node(op: Op, inputs: readonly Tensor[], attributes: Attributes = {}): Node {
    for (const { node } of inputs) invariant(node.graph === this, `${op.name}: input belongs to another graph`);
    const key = `${op.name}(${inputs.map((t) => `${t.node.id}.${t.index}`).join()})${textOf(attributes)}`;
    const existing = this.#known.get(key);
    if (existing) return existing;
    const outputs: Tensor[] = [];
    const node: Node = { id: this.nodes.length, graph: this, op, inputs, attributes, outputs, segment: this.#segment };
    for (const [index, type] of op.infer(inputs, attributes).entries()) outputs.push({ ...type, node, index });
    this.nodes.push(node);
    this.#known.set(key, node);
    return node;
  }

  /** A tensor fed at every run. One that is asked for again is the first, whose sizes known at run time are its own. */
  input(name: string, dtype: DType, shape: Shape): Tensor {
    const input = this.#inputs.get(name) ?? this.node(inputOp, [], { name, dtype, shape }).outputs[0]!;
    this.#inputs.set(name, input);
    return input;
  }

  /** A frozen tensor that lives in the base weights file under `name`, shared by every session that maps the file. */
  weight(name: string, shape: Shape): Tensor {
    return this.node(weightOp, [], { name, shape }).outputs[0]!;
  }

  /** Small literal values. */
  constant(values: readonly number[], shape: readonly number[], dtype: DType = "float32"): Tensor {
    return this.node(constantOp, [], { values, shape, dtype }).outputs[0]!;
  }

  zeros(shape: readonly number[]): Tensor {
    return this.node(zerosOp, [], { shape }).outputs[0]!;
  }
}

/** JSON writes numbers that are not finite as null; here they must differ. What it calls for each value takes time. */
function textOf(attributes: Attributes): string {
  const text = JSON.stringify(attributes);
  return text.includes("null") ? JSON.stringify(attributes, exact) : text;
}

const exact = (_: string, value: unknown): unknown =>
  typeof value === "number" && !Number.isFinite(value) ? String(value) : value;

const leaf = (attributes: Attributes): TensorType[] => [
  { shape: attributes.shape as Shape, dtype: (attributes.dtype ?? "float32") as DType },
];

export const inputOp: Op = { name: "input", infer: (_, attributes) => leaf(attributes) };
export const weightOp: Op = { name: "weight", infer: (_, attributes) => leaf(attributes) };
export const constantOp: Op = {
  name: "constant",
  infer(_, attributes) {
    const type = leaf(attributes);
    const values = attributes.values as readonly number[];
    const size = sizeOf(attributes.shape as Shape);
    invariant(values.length === size, () => `constant: expected ${size} values, got ${values.length}`);
    return type;
  },
};
export const zerosOp: Op = { name: "zeros", infer: (_, attributes) => leaf(attributes) };

/** What a graph begins with. */
export const leafOps: readonly Op[] = [inputOp, weightOp, constantOp, zerosOp];

/** Applies `op` in the graph its inputs belong to and returns its first output. */
export const apply = (op: Op, inputs: readonly Tensor[], attributes?: Attributes): Tensor =>
  inputs[0]!.node.graph.node(op, inputs, attributes).outputs[0]!;

/** Nodes that `roots` need, in an order in which every node follows its inputs. */
export function reachable(roots: readonly Tensor[]): Node[] {
  const seen = new Set<Node>();
  const pending = roots.map(({ node }) => node);
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (const input of node.inputs) pending.push(input.node);
  }
  // Ids grow while building, and a node is built after its inputs.
  return [...seen].sort((a, b) => a.id - b.id);
}

/** The static size of `dim`, or −1 where it is known only at run time. */
export const staticSize = (dim: Dim): number => (typeof dim === "number" ? dim : -1);
