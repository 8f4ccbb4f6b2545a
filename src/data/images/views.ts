/** Harder sets out of easy ones: each image several times on a larger canvas, each time somewhere else. */
import type { Rng } from "../../base/random.ts";
import { type LabelledImages, pixelsOf } from "./labelled.ts";

export interface Views {
  /** Side of the canvas, in pixels. */
  readonly canvas: number;
  /** Most pixels by which an image stands off the middle, each way. */
  readonly shift: number;
  /** Of each image. */
  readonly views: number;
}

/** How far an image may stand off the middle of a canvas. */
export const mostShift = ({ height, width }: Pick<LabelledImages, "height" | "width">, canvas: number): number =>
  Math.floor((canvas - Math.max(height, width)) / 2);

/** The views of an image follow one another; where each stands depends on the seed and the image alone. */
export function viewsOf(images: LabelledImages, { canvas, shift, views }: Views, rng: Rng): LabelledImages {
  const { height, width, channels, labels } = images;
  const size = { height: canvas, width: canvas, channels };
  const pixels = new Uint8Array(labels.length * views * pixelsOf(size));
  const shifts = rng.at("shifts of images");
  const [middleY, middleX] = [Math.floor((canvas - height) / 2), Math.floor((canvas - width) / 2)];
  let at = 0;
  for (let image = 0; image < labels.length; image++) {
    const draws = shifts.at(image);
    for (let view = 0; view < views; view++, at += pixelsOf(size)) {
      const top = middleY + draws.below(2 * shift + 1) - shift;
      const left = middleX + draws.below(2 * shift + 1) - shift;
      for (let row = 0; row < height; row++) {
        const from = (image * height + row) * width * channels;
        const line = images.pixels.subarray(from, from + width * channels);
        pixels.set(line, at + ((top + row) * canvas + left) * channels);
      }
    }
  }
  return { ...images, ...size, pixels, labels: repeated(labels, views) };
}

/** Each value so many times in a row. */
export function repeated(values: Uint8Array, times: number): Uint8Array;
export function repeated(values: Float64Array, times: number): Float64Array;
export function repeated(values: Uint8Array | Float64Array, times: number): Uint8Array | Float64Array {
  const length = values.length * times;
  const all = values instanceof Float64Array ? new Float64Array(length) : new Uint8Array(length);
  for (const [at, value] of values.entries()) all.fill(value, at * times, (at + 1) * times);
  return all;
}
