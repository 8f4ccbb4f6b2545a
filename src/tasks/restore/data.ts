/** Pictures with what became of them: each at one level of degradation, which is its category. */
import type { Rng } from "../../base/random.ts";
import type { RowData } from "../../data/examples.ts";
import type { ImageData } from "../../data/images/labelled.ts";
import { type Degradation, degraded, scores, scoresOf } from "./degrade.ts";

/** Standard deviations lie anywhere between the two. */
interface Level {
  /** In pixels of the high picture. */
  readonly blur: [least: number, most: number];
  /** In greys of [0, 1]. */
  readonly noise: [least: number, most: number];
}

export type Levels = Record<string, Level>;

export const usualLevels: Levels = {
  /** What the embedded restorer was trained on. */
  mild: { blur: [0, 0.5], noise: [0, 0.02] },
  blurred: { blur: [1.2, 2], noise: [0, 0.02] },
  noisy: { blur: [0, 0.5], noise: [0.1, 0.2] },
  "blurred and noisy": { blur: [1.2, 2], noise: [0.1, 0.2] },
};

/** Why pictures cannot be halved, or are not grey; null where they can be restored. */
export function pictureProblem({ image: { height, width, channels } }: ImageData): string | null {
  if (channels === 1 && height === width && height % 2 === 0) return null;
  return `are ${height} x ${width} with ${channels === 1 ? "one channel" : `${channels} channels`}, expected grey squares of even sides`;
}

/** Levels take turns. Columns `low`, `[(side ÷ 2)²]`, `high`, `[side²]`, and `degradation`, s; no classes. */
export function degradePictures(images: ImageData, levels: Levels, rng: Rng): RowData {
  const names = Object.keys(levels).toSorted();
  const { examples: count, image, questionHash, digest, notes } = images;
  const { values, scale } = images.columns.x!;
  const side = image.width;
  const column = (width: number) => ({
    width,
    values: new Float32Array(new SharedArrayBuffer(4 * count * width)),
    scale: 1,
  });
  const columns = { low: column(side ** 2 / 4), high: column(side ** 2), degradation: column(scores) };
  const category = Uint16Array.from({ length: count }, (_, n) => n % names.length);
  for (let n = 0; n < count; n++) {
    const { blur, noise } = levels[names[category[n]!]!]!;
    const draws = rng.at("degradation").at(n);
    const between = ([least, most]: readonly [number, number]) => least + (most - least) * draws.uniform();
    const own: Degradation = { blur: between(blur), noise: between(noise) };
    const high = Float32Array.from(values.subarray(n * side ** 2, (n + 1) * side ** 2), (value) => scale * value);
    columns.high.values.set(high, n * side ** 2);
    columns.low.values.set(degraded(high, side, own, draws), (n * side ** 2) / 4);
    columns.degradation.values.set(scoresOf(own), n * scores);
  }
  const labels = new Int32Array(count);
  return { examples: count, columns, labels, category, categoryNames: names, questionHash, digest, notes };
}
