/**
 * Reverse-mode differentiation that emits more graph (Griewank and Walther, "Evaluating Derivatives", 2008, ch. 3).
 *
 * Only nodes on a path from a parameter to the loss are visited: nothing is computed below the lowest trainable. What lies
 * within a segment is computed again instead of kept where the graph wants that: see `recomputation.ts`.
 */
import { InvariantError, invariant } from "../base/errors.ts";
import { reachable } from "./graph/graph.ts";
import type { Node, Tensor } from "./graph/ir.ts";
import { sameShape, shapeError, sizeOf } from "./graph/shape.ts";
import { add } from "./ops/arithmetic.ts";
import { Recomputation } from "./recomputation.ts";

/**
 * Gradients of the scalar `loss` with respect to `parameters`, in the same order and shapes.
 *
 * @throws InvariantError when a parameter does not influence the loss, or an op on the way has no derivative
 */
export function gradients(loss: Tensor, parameters: readonly Tensor[]): Tensor[] {
  invariant(sizeOf(loss.shape) === 1, "gradients: the loss must be a scalar");
  const graph = loss.node.graph;
  const order = reachable([loss]);

  const active = new Set<Node>(parameters.map(({ node }) => node));
  for (const node of order) {
    if (node.op.stopsGradients !== true && node.inputs.some((input) => active.has(input.node))) active.add(node);
  }

  const recomputation = new Recomputation(order);
  const adjoints = new Map<Node, (Tensor | null)[]>();
  const accumulate = (tensor: Tensor, gradient: Tensor) => {
    if (!sameShape(tensor.shape, gradient.shape)) {
      throw shapeError(`gradient of ${tensor.node.op.name}`, "the shape of its tensor", tensor.shape, gradient.shape);
    }
    const slots = adjoints.get(tensor.node) ?? tensor.node.outputs.map(() => null);
    const present = slots[tensor.index];
    slots[tensor.index] = present ? add(present, gradient) : gradient;
    adjoints.set(tensor.node, slots);
  };

  const ones = new Array<number>(sizeOf(loss.shape)).fill(1);
  accumulate(loss, graph.constant(ones, loss.shape as readonly number[]));
  for (const node of order.toReversed()) {
    const incoming = adjoints.get(node);
    if (!incoming || !node.inputs.some((input) => active.has(input.node))) continue;
    if (!node.op.backward) throw new InvariantError(`gradients: ${node.op.name} has no derivative`);
    for (const [i, gradient] of node.op.backward(recomputation.of(node, incoming), incoming).entries()) {
      const input = node.inputs[i]!;
      if (!gradient || !active.has(input.node)) continue;
      recomputation.passed(node, input.node, gradient);
      accumulate(input, gradient);
    }
  }
  return parameters.map((parameter) => {
    const gradient = adjoints.get(parameter.node)?.[parameter.index];
    invariant(gradient, () => `gradients: ${describe(parameter)} does not influence the loss`);
    return gradient;
  });
}

const describe = ({ node }: Tensor): string => `${node.op.name} ${JSON.stringify(node.attributes.name ?? node.id)}`;
