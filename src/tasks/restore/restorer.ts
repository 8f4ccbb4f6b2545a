/**
 * The frozen restorer: three convolutions at low resolution, whose last gives the four pixels that each low one becomes,
 * as what they differ from it.
 *
 *   h₁ = silu(K₁ * low + b₁),   h₂ = silu(K₂ * h₁ + b₂),   high = shuffle(low + K₃ * h₂ + b₃)
 *
 * K are 3x3. Each is a product of patches, W·x, which ranks may change.
 */
import { join } from "node:path";
import { packageRoot } from "../../base/places.ts";
import { type FlatTensor, readFlatTensors } from "../../model/formats/flat-tensors.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add, addScalar, scale, swiglu } from "../../tensor/ops/arithmetic.ts";
import { detach } from "../../tensor/ops/discrete.ts";
import { patches, pixelShuffle } from "../../tensor/ops/images.ts";
import { reshape, split } from "../../tensor/ops/layout.ts";
import { matmul } from "../../tensor/ops/matrix.ts";
import type { Product } from "../ranks.ts";

/** Channels between the convolutions. */
const width = 16;
const kernel = 3;

export const products: readonly Product[] = [
  { name: "convolution 1", inputs: kernel ** 2, outputs: width },
  { name: "convolution 2", inputs: kernel ** 2 * width, outputs: width },
  { name: "convolution 3", inputs: kernel ** 2 * width, outputs: 4 },
];

/** Of each product its matrix, `[inputs, outputs]`, and its bias. */
const sizes = products.flatMap(({ inputs, outputs }) => [inputs * outputs, outputs]);

export const restorerSize = sizes.reduce((sum, size) => sum + size, 0);

/** @internal Its parts, by the names that files have. */
export const restorerTensors: readonly FlatTensor[] = products.flatMap(({ name, inputs, outputs }, at) => {
  const start = sizes.slice(0, 2 * at).reduce((sum, size) => sum + size, 0);
  return [
    { name: `${name}.weight`, shape: [inputs, outputs], start },
    { name: `${name}.bias`, shape: [outputs], start: start + inputs * outputs },
  ];
});

/** The one that comes with the program: made by `scripts/restorer.ts`, which says what it has seen. */
export const embeddedRestorer = (): Float32Array =>
  readFlatTensors(join(packageRoot(), "assets", "restorer", "model.safetensors"), restorerTensors, restorerSize);

/**
 * @param weights `[restorerSize]`
 * @param low `[rows, side², 1]` in [0, 1], with as many pixels on each side
 * @param changes of each product, if any: from what it reads, `[rows, side², inputs]`, to what is added to what it gives
 * @returns `[rows, 4·side²]`, not clipped
 */
export function restored(
  weights: Tensor,
  low: Tensor,
  side: number,
  changes: readonly ((x: Tensor) => Tensor)[] = [],
): Tensor {
  const [rows, places] = low.shape as [number, number];
  const grid = { height: side, width: side };
  const parts = split(weights, 0, sizes);
  let x = low;
  for (const [at, { inputs, outputs }] of products.entries()) {
    const cells = reshape(patches(x, { ...grid, kernel, padding: 1 }), [rows, places, inputs]);
    const matrix = reshape(parts[2 * at]!, [inputs, outputs]);
    const given = reshape(matmul(reshape(cells, [rows * places, inputs]), matrix), [rows, places, outputs]);
    const change = changes[at]?.(cells);
    const whole = add(change === undefined ? given : add(given, change), parts[2 * at + 1]!);
    x = at === products.length - 1 ? whole : silu(whole);
  }
  return reshape(pixelShuffle(add(x, low), grid, 2), [rows, 4 * places]);
}

/** x·σ(x) is a gated unit whose other half is 1. */
const silu = (x: Tensor): Tensor => swiglu(x, addScalar(scale(detach(x), 0), 1));
