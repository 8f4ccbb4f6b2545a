/**
 * Generated pictures: a slope of greys under bars and blobs, each pixel by how much of it a shape covers. Picture n depends
 * on the seed and n alone.
 */
import { sha256 } from "../../base/digest.ts";
import type { Draws, Rng } from "../../base/random.ts";
import type { LabelledImages } from "./labelled.ts";

/** Grey of what a shape covers, and how far outside it a point is, in pixels: less than 0 inside. */
interface Shape {
  readonly grey: number;
  outside(x: number, y: number): number;
}

/** All of one class. */
export function generatedPictures(count: number, side: number, rng: Rng): LabelledImages {
  const pixels = new Uint8Array(count * side ** 2);
  for (let n = 0; n < count; n++) pixels.set(picture(rng.at("pictures").at(n), side), n * side ** 2);
  return {
    ...{ height: side, width: side, channels: 1, pixels, brightest: 255 },
    labels: new Uint8Array(count),
    classes: ["bars and blobs"],
    digest: sha256(pixels),
  };
}

function picture(draws: Draws, side: number): Uint8Array {
  const [from, to] = [draws.uniform(), draws.uniform()];
  const towards = 2 * Math.PI * draws.uniform();
  const middle = (side - 1) / 2;
  const shapes = Array.from({ length: 3 + draws.below(4) }, () =>
    draws.bernoulli(0.5) ? bar(draws, side) : blob(draws, side),
  );
  return Uint8Array.from({ length: side ** 2 }, (_, i) => {
    const [x, y] = [i % side, Math.floor(i / side)];
    const along = 0.5 + ((x - middle) * Math.cos(towards) + (y - middle) * Math.sin(towards)) / side;
    let grey = from + (to - from) * Math.min(1, Math.max(0, along));
    for (const { grey: own, outside } of shapes) {
      // A pixel is covered as far as the edge has passed it.
      grey += Math.min(1, Math.max(0, 0.5 - outside(x, y))) * (own - grey);
    }
    return Math.round(255 * grey);
  });
}

/** Across the whole picture, 2 to 6 pixels wide at a side of 32. */
function bar(draws: Draws, side: number): Shape {
  const [x0, y0] = [side * draws.uniform(), side * draws.uniform()];
  const angle = Math.PI * draws.uniform();
  const half = (side / 32) * (1 + 2 * draws.uniform());
  const [a, b] = [Math.cos(angle), Math.sin(angle)];
  return { grey: draws.uniform(), outside: (x, y) => Math.abs(a * (x - x0) + b * (y - y0)) - half };
}

/** An ellipse of half axes of 2 to 8 pixels at a side of 32. */
function blob(draws: Draws, side: number): Shape {
  const [x0, y0] = [side * draws.uniform(), side * draws.uniform()];
  const axis = () => (side / 32) * (2 + 6 * draws.uniform());
  const [across, down] = [axis(), axis()];
  // The distance from an ellipse, to first order in how far a point is outside.
  const outside = (x: number, y: number) =>
    (Math.hypot((x - x0) / across, (y - y0) / down) - 1) * Math.min(across, down);
  return { grey: draws.uniform(), outside };
}
