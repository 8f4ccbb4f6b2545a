/** FedAsync's mixing: the global adapter moves a share of the way to each client's adapter, one after the other. */

import * as z from "zod";
import { proximal } from "../proximal.ts";
import type { Method } from "../strategy.ts";
import { hasTrained, sentValues, type Update } from "../update.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

/** Mixing is affine in θ, so several updates fold into one factor and one vector: θ_j becomes keep_j·θ_j + values_j. */
interface Mixture {
  readonly keep: Float64Array;
  readonly values: Float64Array;
  updates: number;
}

const weight = (update: Update, group: number): number => (hasTrained(update, group) ? update.discount : 0);

export const mix = defineStrategy({
  type: "mix",
  about: {
    adapts: "how updates add up: a share of the way to each client in turn (FedAsync)",
    formula: `
      θ_j ← (1 − a_i)·θ_j + a_i·θ_ij          a_i = discount of the update, in [0, 1]
    `,
    notes: `
      The discount is FedAsync's α·s(staleness), which the policy of that name gives. Unlike a mean of deltas, a stale
      update pulls towards where the client is and not along the way it went. A client does not pull at experts it has
      not trained. A proximal term keeps clients near what they received, as in FedProx.
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Xie, Koyejo, Gupta",
        title: "Asynchronous Federated Optimization",
        year: 2019,
        url: "https://arxiv.org/abs/1903.03934",
      },
    ],
    certainty: "as published",
    reduces: [],
  },
  options: {
    rho: z
      .number()
      .min(0)
      .default(0)
      .describe("ρ, half of which times ‖θ − θ₀‖² a client pays besides its loss; easyFL takes 0.005"),
  },
  make: ({ rho }): Method<Mixture> => ({
    ...(rho > 0 && { steps: () => proximal(rho) }),
    weight,
    begin: (_server, { layout: { groups, size } }) => ({
      keep: new Float64Array(groups.length).fill(1),
      values: new Float64Array(size),
      updates: 0,
    }),
    fold(sum, update, { layout: { groups } }) {
      const values = sentValues(update);
      sum.updates++;
      for (const [group, { ranges }] of groups.entries()) {
        const share = weight(update, group);
        if (share === 0) continue;
        sum.keep[group]! *= 1 - share;
        for (const { start, end } of ranges) mixRange(sum.values, values, start, end, share);
      }
    },
    finish(sum, server, { layout: { groups } }) {
      if (sum.updates === 0) return server;
      const parameters = server.parameters.slice();
      for (const [group, { ranges }] of groups.entries()) {
        const keep = sum.keep[group]!;
        if (keep === 1) continue;
        for (const { start, end } of ranges) {
          for (let i = start; i < end; i++) parameters[i] = keep * parameters[i]! + sum.values[i]!;
        }
      }
      return { ...server, parameters };
    },
  }),
});

/** mixture_i ← (1 − share)·mixture_i + share·values_i; four at a time takes less and gives the same numbers. */
function mixRange(mixture: Float64Array, values: Float32Array, start: number, end: number, share: number): void {
  const rest = 1 - share;
  let i = start;
  for (; i + 3 < end; i += 4) {
    mixture[i] = rest * mixture[i]! + share * values[i]!;
    mixture[i + 1] = rest * mixture[i + 1]! + share * values[i + 1]!;
    mixture[i + 2] = rest * mixture[i + 2]! + share * values[i + 2]!;
    mixture[i + 3] = rest * mixture[i + 3]! + share * values[i + 3]!;
  }
  for (; i < end; i++) mixture[i] = rest * mixture[i]! + share * values[i]!;
}
