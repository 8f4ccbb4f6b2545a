/** Do 95 % intervals hold the truth in 95 % of all studies? Ten thousand synthetic ones of each kind, keyed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Draws, Rng } from "../../../src/base/random.ts";
import { estimate, type Form } from "../../../src/report/statistics/intervals.ts";

const studies = 10_000;

/** Of the intervals that there are. */
function coverage(name: string, form: Form, seeds: number, truth: number, draw: (draws: Draws) => number): number {
  const draws = new Rng(1).at(name).at(seeds);
  const found = Array.from({ length: studies }, () => {
    const values = Array.from({ length: seeds }, () => draw(draws));
    return estimate(values, form)!.interval;
  }).filter((interval) => interval !== null);
  assert.ok(found.length > 0.99 * studies);
  return found.filter(({ low, high }) => low <= truth && truth <= high).length / found.length;
}

/** 95 ± 2 %. */
const assertCovers = (share: number, what: string): void =>
  assert.ok(Math.abs(share - 0.95) <= 0.02, `${what}: ${(100 * share).toFixed(1)} %`);

for (const seeds of [3, 5, 10]) {
  test(`intervals of ${seeds} seeds hold a mean difference`, () =>
    assertCovers(
      coverage("normal", "real", seeds, 0, (draws) => draws.normal()),
      "normal",
    ));

  test(`intervals of ${seeds} seeds hold a mean time whose runs differ by a tenth or a third`, () => {
    for (const sigma of [0.1, 0.3]) {
      const share = coverage("times", "positive", seeds, 1, (draws) => draws.logNormal(-(sigma ** 2) / 2, sigma));
      assertCovers(share, `times ${sigma}`);
    }
  });

  test(`intervals of ${seeds} seeds hold a mean share found on 128 examples, rare or common`, () => {
    for (const [a, b] of [
      [40, 40],
      [30, 5],
      [60, 2],
      [2, 60],
    ] as const) {
      const share = coverage("shares", "share", seeds, a / (a + b), (draws) => {
        const p = draws.beta(a, b);
        let hits = 0;
        for (let example = 0; example < 128; example++) if (draws.uniform() < p) hits++;
        return hits / 128;
      });
      assertCovers(share, `beta(${a}, ${b})`);
    }
  });
}
