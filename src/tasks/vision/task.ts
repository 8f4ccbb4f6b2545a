/**
 * Images and what they show. Everything is trained; a group is a block of the network, numbered from the input.
 *
 * A variant `{ from: q }` trains blocks q to the last, counted from 1: what comes out of the block below counts as a
 * constant, so no gradient of it is ever computed. An ensemble of narrow networks is this task with `narrow`, and
 * `membersOf` its layout. With two norms each block that normalises has gains for images as they are and gains for images
 * of an adversary; `{ norm: 0.3 }` predicts by three parts in ten of the second.
 */
import { invariant } from "../../base/errors.ts";
import type { Rng } from "../../base/random.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { scale } from "../../tensor/ops/arithmetic.ts";
import { detach } from "../../tensor/ops/discrete.ts";
import { gatherRows } from "../../tensor/ops/index-ops.ts";
import { reshape } from "../../tensor/ops/layout.ts";
import { requireInside } from "../check-job.ts";
import { factsOf } from "../facts.ts";
import { labelledRows } from "../rows.ts";
import type { BatchShape, Cost, Pass, Task, TaskShape, Variant } from "../task.ts";
import { type Block, blocksOf, type ImageShape, type Network, ownOf, parametersOf } from "./network.ts";

export interface VisionOptions {
  readonly network: Network;
  readonly image: ImageShape;
  readonly classes: number;
  /** Every hidden width is this many times smaller, for a member of as many; 1 unless given. */
  readonly narrow?: number;
  /** Kinds of inputs that have gains of their own; 1 unless given. */
  readonly norms?: number;
  readonly rescale?: TaskShape["rescale"];
}

/** A budget is how many blocks train, counted from the output; of an ensemble, how many members. */
export function visionTask({ network, image, classes, narrow = 1, norms = 1, rescale }: VisionOptions): Task {
  const blocks = blocksOf(network, image, classes, narrow, norms);
  const gain = rescale === undefined ? 1 : narrow;
  let size = 0;
  const groups = blocks.map((block) => {
    const start = size;
    size += parametersOf(block);
    return { name: block.name, ranges: [{ start, end: size }] };
  });
  return {
    layout: { size, groups, pairs: [], activations: activationsOf(blocks, image) },
    abilities: factsOf("vision").abilities,
    budget:
      narrow === 1
        ? { full: blocks.length, variant: (budget) => ({ from: blocks.length - budget + 1 }) }
        : { full: narrow, variant: () => ({ from: 1 }) },
    padding: 1,
    personal: 0,
    initial: (rng, member) => initialWeights(blocks, size, rng, member, rescale === "both" ? 1 / narrow : 1),
    memory: (variant, images) => memoryOf(blocks, firstTrained(variant), images),
    checkVariant({ from = 1 }) {
      const possible = Number.isInteger(from) && (from as number) >= 1 && (from as number) <= blocks.length;
      invariant(possible, () => `from: expected 1 to ${blocks.length}, got ${from}`);
    },
    countProblem(counts, images, variant) {
      const expected = (block: number) => (block < firstTrained(variant) ? 0 : images);
      const odd = counts.findIndex((count, block) => count !== expected(block));
      return odd < 0 ? null : `block ${odd} saw ${counts[odd]} images, expected ${expected(odd)}`;
    },
    checkBatch: ({ targets }) => requireInside(targets, classes, "class"),
    cost: (variant) => costOf(blocks, variant),
    pass(graph, { parameters }, variant, shape) {
      const input = network.type === "mlp" ? (x: Tensor) => x : (x: Tensor) => places(x, image);
      return passOf(blocks, { ...image, input, gain }, graph, parameters, variant, shape);
    },
  };
}

const places = (x: Tensor, { height, width, channels }: ImageShape): Tensor =>
  reshape(x, [x.shape[0]!, height * width, channels]);

/** From 0. */
const firstTrained = ({ from = 1 }: Variant): number => (from as number) - 1;

/** The backward pass of a block needs what its matrix is applied to, and what comes out of it. */
function activationsOf(blocks: readonly Block[], { height, width, channels }: ImageShape) {
  let input = height * width * channels;
  return blocks.map(({ inputs, outputs, places }) => {
    const layer = { input, output: outputs * places, saved: (inputs + outputs) * places };
    input = layer.output;
    return layer;
  });
}

/**
 * Uniform in ±1 ÷ √inputs, as PyTorch's layers begin; gains are 1. A block's do not depend on the others.
 *
 * @param hidden what all but the head's are multiplied by
 */
export function initialWeights(blocks: readonly Block[], size: number, rng: Rng, member = 0, hidden = 1): Float32Array {
  const weights = new Float32Array(size);
  let at = 0;
  for (const [index, { inputs, outputs, gains }] of blocks.entries()) {
    const draws = rng.at("initial weights", member).at(index);
    const bound = (index < blocks.length - 1 ? hidden : 1) / Math.sqrt(inputs);
    for (const end = at + (inputs + 1) * outputs; at < end; at++) weights[at] = bound * (2 * draws.uniform() - 1);
    for (const end = at + gains * outputs; at < end; at++) weights[at] = 1;
  }
  return weights;
}

/**
 * Two FLOP for each product of a matrix: once forward, once for the slope of each matrix that trains, and once for what
 * reaches the block below, where that trains as well. Blocks that rest pass forward once a round, and what they put out is
 * kept. A variant with `attack` trains on each image twice, and finds the second in so many steps of a forward pass and a
 * slope down to the image. What is not a product is not counted.
 */
function costOf(blocks: readonly Block[], variant: Variant): Cost {
  const from = firstTrained(variant);
  const flops = blocks.map(({ inputs, outputs, places }) => 2 * inputs * outputs * places);
  const sum = (first: number) => flops.slice(first).reduce((a, b) => a + b, 0);
  const training = 2 * sum(from) + sum(from + 1);
  const { attack } = variant;
  return {
    forward: sum(0),
    training: attack === undefined ? training : 2 * training + 2 * Number(attack) * sum(0),
    once: sum(0) - sum(from),
  };
}

/** Parameters, with slope and two moments where they train, and what their way back needs of the images; 4 bytes a number. */
function memoryOf(blocks: readonly Block[], from: number, images: number): number {
  const words = blocks.map((block, at) => {
    if (at < from) return parametersOf(block);
    return 4 * parametersOf(block) + images * (block.inputs + block.outputs) * block.places;
  });
  return 4 * words.reduce((a, b) => a + b, 0);
}

const same = (x: Tensor): Tensor => x;

function passOf(
  blocks: readonly Block[],
  image: ImageShape & { input(x: Tensor): Tensor; readonly gain: number },
  graph: Graph,
  parameters: Tensor,
  variant: Variant,
  shape: BatchShape,
): Pass {
  const from = firstTrained(variant);
  const usual = ownOf(blocks, parameters, Number(variant.norm ?? 0));
  const predict = (x: Tensor, norm?: number, change = same) => {
    const own = norm === undefined ? usual : ownOf(blocks, parameters, norm);
    let hidden = image.input(x);
    for (const [at, block] of blocks.entries()) {
      const { weight, bias, gain } = own[at]!;
      const by = at < blocks.length - 1 ? image.gain : 1;
      const scaled = { weight: scale(weight, by), bias: scale(bias, by), gain };
      const below = at === blocks.length - 1 ? change(hidden) : hidden;
      hidden = block.apply(at === from && from > 0 ? detach(below) : below, scaled);
    }
    return hidden;
  };
  const trains = blocks.map((_, block) => block >= from);
  const pass = labelledRows(graph, image.height * image.width * image.channels, shape, trains, predict);
  const { x, positions } = pass.batch as Readonly<Record<string, Tensor>>;
  return { ...pass, readout: (change) => gatherRows(predict(x!, undefined, change), positions!) };
}
