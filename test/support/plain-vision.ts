/** The networks of `src/tasks/vision` in float64 and plain loops, written from their definitions. */
import type { ImageShape, Network } from "../../src/tasks/vision/network.ts";

/** One image, `[height][width][channels]` as nested lists, or a vector as a 1 × 1 image. */
type Image = number[][][];

const silu = (x: number): number => x / (1 + Math.exp(-x));

/** Reads parameters one after the other, as the layout has them. */
class Reader {
  readonly #values: Float64Array;
  #at = 0;

  constructor(values: Float64Array) {
    this.#values = values;
  }

  vector(size: number): number[] {
    this.#at += size;
    return [...this.#values.subarray(this.#at - size, this.#at)];
  }

  matrix(inputs: number, outputs: number): number[][] {
    return Array.from({ length: inputs }, () => this.vector(outputs));
  }
}

function affine(x: readonly number[], weight: readonly number[][], bias: readonly number[]): number[] {
  return bias.map((start, out) => x.reduce((sum, value, i) => sum + value * weight[i]![out]!, start));
}

function convolved(x: Image, weight: readonly number[][], bias: readonly number[], stride: number): Image {
  const [height, width, channels] = [x.length, x[0]!.length, x[0]![0]!.length];
  const stops = (size: number) => Array.from({ length: Math.ceil(size / stride) }, (_, i) => i * stride);
  return stops(height).map((row) =>
    stops(width).map((column) => {
      const seen: number[] = [];
      for (let y = row - 1; y <= row + 1; y++) {
        for (let at = column - 1; at <= column + 1; at++) {
          for (let channel = 0; channel < channels; channel++) seen.push(x[y]?.[at]?.[channel] ?? 0);
        }
      }
      return affine(seen, weight, bias);
    }),
  );
}

function normalised(x: readonly number[], gain: readonly number[]): number[] {
  const root = Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + 1e-5);
  return x.map((value, i) => (value / root) * gain[i]!);
}

export interface LabelledImages {
  /** `[images · height · width · channels]` */
  readonly x: readonly number[];
  readonly targets: readonly number[];
}

export interface PlainNetwork {
  readonly network: Network;
  readonly image: ImageShape;
  readonly classes: number;
}

export function plainLogits(model: PlainNetwork, parameters: Float64Array, x: readonly number[]): number[] {
  const { network, image, classes } = model;
  const { height, width, channels } = image;
  const read = new Reader(parameters);
  if (network.type === "mlp") {
    let vector = [...x];
    for (const outputs of network.hidden) {
      const weight = read.matrix(vector.length, outputs);
      vector = affine(vector, weight, read.vector(outputs)).map(silu);
    }
    const weight = read.matrix(vector.length, classes);
    return affine(vector, weight, read.vector(classes));
  }
  let picture: Image = Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, at) => x.slice((y * width + at) * channels, (y * width + at + 1) * channels)),
  );
  for (const [layer, outputs] of network.channels.entries()) {
    const weight = read.matrix(9 * picture[0]![0]!.length, outputs);
    const bias = read.vector(outputs);
    const gain = read.vector(outputs);
    const y = convolved(picture, weight, bias, layer === 0 ? 1 : 2);
    picture = y.map((row) => row.map((place) => normalised(place, gain).map(silu)));
  }
  const all = picture.flat();
  const mean = all[0]!.map((_, channel) => all.reduce((sum, place) => sum + place[channel]!, 0) / all.length);
  const weight = read.matrix(mean.length, classes);
  return affine(mean, weight, read.vector(classes));
}

/** Of each image, in nats. */
export function plainLosses(model: PlainNetwork, parameters: Float64Array, { x, targets }: LabelledImages): number[] {
  const size = x.length / targets.length;
  return targets.map((target, at) => {
    const logits = plainLogits(model, parameters, x.slice(at * size, (at + 1) * size));
    const top = Math.max(...logits);
    return top + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - top), 0)) - logits[target]!;
  });
}

/** Slopes of the mean loss by central differences; in float64 they are good to about 1e-9. */
export function plainGradient(model: PlainNetwork, parameters: Float64Array, images: LabelledImages): Float64Array {
  const h = 1e-5;
  const mean = (at: number, step: number) => {
    const losses = plainLosses(model, parameters.with(at, parameters[at]! + step), images);
    return losses.reduce((a, b) => a + b, 0) / losses.length;
  };
  return parameters.map((_, at) => (mean(at, h) - mean(at, -h)) / (2 * h));
}
