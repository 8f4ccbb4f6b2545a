/**
 * What lies within a segment of the forward pass, computed again when gradients come to it, so that only what leaves
 * segments is kept in between (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016,
 * https://arxiv.org/abs/1604.06174).
 *
 * Nodes of a segment get copies that wait for the first gradient that reaches the segment, and for all gradients that
 * left the segment before: nothing of two segments is alive at once. Copies do the same operations on the same values,
 * so gradients are the same bit for bit. Whole numbers, which experts and rows are chosen by, are small and kept.
 */
import { constantOp, weightOp, zerosOp } from "./graph/graph.ts";
import type { Node, Tensor } from "./graph/ir.ts";
import { after } from "./ops/discrete.ts";

export class Recomputation {
  readonly #members = new Map<number, Node[]>();
  readonly #copies = new Map<Node, Node>();
  #current: number | null = null;
  /** Gradients that have left the current segment. */
  #left: Tensor[] = [];

  /** @param order the forward pass, every node after its inputs */
  constructor(order: readonly Node[]) {
    for (const node of order) {
      if (node.segment === null) continue;
      const members = this.#members.get(node.segment);
      if (members) members.push(node);
      else this.#members.set(node.segment, [node]);
    }
  }

  /**
   * The node whose values the derivative of `node` may use.
   *
   * @param incoming gradients of its outputs
   */
  of(node: Node, incoming: readonly (Tensor | null)[]): Node {
    const { segment } = node;
    const members = segment === null ? undefined : this.#members.get(segment);
    if (members) {
      this.#members.delete(segment!);
      const awaited = [...incoming.filter((gradient) => gradient !== null), ...this.#left];
      this.#current = segment;
      this.#left = [];
      for (const member of members) this.#copy(member, awaited);
    }
    return this.#copies.get(node) ?? node;
  }

  /** Takes note of a gradient that `from` gives to one of its inputs. */
  passed(from: Node, input: Node, gradient: Tensor): void {
    if (from.segment !== null && from.segment === this.#current && input.segment !== this.#current)
      this.#left.push(gradient);
  }

  #copy(node: Node, awaited: readonly Tensor[]): void {
    if (node.outputs.every(({ dtype }) => dtype !== "float32")) return;
    const inputs = node.inputs.map((input) =>
      input.dtype === "float32" ? (this.#copies.get(input.node)?.outputs[input.index] ?? input) : input,
    );
    if (inputs.every((input, at) => input === node.inputs[at])) {
      const outside = inputs.findIndex((input) => input.dtype === "float32" && isComputed(input.node, node.segment));
      if (outside === -1) return;
      inputs[outside] = after(inputs[outside]!, awaited);
    }
    this.#copies.set(node, node.graph.node(node.op, inputs, node.attributes));
  }
}

/** Whether a segment gets a node from elsewhere, and neither as a constant nor from the base weights. */
const isComputed = ({ op, segment }: Node, within: number | null): boolean =>
  segment !== within && op !== weightOp && op !== constantOp && op !== zerosOp;
