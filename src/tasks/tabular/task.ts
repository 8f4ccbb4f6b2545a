/**
 * Rows of numbers and the class of each, by multinomial logistic regression:
 *
 *   z_c(x) = w_c·x + b_c        p(c | x) = softmax(z)_c
 *
 * A group is a class: its weights, one for each number, and then its bias. The loss is convex, so round 0 is all zeros.
 */
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add } from "../../tensor/ops/arithmetic.ts";
import { reshape, split } from "../../tensor/ops/layout.ts";
import { matmul } from "../../tensor/ops/matrix.ts";
import { requireInside } from "../check-job.ts";
import { factsOf } from "../facts.ts";
import { labelledRows } from "../rows.ts";
import type { Task } from "../task.ts";

export interface TabularOptions {
  /** Numbers of a row. */
  readonly features: number;
  readonly classes: number;
}

export function tabularTask({ features, classes }: TabularOptions): Task {
  const width = features + 1;
  const size = classes * width;
  const groups = Array.from({ length: classes }, (_, c) => ({
    name: `class ${c}`,
    ranges: [{ start: c * width, end: (c + 1) * width }],
  }));
  // Two FLOP for each product: once forward, and once for the slope of each weight.
  const forward = 2 * features * classes;
  return {
    layout: { size, groups, pairs: [] },
    abilities: factsOf("tabular").abilities,
    budget: { full: 1, variant: () => ({}) },
    padding: 1,
    personal: 0,
    initial: () => new Float32Array(size),
    cost: () => ({ forward, training: 2 * forward }),
    // Values, gradient and two moments; of a row its numbers and logits.
    memory: (_, rows) => 4 * (4 * size + rows * (features + classes)),
    checkBatch: ({ targets }) => requireInside(targets, classes, "class"),
    pass(graph, { parameters }, _variant, shape) {
      const { clients, rows } = shape;
      const own = reshape(parameters, [clients, classes, width]);
      const predict = (x: Tensor) => {
        const [weights, bias] = split(own, -1, [features, 1]) as [Tensor, Tensor];
        const products = matmul(reshape(x, [clients, rows, features]), weights, { transposeB: true });
        return reshape(add(products, reshape(bias, [clients, 1, classes])), [clients * rows, classes]);
      };
      return labelledRows(graph, features, shape, new Array<boolean>(classes).fill(true), predict);
    },
  };
}
