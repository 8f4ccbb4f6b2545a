/**
 * How a picture comes to be a low one: a Gaussian blur, the mean of each square of four pixels, and noise, clipped to
 * [0, 1]. How much of each is known, and is what routers see: an oracle, where the paper asks a frozen image-text model.
 *
 *   s = (β ÷ (β + 1), ν ÷ (ν + 0.1))        β of the blur in high pixels, ν of the noise in greys; in [0, 1), higher is worse
 */
import type { Draws } from "../../base/random.ts";

/** P. */
export const scores = 2;

export interface Degradation {
  /** Standard deviations. */
  readonly blur: number;
  readonly noise: number;
}

export const scoresOf = ({ blur, noise }: Degradation): readonly [number, number] => [
  blur / (blur + 1),
  noise / (noise + 0.1),
];

/** @returns `[(side ÷ 2)²]` */
export function degraded(high: Float32Array, side: number, { blur, noise }: Degradation, draws: Draws): Float32Array {
  const seen = blurred(high, side, blur);
  const half = side / 2;
  return Float32Array.from({ length: half * half }, (_, i) => {
    const at = 2 * Math.floor(i / half) * side + 2 * (i % half);
    const mean = (seen[at]! + seen[at + 1]! + seen[at + side]! + seen[at + side + 1]!) / 4;
    return Math.min(1, Math.max(0, mean + noise * draws.normal()));
  });
}

/** Rows, then columns, with weights that sum to 1 up to three standard deviations away; the edge goes on outside. */
function blurred(high: Float32Array, side: number, sigma: number): Float32Array {
  if (sigma === 0) return high;
  const reach = Math.ceil(3 * sigma);
  const weights = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-0.5 * ((i - reach) / sigma) ** 2));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const along = (values: Float32Array, step: number, across: number) => {
    const next = new Float32Array(values.length);
    for (let line = 0; line < side; line++) {
      for (let at = 0; at < side; at++) {
        let sum = 0;
        for (const [i, weight] of weights.entries()) {
          const from = Math.min(side - 1, Math.max(0, at + i - reach));
          sum += weight * values[line * across + from * step]!;
        }
        next[line * across + at * step] = sum / total;
      }
    }
    return next;
  };
  return along(along(high, 1, side), side, 1);
}
