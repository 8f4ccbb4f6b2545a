/**
 * Networks for images: a chain of blocks from the input, of which each is a matrix, biases and what follows.
 *
 *   mlp   SiLU(x·W + b) for every hidden width, then the head
 *   cnn   SiLU(rmsNorm(conv(x, W) + b) · g), 3 × 3, of stride 1 and then 2, for every number of channels; then the head on
 *         the mean over places
 *
 * The norm runs over the channels of a place and keeps no statistics, where the papers that train such networks have batch
 * norm: nothing of it has to be averaged, training and evaluation do the same, and what a frozen block gives is fixed.
 */
import { InputError } from "../../base/errors.ts";
import type { FlatTensor } from "../../model/formats/flat-tensors.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { sizeOf } from "../../tensor/graph/shape.ts";
import { add, mul, reduceMean, scale, silu } from "../../tensor/ops/arithmetic.ts";
import { conv, type Grid, stopsOf, type Window } from "../../tensor/ops/images.ts";
import { reshape, split } from "../../tensor/ops/layout.ts";
import { perClient } from "../../tensor/ops/matrix.ts";
import { rmsNorm } from "../../tensor/ops/nn.ts";

export interface ImageShape extends Grid {
  readonly channels: number;
}

export type Network =
  | { readonly type: "mlp"; readonly hidden: readonly number[] }
  | { readonly type: "cnn"; readonly channels: readonly number[] };

/** A block's parameters in a program: `[inputs, outputs]` and `[outputs]`, with `clients` in front where there are several. */
interface Own {
  readonly weight: Tensor;
  readonly bias: Tensor;
  /** Where it normalises. */
  readonly gain: Tensor | null;
}

export interface Block {
  readonly name: string;
  readonly inputs: number;
  readonly outputs: number;
  /** Vectors of gains: none where it does not normalise, one for each kind of input where it does. */
  readonly gains: number;
  /** How often its matrix is applied to an image. */
  readonly places: number;
  apply(x: Tensor, own: Own): Tensor;
}

export const parametersOf = ({ inputs, outputs, gains }: Block): number => (inputs + 1 + gains) * outputs;

/**
 * @param narrow every hidden width is this many times smaller
 * @param norms kinds of inputs that have gains of their own
 */
export function blocksOf(network: Network, image: ImageShape, classes: number, narrow = 1, norms = 1): Block[] {
  const { height, width, channels } = image;
  return network.type === "mlp"
    ? dense(height * width * channels, narrowed(network.hidden, narrow), classes)
    : convolutional(image, narrowed(network.channels, narrow), classes, norms);
}

function narrowed(widths: readonly number[], narrow: number): number[] {
  const odd = widths.find((width) => width % narrow !== 0);
  if (odd !== undefined) throw new InputError(`a hidden width is ${odd}, expected a multiple of ${narrow}`);
  return widths.map((width) => width / narrow);
}

function dense(inputs: number, hidden: readonly number[], classes: number): Block[] {
  const blocks = hidden.map(
    (outputs, at): Block => ({
      ...{ name: `layer ${at + 1}`, inputs: hidden[at - 1] ?? inputs, outputs, gains: 0, places: 1 },
      apply: (x, own) => silu(affine(x, own)),
    }),
  );
  return [...blocks, head(hidden.at(-1) ?? inputs, classes, affine)];
}

function convolutional(image: ImageShape, widths: readonly number[], classes: number, norms: number): Block[] {
  const { channels, ...grid } = image;
  let window: Window = { ...grid, kernel: 3, stride: 1, padding: 1 };
  let inputs = channels;
  const blocks = widths.map((outputs, at): Block => {
    const own = window;
    const block = convolution(`layer ${at + 1}`, own, inputs, outputs, norms);
    window = { ...window, ...stopsOf(own), stride: 2 };
    inputs = outputs;
    return block;
  });
  return [...blocks, head(inputs, classes, (x, own) => affine(reduceMean(x, [1]), own))];
}

const convolution = (name: string, window: Window, channels: number, outputs: number, gains: number): Block => ({
  ...{ name, inputs: window.kernel ** 2 * channels, outputs, gains },
  places: stopsOf(window).height * stopsOf(window).width,
  apply: (x, { weight, bias, gain }) => silu(normal(each(conv(x, weight, window), bias, add), gain!)),
});

const head = (inputs: number, classes: number, apply: Block["apply"]): Block => ({
  ...{ name: "head", inputs, outputs: classes, gains: 0, places: 1, apply },
});

/** `[rows, inputs]` to `[rows, outputs]`. */
const affine = (x: Tensor, { weight, bias }: Own): Tensor => each(perClient(x, weight), bias, add);

const epsilon = 1e-5;

function normal(x: Tensor, gain: Tensor): Tensor {
  if (gain.shape.length === 1) return rmsNorm(x, gain, epsilon);
  const ones = x.node.graph.constant(
    new Array<number>(gain.shape.at(-1) as number).fill(1),
    gain.shape.slice(-1) as number[],
  );
  return each(rmsNorm(x, ones, epsilon), gain, mul);
}

/** A vector of all, `[width]`, or of each client, `[clients, width]`, with all rows that are its own. */
function each(x: Tensor, vector: Tensor, combine: (a: Tensor, b: Tensor) => Tensor): Tensor {
  if (vector.shape.length === 1) return combine(x, vector);
  const [clients, width] = vector.shape as [number, number];
  const rows = sizeOf(x.shape) / clients / width;
  const apart = combine(reshape(x, [clients, rows, width]), reshape(vector, [clients, 1, width]));
  return reshape(apart, x.shape);
}

function mixed([first, second]: readonly Tensor[], norm: number): Tensor | null {
  if (first === undefined) return null;
  if (second === undefined || norm === 0) return first;
  return norm === 1 ? second : add(scale(first, 1 - norm), scale(second, norm));
}

/** Where each member's tensors lie in one vector, by the names and in the form of PyTorch: of a convolution, cells before channels. */
export function tensorsOf(blocks: readonly Block[], members: number): FlatTensor[] {
  let start = 0;
  const all = Array.from({ length: members }, (_, member) => (members === 1 ? "" : `members.${member}.`));
  return all.flatMap((prefix) =>
    blocks.flatMap(({ inputs, outputs, gains }, block) => {
      const tensors: FlatTensor[] = [];
      const add = (name: string, shape: readonly number[], transposed = false) => {
        tensors.push({ name: `${prefix}blocks.${block}.${name}`, shape, start, transposed });
        start += sizeOf(shape);
      };
      add("weight", [outputs, inputs], true);
      add("bias", [outputs]);
      if (gains > 0) add("gain", [outputs]);
      if (gains > 1) add("adversarialGain", [outputs]);
      return tensors;
    }),
  );
}

/**
 * The blocks' parameters as parts of one flat vector, `[size]` or `[clients, size]`: matrix, biases, gains, block after block.
 *
 * @param norm where there are two vectors of gains: 0 for the first, 1 for the second, and what lies between is a mixture
 */
export function ownOf(blocks: readonly Block[], flat: Tensor, norm = 0): Own[] {
  const lead = flat.shape.slice(0, -1);
  const shapes = blocks.flatMap(({ inputs, outputs, gains }) => [
    [inputs, outputs],
    [outputs],
    ...Array.from({ length: gains }, () => [outputs]),
  ]);
  const parts = split(flat, -1, shapes.map(sizeOf)).map((part, at) => reshape(part, [...lead, ...shapes[at]!]));
  return blocks.map(({ gains }) => {
    const [weight, bias] = parts.splice(0, 2) as [Tensor, Tensor];
    return { weight, bias, gain: mixed(parts.splice(0, gains), norm) };
  });
}
