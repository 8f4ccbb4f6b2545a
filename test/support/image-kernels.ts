/** The reference's operations on images, from their definitions in `src/tensor/ops/images.ts`. */
import type { Window } from "../../src/tensor/ops/images.ts";
import { build, read, type Value, value } from "./reference-value.ts";

type Kernel = (inputs: Value[], window: Required<Window>) => Value[];

/** Calls `visit` with every cell of every patch and the place it shows, where it shows one. */
function forEachCell(window: Required<Window>, visit: (cell: number, place: number) => void): number {
  const { height, width, kernel, stride, padding } = window;
  let cell = 0;
  for (let top = -padding; top + kernel <= height + padding; top += stride) {
    for (let left = -padding; left + kernel <= width + padding; left += stride) {
      for (let y = top; y < top + kernel; y++) {
        for (let x = left; x < left + kernel; x++, cell++) {
          if (y >= 0 && y < height && x >= 0 && x < width) visit(cell, y * width + x);
        }
      }
    }
  }
  return cell;
}

export const patches: Kernel = ([x], window) => {
  const [images, , channels] = x!.shape as [number, number, number];
  const placeOf = new Map<number, number>();
  const cells = forEachCell(window, (cell, place) => placeOf.set(cell, place));
  const shown = (image: number, place: number | undefined, channel: number) =>
    place === undefined ? 0 : read(x!, [image, place, channel]);
  return [build([images, cells, channels], ([image, cell, channel]) => shown(image!, placeOf.get(cell!), channel!))];
};

export const fold: Kernel = ([x], window) => {
  const [images, , channels] = x!.shape as [number, number, number];
  const places = window.height * window.width;
  const sums = new Float64Array(images * places * channels);
  for (let image = 0; image < images; image++) {
    forEachCell(window, (cell, place) => {
      for (let channel = 0; channel < channels; channel++) {
        sums[(image * places + place) * channels + channel]! +=
          x!.data[(image * x!.shape[1]! + cell) * channels + channel]!;
      }
    });
  }
  return [value([images, places, channels], sums)];
};
