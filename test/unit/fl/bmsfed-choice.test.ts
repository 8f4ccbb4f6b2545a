/** Whom BMSFed chooses, by distances between gradients. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bestOf, choose, costOf, coveredBy, uncovered } from "../../../src/fl/strategies/modalities/coverage.ts";
import { drawsOf, normals } from "../../support/two-view.ts";

const plain = (pairs: readonly (readonly [number, number | null])[]) => pairs.map(([client, m]) => [Number(client), m]);

test("with nothing between clients, and no leaning that counts, every choice of clients is equally likely", () => {
  const zeros = new Float64Array(25);
  const rho = Float64Array.of(9, 9, 0.2, 1, 3);
  const known = { joint: zeros, alone: [zeros, zeros], rho, imbalance: 4 } as const;
  const seen = new Map<string, number>();
  for (let seed = 0; seed < 4_000; seed++) {
    const picks = choose([0, 1, 2, 3, 4], 2, known, { threshold: 10, share: 0.1 }, drawsOf(seed));
    assert.ok(picks.every(({ modality }) => modality === null));
    const key = picks.map(({ client }) => client).join();
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }
  assert.equal(seen.size, 20);
  // 200 of each in the mean, with a deviation of 13.8; the seeds are fixed.
  for (const [key, times] of seen) assert.ok(Math.abs(times - 200) < 5 * 13.8, `${key}: ${times} times`);
});

test("clients that lean train the weak modality alone, by its own cover; the others both", () => {
  // Client 0 is near everybody in v; 1 is near everybody in all.
  const star = (middle: number) =>
    Float64Array.from({ length: 16 }, (_, i) =>
      i % 5 === 0 ? 0 : Math.floor(i / 4) === middle || i % 4 === middle ? 1 : 2,
    );
  const known = { joint: star(1), alone: [star(2), star(0)] as const, imbalance: 1.5 };
  const pick = (rho: readonly number[], imbalance = 1.5, threshold = 1) =>
    plain(
      choose(
        [0, 1, 2, 3],
        1,
        { ...known, rho: Float64Array.from(rho), imbalance },
        { threshold, share: 1 },
        drawsOf(1),
      ).map(({ client, modality }) => [client, modality]),
    );
  assert.deepEqual(pick([2, 1, 1, 1]), [[0, 1]], "v lags behind, and the client that covers it leans to a");
  assert.deepEqual(pick([1, 5, 5, 5]), [[1, null]], "the client that covers v does not");
  assert.deepEqual(pick([2, 1, 1, 1], 1.5, 2), [[1, null]], "it leans no more than the threshold");
  assert.deepEqual(pick([1, 1, 0.5, 1], 0.9), [[2, 0]], "a lags behind");
  assert.deepEqual(pick([1, 1, 0.5, 1], 1), [[2, 0]], "at 1 a is taken to");
  assert.deepEqual(pick([1, 1, 0.5, 1], 0.9, 2), [[1, null]]);
});

test("fewer than are wanted, and everybody where there are no more: each once, and distances stay as they are", () => {
  const distances = normals(5, 36).map(Math.abs);
  const kept = distances.slice();
  const known = {
    joint: distances,
    alone: [distances, distances],
    rho: new Float64Array(6).fill(2),
    imbalance: 2,
  } as const;
  const picks = choose([1, 3, 4], 5, known, { threshold: 1, share: 0 }, drawsOf(2));
  assert.deepEqual(picks.map(({ client }) => client).sort(), [1, 3, 4]);
  assert.deepEqual(distances, kept);
});

test("covers never grow, gains never rise, and the greedy gain is at least 1 − 1/e of the best", () => {
  for (let seed = 0; seed < 40; seed++) {
    const [count, size] = [1 + (seed % 4), 8];
    const points = Array.from({ length: size }, (_, i) => normals(100 * seed + i, 2));
    const between = (i: number, j: number) =>
      Math.hypot(points[i]![0]! - points[j]![0]!, points[i]![1]! - points[j]![1]!);
    const distances = Float64Array.from({ length: size * size }, (_, i) => between(Math.floor(i / size), i % size));
    // A cover to begin with, so that gains are finite.
    const first = uncovered(size).fill(10);
    let cover = first;
    let last = Infinity;
    const all = [...points.keys()] as [number, ...number[]];
    for (let pick = 0; pick < count; pick++) {
      const best = bestOf(all, distances, cover);
      const next = coveredBy(best, distances, cover);
      assert.ok(next.every((distance, i) => distance <= cover[i]!));
      const gain = sumOf(cover) - costOf(best, distances, cover);
      assert.ok(gain <= last + 1e-12, `seed ${seed}, pick ${pick}`);
      [cover, last] = [next, gain];
    }
    const best = Math.max(
      ...subsets(size, count).map((chosen) => {
        const covered = chosen.reduce((now, pick) => coveredBy(pick, distances, now), first);
        return sumOf(first) - sumOf(covered);
      }),
    );
    assert.ok(sumOf(first) - sumOf(cover) >= (1 - 1 / Math.E) * best, `seed ${seed}`);
  }
});

const sumOf = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
const subsets = (size: number, count: number, from = 0): number[][] =>
  count === 0
    ? [[]]
    : Array.from({ length: size - from }, (_, i) => from + i).flatMap((first) =>
        subsets(size, count - 1, first + 1).map((rest) => [first, ...rest]),
      );
