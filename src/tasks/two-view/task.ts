/**
 * The two-view task: two encoders look at one thing each in its own way, and a linear head reads both features.
 *
 *   φ_m(x) = W₂·max(0, W₁·x_m + b₁) + b₂        m in {a, v}
 *   logits = W_a·φ_a + W_v·φ_v + b              a view that is left out counts as a feature of zeros
 *
 * A budget says which views a device has: 1 is a alone, 2 is v alone, 3 is both. Groups are the encoders and the head.
 */

import { invariant } from "../../base/errors.ts";
import type { Draws } from "../../base/random.ts";
import type { FlatTensor } from "../../model/formats/flat-tensors.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add, clip } from "../../tensor/ops/arithmetic.ts";
import { gatherRows } from "../../tensor/ops/index-ops.ts";
import { reshape, split } from "../../tensor/ops/layout.ts";
import { matmul } from "../../tensor/ops/matrix.ts";
import { requireInside } from "../check-job.ts";
import { factsOf } from "../facts.ts";
import type { ParameterLayout } from "../layout.ts";
import { labelledRows } from "../rows.ts";
import type { BatchShape, Pass, Task, Variant } from "../task.ts";

export interface TwoViewShape {
  /** Numbers of each view of an example, a first: a row of a batch is both, one after the other. */
  readonly inputs: readonly [a: number, v: number];
  /** Width of the encoders' hidden layer, and of what they give. */
  readonly hidden: number;
  readonly features: number;
  readonly classes: number;
}

const names = ["a", "v"] as const;

/** Which views each budget has. */
const variants = ["a", "v", "av"] as const;

/** By number: 0 is a, 1 is v. */
const viewsOf = ({ views }: Variant): number[] => [0, 1].filter((view) => (views as string).includes(names[view]!));

export function twoViewTask(shape: TwoViewShape): Task {
  const { inputs, hidden, features, classes } = shape;
  const layout = layoutOf(shape);
  return {
    layout,
    abilities: factsOf("two-view").abilities,
    budget: { full: variants.length, variant: (budget) => ({ views: variants[budget - 1]! }) },
    padding: 1,
    personal: 0,
    initial: (rng) => initialOf(shape, rng.at("two-view initial").at(0)),
    // A product of w inputs and u outputs takes 2·w·u FLOP forward, and as much again for each gradient.
    cost(variant) {
      const first = viewsOf(variant).reduce((sum, view) => sum + 2 * inputs[view]! * hidden, 0);
      const rest = viewsOf(variant).length * 2 * (hidden * features + features * classes);
      // Nobody asks for the gradient of the input.
      return { training: 2 * first + 3 * rest, forward: first + rest };
    },
    // Values, gradient and two moments; of each example what layers read and give, for the way back.
    memory(variant, examples) {
      const each = viewsOf(variant).reduce((sum, view) => sum + inputs[view]! + 2 * (hidden + features), classes);
      return 4 * (4 * layout.size + examples * each);
    },
    checkVariant({ views }) {
      const isOne = variants.some((variant) => variant === views);
      invariant(isOne, () => `views: expected one of ${variants.join(", ")}, got ${views}`);
    },
    checkBatch: ({ targets }) => requireInside(targets, classes, "class"),
    pass: (graph, { parameters }, variant, batch) => passOf(shape, graph, parameters, variant, batch),
  };
}

/** Of each group, as programs multiply by them, `[inputs, outputs]`; a bias is a row. */
function matricesOf({ inputs, hidden, features, classes }: TwoViewShape): [number, number][][] {
  const encoder = (width: number): [number, number][] => [
    [width, hidden],
    [1, hidden],
    [hidden, features],
    [1, features],
  ];
  const head: [number, number][] = [
    [features, classes],
    [features, classes],
    [1, classes],
  ];
  return [encoder(inputs[0]), encoder(inputs[1]), head];
}

function layoutOf(shape: TwoViewShape): ParameterLayout {
  let end = 0;
  const groups = matricesOf(shape).map((matrices, group) => {
    const start = end;
    for (const [rows, columns] of matrices) end += rows * columns;
    return { name: [...names, "head"][group]!, ranges: [{ start, end }] };
  });
  const { features, classes } = shape;
  return { size: end, groups, pairs: [], modalities: { encoders: [0, 1], features, classes } };
}

/** For a file: matrices as PyTorch has them, a head's after the view that it reads. */
export function tensorsOf(shape: TwoViewShape): FlatTensor[] {
  const parts = [
    ["a.0.weight", "a.0.bias", "a.1.weight", "a.1.bias"],
    ["v.0.weight", "v.0.bias", "v.1.weight", "v.1.bias"],
    ["head.a.weight", "head.v.weight", "head.bias"],
  ];
  let start = 0;
  return matricesOf(shape).flatMap((matrices, group) =>
    matrices.map(([rows, columns], i): FlatTensor => {
      const name = parts[group]![i]!;
      const tensor = name.endsWith("bias")
        ? { name, shape: [columns], start }
        : { name, shape: [columns, rows], start, transposed: true };
      start += rows * columns;
      return tensor;
    }),
  );
}

const initialOf = (shape: TwoViewShape, draws: Draws): Float32Array =>
  Float32Array.from(
    matricesOf(shape)
      .flat()
      .flatMap(([rows, columns]) =>
        Array.from({ length: rows * columns }, () => (rows === 1 ? 0 : Math.sqrt(2 / rows) * draws.normal())),
      ),
  );

function passOf(shape: TwoViewShape, graph: Graph, parameters: Tensor, variant: Variant, batch: BatchShape): Pass {
  const { clients, rows } = batch;
  const { inputs, features, classes } = shape;
  const width = inputs[0] + inputs[1];
  const [all, used] = [clients * rows, viewsOf(variant)];
  const sizes = matricesOf(shape).flat();
  const matrices = split(
    parameters,
    -1,
    sizes.map(([height, width]) => height * width),
  ).map((part, i) => reshape(part, [clients, ...sizes[i]!]));
  // A node that is built twice is one.
  const encoded = (x: Tensor, view: number): Tensor => {
    const seen = split(reshape(x, [clients, rows, width]), -1, inputs)[view]!;
    const [w1, b1, w2, b2] = matrices.slice(4 * view, 4 * view + 4) as [Tensor, Tensor, Tensor, Tensor];
    return add(matmul(relu(add(matmul(seen, w1), b1)), w2), b2);
  };
  const [ofA, ofV, bias] = matrices.slice(8) as [Tensor, Tensor, Tensor];
  const predict = (x: Tensor): Tensor => {
    const read = used.map((view) => matmul(encoded(x, view), [ofA, ofV][view]!));
    return reshape(
      read.reduce((sum, part) => add(sum, part), bias),
      [all, classes],
    );
  };
  const pass = labelledRows(graph, width, batch, [used.includes(0), used.includes(1), true], predict);
  const { x, positions } = pass.batch as Readonly<Record<string, Tensor>>;
  return { ...pass, features: (view) => gatherRows(reshape(encoded(x!, view), [all, features]), positions!) };
}

/** The largest number of float32 is far away. */
const relu = (x: Tensor): Tensor => clip(x, 0, 3.4e38);
