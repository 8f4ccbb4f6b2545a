/**
 * The privacy that rounds of noise cost, where each client takes part with probability q on its own (Rényi orders a ≥ 2):
 *
 *   R(a) = ln Σ_j C(a, j)·(1 − q)^(a−j)·q^j·exp((j² − j) ÷ 2z²) ÷ (a − 1)
 *   ε = min over a of T·R(a) + ln((a − 1) ÷ a) − (ln δ + ln a) ÷ (a − 1), and not below 0
 *
 * Mironov, Talwar, Zhang, "Rényi Differential Privacy of the Sampled Gaussian Mechanism", 2019,
 * https://arxiv.org/abs/1908.10530; to (ε, δ) after Canonne, Kamath, Steinke, 2020, https://arxiv.org/abs/2004.00010.
 */

const orders = Array.from({ length: 511 }, (_, at) => at + 2);

/**
 * @param q probability of taking part, in (0, 1]
 * @param z noise in units of what one client can change, > 0
 * @returns ε of so many rounds, by δ
 */
export function accountant(q: number, z: number): (rounds: number, delta: number) => number {
  let divergences: number[] | undefined;
  return (rounds, delta) => {
    // They take 10 ms, and whoever makes the strategy may not ask for ε.
    divergences ??= orders.map((order) => divergenceOf(order, q, z));
    const known = divergences;
    const least = orders.reduce((least, a, at) => {
      const epsilon = rounds * known[at]! + Math.log((a - 1) / a) - (Math.log(delta) + Math.log(a)) / (a - 1);
      return Math.min(least, epsilon);
    }, Number.POSITIVE_INFINITY);
    return Math.max(0, least);
  };
}

function divergenceOf(a: number, q: number, z: number): number {
  if (q === 1) return a / (2 * z * z);
  // ln C(a, j), from one j to the next.
  let choose = 0;
  const terms = Array.from({ length: a + 1 }, (_, j) => {
    if (j > 0) choose += Math.log((a - j + 1) / j);
    return choose + (a - j) * Math.log1p(-q) + j * Math.log(q) + (j * j - j) / (2 * z * z);
  });
  const top = terms.reduce((most, term) => Math.max(most, term));
  return (top + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - top), 0))) / (a - 1);
}
