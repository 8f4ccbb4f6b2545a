/** Cells of studies that nobody ran, and what is compared of them. */
import { type Comparison, comparisonOf } from "../../src/report/study/comparison.ts";
import type { Cell, Curve } from "../../src/study/cell.ts";
import type { AxisFacts } from "../../src/study/matrix/plan.ts";
import type { StudyCell, StudyRecord } from "../../src/study/study.ts";

/** Losses at k = 8 and k = 1 are `loss` and `loss + 1`. */
export function resultOf(seed: number, loss: number, changes: Partial<Cell> = {}) {
  const evaluations = [8, 1].map((budget) => ({
    budget,
    loss: budget === 8 ? loss : loss + 1,
    accuracy: 0.5,
    exactMatch: 0.25,
  }));
  const cell: Cell = {
    ...{
      seed,
      rounds: 4,
      virtualTime: 240_000,
      bytes: 3e8,
      invited: 40,
      counted: 40,
      distinctClients: 10,
      clients: 10,
    },
    tiers: [{ tier: "phone", invited: 40, counted: 40 }],
    evaluations,
    heldOut: 128,
    costs: { flops: 5e9, memory: 2e8, usefulBytes: 2e8 },
    fairness: null,
    stoppedAfter: null,
    violations: [],
    ...changes,
  };
  const curve: Curve = [0, 2, 4].map((round) => ({
    round,
    closedAt: round * 60_000,
    evaluations: evaluations.map((result) => ({ ...result, loss: result.loss + (4 - round) / 10 })),
  }));
  return { cell, digest: "abc", curve };
}

interface Place {
  readonly condition?: string;
  readonly at?: StudyCell["at"];
  readonly strategy?: string;
}

export function cell(method: string, seed: number, result: StudyCell["result"], place: Place = {}): StudyCell {
  const { condition = null, at = {}, strategy = "fedavg" } = place;
  const key = [method, condition, seed].join();
  return { key, method, condition, at, strategy, seed, changes: {}, run: null, result };
}

export const recordOf = (cells: readonly StudyCell[], axes: AxisFacts[] = [], notes: string[] = []): StudyRecord => ({
  ...{ name: "x", question: null, task: "llm", axes, notes, folder: "/nowhere", cells },
});
export const compared = (cells: readonly StudyCell[], against = "flame", axes: AxisFacts[] = []): Comparison =>
  comparisonOf(recordOf(cells, axes), { against, target: null, pairs: [] });
/** `plain` is worse by about 0.1, `other` differs by chance. */
export const three = [1, 2, 3, 4, 5].flatMap((seed) => [
  cell("flame", seed, resultOf(seed, 1 + seed / 100)),
  cell("plain", seed, resultOf(seed, 1.1 + seed / 100 + (seed % 2) / 1_000)),
  cell("other", seed, resultOf(seed, 1 + seed / 100 + (seed % 2 === 0 ? 0.02 : -0.013))),
]);

const rates = [0, 0.3, 0.6];
export const dropoutAxis: AxisFacts = {
  ...{ id: "dropout", title: "dropout", role: "condition" },
  levels: rates.map((value) => ({ label: `dropout ${100 * value} %`, value })),
};
export const alphaAxis: AxisFacts = {
  ...{ id: "data.partition.alpha", title: "alpha", role: "condition" },
  levels: [0.1, 10].map((value) => ({ label: `alpha ${value}`, value })),
};

/** Dropout harms `plain` more, and seeds lie further apart than that. */
export const stormy = [1, 2, 3, 4, 5].flatMap((seed) =>
  alphaAxis.levels.flatMap((alpha) =>
    dropoutAxis.levels.flatMap((dropout) =>
      ["flame", "plain"].map((method) => {
        const loss = 1 + seed / 5 + dropout.value! * (method === "flame" ? 0.1 : 0.6) + ((seed * 7) % 3) / 1e3;
        const at = { "data.partition.alpha": alpha, dropout };
        return cell(method, seed, resultOf(seed, loss), { condition: `${alpha.label} · ${dropout.label}`, at });
      }),
    ),
  ),
);

/** Seven methods, one of which fails at times, by how fast they learn. */
const rateAxis: AxisFacts = {
  ...{ id: "training.learningRate", title: "learningRate", role: "condition" },
  levels: [1e-4, 1e-3, 1e-2].map((value) => ({ label: `learningRate ${value}`, value })),
};
const names = ["flame", "fedavg", "hfedmoe", "mixture-of-ranks", "trimmed-mean(0.1)", "geometric-median", "own"];

/** Studies of each kind, as `flame compare`, `stress` and `sweep` make them. */
export const studies: Readonly<Record<string, Comparison>> = {
  compare: comparisonOf(
    recordOf(
      names.flatMap((name, at) =>
        [1, 2, 3, 4, 5].map((seed) => {
          const result = resultOf(seed, 1 + ((at * 5 + seed) % 7) / 40 + at / 20);
          return cell(name, seed, name === "own" && seed === 3 ? resultOf(seed, Number.NaN) : result);
        }),
      ),
    ),
    { against: "flame", target: null, pairs: ["bytes:loss-k1"] },
  ),
  stress: compared(stormy, "flame", [alphaAxis, dropoutAxis]),
  sweep: compared(
    rateAxis.levels.flatMap((rate) =>
      names.slice(0, 3).flatMap((name, at) =>
        [1, 2, 3].map((seed) => {
          const loss = 1 + at / 30 + Math.abs(Math.log10(rate.value! / 1e-3)) / 5 + ((seed * 7) % 3) / 40;
          return cell(name, seed, resultOf(seed, loss), { condition: rate.label, at: { [rateAxis.id]: rate } });
        }),
      ),
    ),
    "flame",
    [rateAxis],
  ),
};
