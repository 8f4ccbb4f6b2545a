/** Weights over clients inside a box around their share of the data: λ ≥ 0, Σ λ = 1, |λ_k − a_k| ≤ ε. */

/** The lower and upper edge of the box. */
const edges = (prior: number, epsilon: number): readonly [number, number] => [
  Math.max(0, prior - epsilon),
  Math.min(1, prior + epsilon),
];

/**
 * The weights with the largest Σ λ_k·f_k: everybody gets the least, and what is left goes to the largest losses first.
 * When all losses are equal no corner of the box is better than another, and the shares stay.
 */
export function boxChebyshev(prior: Float64Array, losses: readonly number[], epsilon: number): Float64Array {
  if (losses.every((loss) => loss === losses[0])) return prior.slice();
  const weights = prior.map((share) => edges(share, epsilon)[0]);
  let rest = 1 - weights.reduce((sum, weight) => sum + weight, 0);
  const order = [...losses.keys()].toSorted((x, y) => losses[y]! - losses[x]! || x - y);
  for (const at of order) {
    const more = Math.min(rest, edges(prior[at]!, epsilon)[1] - weights[at]!);
    weights[at]! += more;
    rest -= more;
  }
  return weights;
}

/**
 * The weights with the smallest λᵀGλ, the least norm of a combination of vectors with inner products G. Mass moves between
 * the two clients that gain most by it until no pair gains: the optimum, as the problem is convex.
 */
export function leastNorm(prior: Float64Array, gram: readonly Float64Array[], epsilon: number): Float64Array {
  const weights = prior.slice();
  const slope = (k: number) => gram[k]!.reduce((sum, g, j) => sum + g * weights[j]!, 0);
  for (let round = 0; round < 10_000 * weights.length; round++) {
    const slopes = Array.from(weights, (_, k) => slope(k));
    let [giver, taker] = [-1, -1];
    for (const k of weights.keys()) {
      const [least, most] = edges(prior[k]!, epsilon);
      if (weights[k]! > least && (giver < 0 || slopes[k]! > slopes[giver]!)) giver = k;
      if (weights[k]! < most && (taker < 0 || slopes[k]! < slopes[taker]!)) taker = k;
    }
    if (giver < 0 || taker < 0 || slopes[giver]! - slopes[taker]! <= 1e-14) break;
    const curve = gram[giver]![giver]! + gram[taker]![taker]! - 2 * gram[giver]![taker]!;
    const wanted = curve > 0 ? (slopes[giver]! - slopes[taker]!) / curve : Infinity;
    const room = Math.min(
      weights[giver]! - edges(prior[giver]!, epsilon)[0],
      edges(prior[taker]!, epsilon)[1] - weights[taker]!,
    );
    const moved = Math.min(wanted, room);
    if (moved === room) {
      // Onto the edge exactly, or rounding would leave a little of it for ever.
      const [least] = edges(prior[giver]!, epsilon);
      const [, most] = edges(prior[taker]!, epsilon);
      if (weights[giver]! - least <= most - weights[taker]!) {
        weights[taker]! += weights[giver]! - least;
        weights[giver] = least;
      } else {
        weights[giver]! -= most - weights[taker]!;
        weights[taker] = most;
      }
    } else {
      weights[giver]! -= moved;
      weights[taker]! += moved;
    }
  }
  return weights;
}
