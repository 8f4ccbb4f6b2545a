/**
 * From what clients measured to the channels that each expert keeps.
 *
 *   u_l = mean of |act_l| over a client's tokens        one number for each channel of each layer
 *
 * A cluster of clients is a domain. Means weighted by tokens are exact, so a domain's u is what one pass over all of its
 * tokens would give. Read-ME, Cai et al., 2024, https://arxiv.org/abs/2410.19123.
 */
import { cosine } from "../../experts/sub-models.ts";

/** What one pass over some text measures. */
export interface Statistics {
  /** u of all layers, one after the other. */
  readonly means: ArrayLike<number>;
  readonly tokens: number;
}

/** As one pass over everybody's text measures it. */
export function pooled(all: readonly Statistics[]): Statistics {
  const tokens = all.reduce((sum, one) => sum + one.tokens, 0);
  const means = new Float64Array(all[0]?.means.length ?? 0);
  for (const one of all) for (let i = 0; i < means.length; i++) means[i]! += (one.tokens / tokens) * one.means[i]!;
  return { means, tokens };
}

/**
 * Clients by likeness: each is a cluster of its own, and the two whose pooled means have the largest cosine become one
 * until no more than `domains` are left. Ties go to the clusters that come first.
 *
 * @returns clusters of places in `all`, the one of the most tokens first
 */
export function domainsOf(all: readonly Statistics[], domains: number): readonly (readonly number[])[] {
  let clusters = all.map((one, at) => ({ places: [at], whole: one }));
  while (clusters.length > domains) {
    let [best, left, right] = [-Infinity, 0, 1];
    for (let a = 0; a < clusters.length; a++) {
      for (let b = a + 1; b < clusters.length; b++) {
        const likeness = cosine(clusters[a]!.whole.means, clusters[b]!.whole.means);
        if (likeness > best) [best, left, right] = [likeness, a, b];
      }
    }
    const places = [...clusters[left]!.places, ...clusters[right]!.places].sort((a, b) => a - b);
    const merged = { places, whole: pooled(places.map((at) => all[at]!)) };
    clusters = clusters.flatMap((cluster, at) => (at === left ? [merged] : at === right ? [] : [cluster]));
  }
  clusters.sort((a, b) => b.whole.tokens - a.whole.tokens || a.places[0]! - b.places[0]!);
  return clusters.map(({ places }) => places);
}

/**
 * 1 for the `kept` channels of each layer that fire most, else 0; ties go to the lower channel. The published code asks
 * for more than the kept-th largest value, and so keeps one channel fewer.
 *
 * @param means `[layers · channels]`
 */
export function maskOf(means: ArrayLike<number>, layers: number, kept: number): Float32Array {
  const mask = new Float32Array(means.length);
  const channels = means.length / layers;
  for (let layer = 0; layer < layers; layer++) {
    const order = Array.from({ length: channels }, (_, channel) => layer * channels + channel);
    order.sort((a, b) => means[b]! - means[a]! || a - b);
    for (const place of order.slice(0, kept)) mask[place] = 1;
  }
  return mask;
}
