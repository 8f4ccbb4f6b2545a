/**
 * Keyed randomness: a draw is a function of (seed, purpose, index, item, position) and of nothing else.
 *
 *   rng.at("dropout", round).at(clientId).bernoulli(0.1)
 *
 * gives a client the same luck whoever else takes part and on whichever thread it is asked. Asking twice gives the
 * same numbers twice: keep the `Draws` to go on in its stream.
 *
 * The generator is Philox4x32-10: ten rounds of multiply and xor turn a 128-bit counter into 128 random bits under a
 * 64-bit key. The key is a hash of seed and purpose; the counter holds block number, item and index, each in bits of
 * its own, so two streams of one purpose never overlap.
 * Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. https://doi.org/10.1145/2063384.2063405
 */
import { invariant } from "./errors.ts";

/** One stream of draws. */
export interface Draws {
  /** In [0, 1), a multiple of 2⁻⁵³. */
  uniform(): number;
  /** An integer in [0, n), each exactly as likely, for 1 ≤ n ≤ 2⁵³ − 1. */
  below(n: number): number;
  /** True with probability `p`. */
  bernoulli(p: number): boolean;
  /** Standard normal. */
  normal(): number;
  exponential(mean: number): number;
  /** Gamma with the given shape > 0 and scale 1. */
  gamma(shape: number): number;
  /** In [0, 1], with mean a / (a + b). */
  beta(a: number, b: number): number;
  /** exp of a normal with mean `mu` and standard deviation `sigma`; its median is exp(mu). */
  logNormal(mu: number, sigma: number): number;
  poisson(mean: number): number;
  /** Puts the elements in random order, in place, and returns the same array. */
  shuffle<List extends Shuffleable>(list: List): List;
  /** `count` distinct integers of 0…n−1 in random order, every ordered choice as likely; memory grows with `count`. */
  sample(n: number, count: number): number[];
  /** Symmetric Dirichlet: `n` shares that sum to 1. A small `alpha` gives nearly everything to a few. */
  dirichlet(alpha: number, n: number): Float64Array;
}

/** Any array, plain or typed. */
export interface Shuffleable {
  readonly length: number;
  [index: number]: unknown;
}

/** All streams of one purpose and index. */
export interface Lane {
  /** The stream of `item`, usually a client's id, from its beginning. `0 ≤ item < 2⁴⁸`. */
  at(item: number): Draws;
}

/** The root of all randomness of a run. */
export class Rng {
  readonly seed: number;
  /** Purposes are a fixed vocabulary in the source, so this stays small. */
  readonly #families = new Map<string, Family>();

  constructor(seed: number) {
    invariant(Number.isSafeInteger(seed) && seed >= 0, () => `seed is ${seed}, expected an integer in [0, 2^53)`);
    this.seed = seed;
  }

  /** `0 ≤ index < 2⁴⁸`; usually the round. */
  at(purpose: string, index = 0): Lane {
    let family = this.#families.get(purpose);
    if (family === undefined) {
      family = { key: keyOf(this.seed, purpose), last: null, words: 0, sum: 0, told: 0 };
      this.#families.set(purpose, family);
    }
    if (family.last?.index !== index) family.last = new PhiloxLane(family, index);
    return family.last;
  }

  /**
   * For each purpose that was drawn from since this was last asked: how many words in all, and the sum of their blocks. Equal
   * for two runs that drew the same, in whatever order.
   */
  drawn(): Record<string, string> {
    const changed = [...this.#families].filter(([, { words, told }]) => words > told);
    return Object.fromEntries(
      changed.map(([purpose, family]) => {
        family.told = family.words;
        return [purpose, `${family.words}:${(family.sum >>> 0).toString(16).padStart(8, "0")}`];
      }),
    );
  }
}

/**
 * One block: the four counter words become `out`, under a key of two words. Words are read as 32-bit patterns, and
 * written as signed integers, which V8 keeps in object fields without a box.
 *
 * @internal
 */
export function philox4x32(c0: number, c1: number, c2: number, c3: number, k0: number, k1: number, out: Int32Array) {
  for (let round = 0; round < 10; round++) {
    // The high words of 0xD2511F53·c0 and 0xCD9E8D57·c2, from products of 16-bit halves that fit in 32 bits.
    const a = c0 & 0xffff;
    const b = c0 >>> 16;
    const u = (Math.imul(b, 0x1f53) + (Math.imul(a, 0x1f53) >>> 16)) >>> 0;
    const v = (Math.imul(a, 0xd251) + (u & 0xffff)) >>> 0;
    const high0 = (Math.imul(b, 0xd251) + (u >>> 16) + (v >>> 16)) | 0;
    const c = c2 & 0xffff;
    const d = c2 >>> 16;
    const w = (Math.imul(d, 0x8d57) + (Math.imul(c, 0x8d57) >>> 16)) >>> 0;
    const x = (Math.imul(c, 0xcd9e) + (w & 0xffff)) >>> 0;
    const high1 = (Math.imul(d, 0xcd9e) + (w >>> 16) + (x >>> 16)) | 0;
    const low0 = Math.imul(c0, 0xd2511f53);
    const low1 = Math.imul(c2, 0xcd9e8d57);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

interface Key {
  readonly k0: number;
  readonly k1: number;
}

/** The lanes of one purpose. A round draws from the same one again and again. */
interface Family {
  readonly key: Key;
  last: PhiloxLane | null;
  /** 32-bit words that were drawn; the sum of the first word of each block, modulo 2³²; how many were told of. */
  words: number;
  sum: number;
  told: number;
}

const words = new Int32Array(4);

/** Philox in cipher-block chaining over the purpose's length and UTF-16 units, keyed with the seed. */
function keyOf(seed: number, purpose: string): Key {
  const low = seed | 0;
  const high = Math.floor(seed / 2 ** 32);
  philox4x32(purpose.length, 0, 0, 0, low, high, words);
  for (let start = 0; start < purpose.length; start += 8) {
    const pair = (at: number) => purpose.charCodeAt(start + at) | (purpose.charCodeAt(start + at + 1) << 16) | 0;
    const [w0, w1, w2, w3] = [words[0]! ^ pair(0), words[1]! ^ pair(2), words[2]! ^ pair(4), words[3]! ^ pair(6)];
    philox4x32(w0, w1, w2, w3, low, high, words);
  }
  return { k0: words[0]!, k1: words[1]! };
}

class PhiloxLane implements Lane {
  readonly index: number;
  readonly #family: Family;
  readonly #low: number;
  readonly #high: number;

  constructor(family: Family, index: number) {
    assertCoordinate("index", index);
    this.index = index;
    this.#family = family;
    this.#low = index | 0;
    this.#high = Math.floor(index / 2 ** 32);
  }

  at(item: number): Draws {
    assertCoordinate("item", item);
    return new PhiloxDraws(this.#family, item | 0, this.#low, this.#high | (Math.floor(item / 2 ** 32) << 16));
  }
}

function assertCoordinate(name: string, value: number): void {
  invariant(
    Number.isInteger(value) && value >= 0 && value < 2 ** 48,
    () => `random ${name} is ${value}, expected an integer in [0, 2^48)`,
  );
}

class PhiloxDraws implements Draws {
  readonly #family: Family;
  readonly #c1: number;
  readonly #c2: number;
  readonly #c3: number;
  #block = 0;
  #used = 4;
  #w0 = 0;
  #w1 = 0;
  #w2 = 0;
  #w3 = 0;

  constructor(family: Family, c1: number, c2: number, c3: number) {
    this.#family = family;
    this.#c1 = c1;
    this.#c2 = c2;
    this.#c3 = c3;
  }

  uniform(): number {
    const high = this.#word() >>> 5;
    return (high * 2 ** 26 + (this.#word() >>> 6)) * 2 ** -53;
  }

  below(n: number): number {
    invariant(Number.isSafeInteger(n) && n > 0, () => `below(${n}): expected an integer in [1, 2^53)`);
    // Values past the largest multiple of n would favour small results, so they are drawn again.
    if (n <= 2 ** 32) {
      const limit = 2 ** 32 - (2 ** 32 % n);
      for (;;) {
        const value = this.#word() >>> 0;
        if (value < limit) return value % n;
      }
    }
    const limit = 2 ** 53 - (2 ** 53 % n);
    for (;;) {
      const value = this.uniform() * 2 ** 53;
      if (value < limit) return value % n;
    }
  }

  bernoulli(p: number): boolean {
    return this.uniform() < p;
  }

  /** Marsaglia's polar method, which needs log and sqrt but no trigonometry. Its second value is not kept. */
  normal(): number {
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square > 0 && square < 1) return x * Math.sqrt((-2 * Math.log(square)) / square);
    }
  }

  exponential(mean: number): number {
    return -mean * this.#logUniform();
  }

  gamma(shape: number): number {
    return shape < 1 ? Math.exp(this.#logGamma(shape)) : this.#gammaFromOne(shape);
  }

  beta(a: number, b: number): number {
    const x = this.#logGamma(a);
    const y = this.#logGamma(b);
    return 1 / (1 + Math.exp(y - x));
  }

  logNormal(mu: number, sigma: number): number {
    return Math.exp(mu + sigma * this.normal());
  }

  poisson(mean: number): number {
    invariant(mean >= 0 && mean < 2 ** 53, () => `poisson(${mean}): expected a mean in [0, 2^53)`);
    return mean < 10 ? this.#poissonByProduct(mean) : this.#poissonByRejection(mean);
  }

  shuffle<List extends Shuffleable>(list: List): List {
    const cells: Shuffleable = list;
    for (let last = cells.length - 1; last > 0; last--) {
      const other = this.below(last + 1);
      const kept = cells[last];
      cells[last] = cells[other];
      cells[other] = kept;
    }
    return list;
  }

  /** A Fisher–Yates shuffle of 0…n−1 cut off after `count` steps; only the cells it moved are stored. */
  sample(n: number, count: number): number[] {
    invariant(
      Number.isInteger(count) && count >= 0 && count <= n,
      () => `sample(${n}, ${count}): expected an integer count in [0, ${n}]`,
    );
    const moved = new Map<number, number>();
    const chosen: number[] = [];
    for (let first = 0; first < count; first++) {
      const other = first + this.below(n - first);
      chosen.push(moved.get(other) ?? other);
      moved.set(other, moved.get(first) ?? first);
    }
    return chosen;
  }

  /** Normalises gammas by their logarithms: for `alpha` near 0 the gammas themselves would all be 0. */
  dirichlet(alpha: number, n: number): Float64Array {
    const shares = new Float64Array(n);
    let largest = -Infinity;
    for (let i = 0; i < n; i++) {
      shares[i] = this.#logGamma(alpha);
      largest = Math.max(largest, shares[i]!);
    }
    let sum = 0;
    for (let i = 0; i < n; i++) {
      shares[i] = Math.exp(shares[i]! - largest);
      sum += shares[i]!;
    }
    for (let i = 0; i < n; i++) shares[i]! /= sum;
    return shares;
  }

  #word(): number {
    this.#family.words++;
    switch (this.#used++) {
      case 1:
        return this.#w1;
      case 2:
        return this.#w2;
      case 3:
        return this.#w3;
      default:
        this.#refill();
        return this.#w0;
    }
  }

  #refill(): void {
    const { k0, k1 } = this.#family.key;
    philox4x32(this.#block, this.#c1, this.#c2, this.#c3, k0, k1, words);
    this.#family.sum = (this.#family.sum + words[0]!) | 0;
    this.#w0 = words[0]!;
    this.#w1 = words[1]!;
    this.#w2 = words[2]!;
    this.#w3 = words[3]!;
    this.#used = 1;
    this.#block = (this.#block + 1) | 0;
    invariant(this.#block !== 0, "a random stream ended after 2^34 words; draw from more items");
  }

  /** Logarithm of a uniform in (0, 1]. */
  #logUniform(): number {
    return Math.log(1 - this.uniform());
  }

  /** For shape < 1: G(shape) = G(shape + 1) · U^(1/shape), whose logarithm does not underflow. */
  #logGamma(shape: number): number {
    invariant(shape > 0 && shape < Infinity, () => `gamma shape is ${shape}, expected a positive number`);
    if (shape >= 1) return Math.log(this.#gammaFromOne(shape));
    return Math.log(this.#gammaFromOne(shape + 1)) + this.#logUniform() / shape;
  }

  /** Marsaglia & Tsang, "A simple method for generating gamma variables", 2000; for shape ≥ 1. */
  #gammaFromOne(shape: number): number {
    invariant(shape >= 1 && shape < Infinity, () => `gamma shape is ${shape}, expected a positive number`);
    const d = shape - 1 / 3;
    const c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = this.normal();
      const root = 1 + c * x;
      if (root <= 0) continue;
      const v = root * root * root;
      if (this.#logUniform() < (x * x) / 2 + d - d * v + d * Math.log(v)) return d * v;
    }
  }

  /** Counts the uniforms whose product stays above exp(−mean); mean + 1 of them on average. */
  #poissonByProduct(mean: number): number {
    const floor = Math.exp(-mean);
    let count = 0;
    for (let product = 1 - this.uniform(); product > floor; product *= 1 - this.uniform()) count++;
    return count;
  }

  /** Algorithm PTRS of Hörmann, "The transformed rejection method for generating Poisson random variables", 1993. */
  #poissonByRejection(mean: number): number {
    const b = 0.931 + 2.53 * Math.sqrt(mean);
    const a = -0.059 + 0.02483 * b;
    const inverseAlpha = 1.1239 + 1.1328 / (b - 3.4);
    const quick = 0.9277 - 3.6224 / (b - 2);
    const logMean = Math.log(mean);
    for (;;) {
      const u = this.uniform() - 0.5;
      const v = this.uniform();
      const us = 0.5 - Math.abs(u);
      const k = Math.floor(((2 * a) / us + b) * u + mean + 0.43);
      if (us >= 0.07 && v <= quick) return k;
      if (k < 0 || (us < 0.013 && v > us)) continue;
      const density = k * logMean - mean - logFactorial(k);
      if (Math.log((v * inverseAlpha) / (a / (us * us) + b)) <= density) return k;
    }
  }
}

/** ln k!, by Stirling's series from 10 on (error below 1e-10 there). */
function logFactorial(k: number): number {
  if (k < 10) {
    let product = 1;
    for (let factor = 2; factor <= k; factor++) product *= factor;
    return Math.log(product);
  }
  const square = k * k;
  const series = (1 / 12 - (1 / 360 - 1 / (1260 * square)) / square) / k;
  return k * Math.log(k) - k + Math.log(2 * Math.PI * k) / 2 + series;
}
