/**
 * Which experts a client holds: chosen by how often its tokens go there, within its memory, and changed on the advice of
 * clients that are like it. Experts are numbered through the layers. Mei et al., "FedMoE", 2024.
 */

export interface Memory {
  /** Numbers that each expert takes, that everything else takes, and that there is room for. */
  readonly expert: number;
  readonly rest: number;
  readonly limit: number;
}

export const fits = (experts: number, { expert, rest, limit }: Memory): boolean => rest + experts * expert <= limit;

/**
 * The sub-model with the largest θ that fits, where each layer keeps the fewest experts of a summed probability ≥ θ.
 * Experts are equally large, so θ is one of the sums of a layer's most probable experts, and trying these is exact. Where
 * not even one expert a layer fits, it is one a layer. Ties go to the lower index.
 *
 * @param p activation probability of each expert, layer after layer; each layer's sum to 1
 * @returns θ, and the experts of each layer by their place in it, ascending
 */
export function largestWithin(
  p: readonly (readonly number[])[],
  memory: Memory,
): { readonly theta: number; readonly kept: readonly (readonly number[])[] } {
  const orders = p.map((layer) => byFalling(layer));
  const sums = p.map((layer, l) => {
    let sum = 0;
    return orders[l]!.map((expert) => (sum += layer[expert]!));
  });
  const needed = (theta: number) => sums.map((layer) => Math.max(1, layer.findIndex((sum) => sum >= theta) + 1));
  const reachable = Math.min(...sums.map((layer) => layer.at(-1)!));
  const theta = sums
    .flat()
    .filter((sum) => sum <= reachable)
    .sort((a, b) => b - a)
    .find((sum) => fits(total(needed(sum)), memory));
  const counts = needed(theta ?? 0);
  return { theta: theta ?? 0, kept: orders.map((order, l) => order.slice(0, counts[l]).sort((a, b) => a - b)) };
}

/** A client as others see it. */
export interface Known {
  /** Activation probability of every expert. */
  readonly p: ArrayLike<number>;
  /** How many experts it holds. */
  readonly experts: number;
}

export interface Advice {
  /** Cosine of the probabilities with each other client's, in their order. */
  readonly similarity: readonly number[];
  /** The most similar, by their places. */
  readonly nearest: readonly number[];
  /** What they make of each expert: their probabilities, weighted by similarity. */
  readonly estimate: readonly number[];
  /** How many experts more they hold on average. */
  readonly change: number;
  /** Experts to be added first, and to be removed first. */
  readonly addFirst: readonly number[];
  readonly removeFirst: readonly number[];
}

/**
 * @param own probabilities of the client, and the experts that it holds
 * @param neighbours how many of the others are asked
 * @returns null where nobody is like it
 */
export function adviceFor(
  own: { readonly p: ArrayLike<number>; readonly experts: readonly number[] },
  others: readonly Known[],
  neighbours: number,
): Advice | null {
  const similarity = others.map(({ p }) => cosine(own.p, p));
  const nearest = byFalling(similarity).slice(0, neighbours);
  const whole = total(nearest.map((at) => similarity[at]!));
  if (whole === 0) return null;
  const estimate = Array.from(
    { length: own.p.length },
    (_, expert) => total(nearest.map((at) => similarity[at]! * others[at]!.p[expert]!)) / whole,
  );
  const held = new Set(own.experts);
  const order = byFalling(estimate);
  return {
    similarity,
    nearest,
    estimate,
    change: total(nearest.map((at) => others[at]!.experts)) / nearest.length - own.experts.length,
    addFirst: order.filter((expert) => !held.has(expert)),
    removeFirst: byFalling(estimate.map((value) => -value)).filter((expert) => held.has(expert)),
  };
}

/**
 * The experts after the advice, ascending: as many more or fewer as is advised, rounded; at most `most` of them, within
 * memory, and one a layer at least. The same list where nothing changes.
 *
 * @param layerOf in which layer an expert is
 */
export function advised(
  experts: readonly number[],
  { change, addFirst, removeFirst }: Advice,
  { most, memory, layerOf }: { readonly most: number; readonly memory: Memory; layerOf(expert: number): number },
): readonly number[] {
  const wanted = Math.min(most, Math.round(Math.abs(change)));
  if (change > 0) {
    const room = Math.floor((memory.limit - memory.rest) / memory.expert) - experts.length;
    const added = addFirst.slice(0, Math.max(0, Math.min(wanted, room)));
    return added.length === 0 ? experts : [...experts, ...added].sort((a, b) => a - b);
  }
  const left = new Set(experts);
  for (const expert of removeFirst) {
    if (experts.length - left.size === wanted) break;
    const isLast = [...left].filter((other) => layerOf(other) === layerOf(expert)).length === 1;
    if (!isLast) left.delete(expert);
  }
  return left.size === experts.length ? experts : [...left];
}

/** Indices by falling value; ties go to the lower. */
const byFalling = (values: readonly number[]): number[] =>
  [...values.keys()].sort((a, b) => values[b]! - values[a]! || a - b);

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/** 0 where one of them is 0 throughout. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let product = 0;
  let squareA = 0;
  let squareB = 0;
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!;
    squareA += a[i]! ** 2;
    squareB += b[i]! ** 2;
  }
  return product === 0 ? 0 : product / Math.sqrt(squareA * squareB);
}
