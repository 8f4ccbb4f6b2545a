/** Bulyan: Krum chooses whom to hear, and coordinate by coordinate those nearest to their median are averaged. */
import * as z from "zod";
import type { Range } from "../../../tasks/layout.ts";
import { eachCoordinate, meanOf, perGroup } from "../../kept-updates.ts";
import type { Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { nearness, squaredDistances } from "./nearness.ts";

export const bulyan = defineStrategy({
  type: "bulyan",
  about: {
    adapts: "which updates count, and of these which coordinates: Krum's choice, trimmed around its median",
    formula: `
      θ = n − 2f times: the update with Krum's lowest score among those left, over its max(1, left − f − 2) nearest
      Δ_c = mean of the θ − 2f chosen Δ_ic nearest to the median of the chosen, c a coordinate
    `,
    notes: `
      With f malicious clients among n that trained an expert it needs n ≥ 4f + 3. With fewer it is the trimmed mean
      without the f smallest and the f largest of each coordinate, and with 2f or fewer nothing changes. Ties go to the
      lower client, and to the smaller value.
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "El Mhamdi, Guerraoui, Rouault",
        title: "The Hidden Vulnerability of Distributed Learning in Byzantium",
        year: 2018,
        url: "https://arxiv.org/abs/1802.07927",
      },
    ],
    certainty: "as published",
    reduces: [
      {
        options: { malicious: 0 },
        to: { type: "fedavg", weighting: "uniform", absentPolicy: "renormalise" },
        gives: ["program", "values"],
      },
    ],
  },
  options: { malicious: z.int().min(0).default(1).describe("f, the number of malicious clients to withstand") },
  name: ({ malicious }) => `bulyan(f=${malicious})`,
  make({ malicious: f }) {
    const quorum = 4 * f + 3;
    return {
      ...perGroup(2 * f + 1, (trainers, group, layout, delta) => {
        const n = trainers.length;
        const { ranges } = layout.groups[group]!;
        if (f === 0 || n < quorum) eachCoordinate(trainers, group, layout, delta, (sorted) => meanOf(sorted, f, n - f));
        else
          eachCoordinate(chosen(trainers, ranges, f), group, layout, delta, (sorted) => meanNearMedian(sorted, 2 * f));
      }),
      idle: (updates) =>
        f > 0 && updates < quorum
          ? `${updates} updates are too few to choose from: ${updates > 2 * f ? `${f} at each end are dropped instead` : "nothing changes"}; it takes ${quorum}`
          : null,
    };
  },
});

/** n − 2f of them: whoever Krum would take, again and again. */
function chosen(updates: readonly Update[], ranges: readonly Range[], f: number): Update[] {
  const distances = squaredDistances(updates, ranges);
  const left = [...updates.keys()].sort(
    (a, b) => updates[a]!.client - updates[b]!.client || updates[a]!.participation - updates[b]!.participation,
  );
  return Array.from({ length: updates.length - 2 * f }, () => {
    const scores = left.map((a) =>
      nearness(
        Float64Array.from(left, (b) => distances[a]![b]!),
        Math.max(1, left.length - f - 2),
      ),
    );
    const best = scores.indexOf(Math.min(...scores));
    return updates[left.splice(best, 1)[0]!]!;
  });
}

/** The mean of all but `dropped`, those farthest from the median. */
function meanNearMedian(sorted: Float64Array, dropped: number): number {
  const n = sorted.length;
  const median = meanOf(sorted, (n - 1) >> 1, (n >> 1) + 1);
  let [from, to] = [0, n];
  while (to - from > n - dropped) {
    if (median - sorted[from]! > sorted[to - 1]! - median) from++;
    else to--;
  }
  return meanOf(sorted, from, to);
}
