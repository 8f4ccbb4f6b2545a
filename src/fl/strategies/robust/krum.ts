/** Krum and Multi-Krum: trust the updates that have the closest neighbours. */
import * as z from "zod";
import type { Range } from "../../../tasks/layout.ts";
import { addDelta, averagingFields } from "../../averaging.ts";
import { deltaFactor, keeping, perGroup } from "../../kept-updates.ts";
import type { Method } from "../../strategy.ts";
import { hasTrained, type Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { nearness, squaredDistances } from "./nearness.ts";

const blanchard = {
  by: "Blanchard et al.",
  title: "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
  year: 2017,
  url: "https://arxiv.org/abs/1703.02757",
};

const notes = `
  With f malicious clients among n it needs n ≥ 2f + 3; below that, nothing changes. "scope" is what a vector is:
  each expert over the clients that trained it, or the whole adapter with untrained experts as zeros.
`;

const krumFields = {
  malicious: z.int().min(0).default(1).describe("f, the number of malicious clients to withstand"),
  scope: z.enum(["expert", "adapter"]).default("expert").describe("what a vector is"),
};

export const krum = defineStrategy({
  type: "krum",
  about: {
    adapts: "which updates count: the one with the closest neighbours",
    formula: `
      score_i = Σ ‖Δ_i − Δ_l‖² over the n − f − 2 updates l nearest to i
      Δ = that with the lowest score; ties go to the lower client
    `,
    notes,
    sends: null,
    keeps: null,
    sources: [blanchard],
    certainty: "as published",
    reduces: [],
  },
  options: krumFields,
  name: ({ malicious }) => `krum(f=${malicious})`,
  make: (options) => selecting(options, () => 1),
});

export const multiKrum = defineStrategy({
  type: "multi-krum",
  about: {
    adapts: "which updates count: those with the closest neighbours",
    formula: `
      score_i = Σ ‖Δ_i − Δ_l‖² over the n − f − 2 updates l nearest to i
      Δ = mean of the m with the lowest scores; ties go to the lower clients
    `,
    notes,
    sends: null,
    keeps: null,
    sources: [blanchard],
    certainty: "as published",
    reduces: [
      { options: { malicious: 0, keep: 1 }, to: { type: "krum", malicious: 0 }, gives: ["program", "bytes"] },
      {
        options: { malicious: 0, keep: 1_000, scope: "adapter" },
        to: { type: "fedavg", weighting: "uniform" },
        gives: ["program", "values"],
      },
    ],
  },
  options: {
    ...krumFields,
    keep: z.int().min(1).exactOptional().describe("m, the number of updates to average; n − f − 2 unless given"),
    weighting: averagingFields.weighting
      .unwrap()
      .default("uniform")
      .describe("of those; by examples, as Flower does, hands attackers a lever"),
  },
  name: ({ malicious }) => `multi-krum(f=${malicious})`,
  make(options) {
    const weightOf = ({ examples }: Update) => (options.weighting === "examples" ? examples : 1);
    return selecting(options, (n) => Math.min(n, options.keep ?? n - options.malicious - 2), weightOf);
  },
});

/**
 * @param keep how many of n updates are averaged
 * @param weightOf of each of these
 */
function selecting(
  { malicious, scope }: z.output<z.ZodObject<typeof krumFields>>,
  keep: (n: number) => number,
  weightOf: (update: Update) => number = () => 1,
): Method<Update[]> {
  const quorum = 2 * malicious + 3;
  const idle = (updates: number): string | null =>
    updates < quorum ? `${updates} updates are too few to choose from, and change nothing; it takes ${quorum}` : null;
  if (scope === "expert") {
    const rule = perGroup(quorum, (trainers, group, layout, delta) => {
      const { ranges } = layout.groups[group]!;
      writeMean(lowest(trainers, ranges, malicious, keep(trainers.length)), ranges, delta, weightOf);
    });
    return { ...rule, idle };
  }
  const rule = keeping(quorum, (kept, server, layout) => {
    const chosen = lowest(kept, [{ start: 0, end: layout.size }], malicious, keep(kept.length));
    const parameters = server.parameters.slice();
    const delta = new Float64Array(layout.size);
    for (const [group, { ranges }] of layout.groups.entries()) {
      // A client that did not train a group counts as unchanged in it.
      if (!chosen.some((update) => hasTrained(update, group))) continue;
      writeMean(chosen, ranges, delta, weightOf);
      addDelta(parameters, delta, ranges);
    }
    return { ...server, parameters };
  });
  return { ...rule, idle };
}

/** The `count` updates with the lowest Krum scores, in order of score. */
function lowest(updates: readonly Update[], ranges: readonly Range[], malicious: number, count: number): Update[] {
  const scores = krumScores(updates, ranges, malicious);
  return updates
    .map((update, index) => ({ update, score: scores[index]! }))
    .sort(
      (a, b) =>
        a.score - b.score || a.update.client - b.update.client || a.update.participation - b.update.participation,
    )
    .slice(0, count)
    .map(({ update }) => update);
}

/** @internal One score per update: summed squared distances to its n − f − 2 nearest others. */
export function krumScores(updates: readonly Update[], ranges: readonly Range[], malicious: number): Float64Array {
  const distances = squaredDistances(updates, ranges);
  return Float64Array.from(updates, (_, a) => nearness(distances[a]!, updates.length - malicious - 2));
}

/** The mean delta of `chosen` on `ranges`. */
function writeMean(
  chosen: readonly Update[],
  ranges: readonly Range[],
  delta: Float64Array,
  weightOf: (update: Update) => number,
): void {
  for (const { start, end } of ranges) delta.fill(0, start, end);
  let total = 0;
  for (const update of chosen) {
    const [factor, weight] = [deltaFactor(update), weightOf(update)];
    total += weight;
    for (const { start, end } of ranges) {
      for (let i = start; i < end; i++) {
        delta[i]! += ((factor * (update.values[i]! - update.base[i]!) - delta[i]!) * weight) / total;
      }
    }
  }
}
