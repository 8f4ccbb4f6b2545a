/**
 * Digits whose colour says something about their label, in each environment something else.
 *
 *   label   = class in the upper half, a digit ≥ 5, turned round with probability `noise`
 *   colour  = label, turned round with the environment's own probability
 *
 * Arjovsky et al., "Invariant Risk Minimization", 2019, https://arxiv.org/abs/1907.02893. Environments are the categories,
 * so that a partition by shards of one gives each client its own; a last one, whose colours follow another rule, is what
 * evaluations use, all of it.
 */
import type { Rng } from "../../base/random.ts";
import { shared } from "../../data/examples.ts";
import { type ImageData, pixelsOf } from "../../data/images/labelled.ts";

export interface Environments {
  /** Of each: how often the colour contradicts the label, and its share of the examples that train. */
  readonly environments: readonly { readonly flip: number; readonly share: number }[];
  /** How often colours contradict labels in what is evaluated, and what share of all examples that is. */
  readonly reversed: number;
  readonly heldOut: number;
  /** How often a label is wrong: shape alone is right in all other cases. */
  readonly noise: number;
}

/** Two channels, of which one has the digit. @param images grey */
export function coloured(
  images: ImageData,
  { environments, reversed, heldOut, noise }: Environments,
  rng: Rng,
): ImageData {
  const { examples, questionHash, columns, labels, image } = images;
  const size = pixelsOf(image);
  const x = shared(Uint8Array, new Uint8Array(2 * examples * size));
  const own = shared(Int32Array, new Int32Array(examples));
  const category = shared(Uint16Array, new Uint16Array(examples));
  const aside = shared(Uint8Array, new Uint8Array(examples));
  const total = environments.reduce((sum, { share }) => sum + share, 0);
  const parts = environments.map(({ share }) => ((1 - heldOut) * share) / total);
  const within = stretchesOf(questionHash, [heldOut, ...parts]);
  for (let e = 0; e < examples; e++) {
    const draws = rng.at("colours").at(e);
    const environment = within[e]!;
    const flip = environment === 0 ? reversed : environments[environment - 1]!.flip;
    const label = Number(labels[e]! >= images.categoryNames.length / 2) ^ Number(draws.bernoulli(noise));
    const colour = label ^ Number(draws.bernoulli(flip));
    for (let i = 0; i < size; i++) x[2 * (e * size + i) + colour] = columns.x!.values[e * size + i]!;
    own[e] = label;
    category[e] = environment === 0 ? environments.length : environment - 1;
    aside[e] = Number(environment === 0);
  }
  return {
    ...images,
    columns: { x: { ...columns.x!, width: 2 * size, values: x } },
    labels: own,
    category,
    categoryNames: [...environments.keys(), "held out"].map((name) => `environment ${name}`),
    heldOut: aside,
    image: { ...image, channels: 2 },
  };
}

/** Cuts examples, in the order of their hashes, into stretches of these shares; those of one hash stay together. */
function stretchesOf(hashes: Float64Array, shares: readonly number[]): Uint16Array {
  const order = Uint32Array.from(hashes.keys()).sort((a, b) => hashes[a]! - hashes[b]! || a - b);
  const within = new Uint16Array(hashes.length);
  let [stretch, end] = [0, shares[0]! * hashes.length];
  for (const [rank, e] of order.entries()) {
    const isNext = rank >= end - 0.5 && stretch < shares.length - 1 && hashes[e] !== hashes[order[rank - 1] ?? e];
    if (isNext) end += shares[++stretch]! * hashes.length;
    within[e] = stretch;
  }
  return within;
}
