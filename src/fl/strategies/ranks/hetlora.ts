/** HetLoRA: each client a rank of its own, padded averaging weighted by what a client learned, self-pruning. */
import * as z from "zod";
import type { ParameterLayout } from "../../../tasks/layout.ts";
import { scalarsOf } from "../../../tasks/scope.ts";
import { add, scale as times } from "../../../tensor/ops/arithmetic.ts";
import { discountField } from "../../averaging.ts";
import { squaredProductNorm } from "../../low-rank/products.ts";
import { hasTrained, type Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { emptyPadded, foldPadded, padded } from "./padded-mean.ts";
import {
  deployingGlobally,
  planOfRank,
  rankFields,
  rankFor,
  rankOfPlan,
  rankProblems,
  scaleField,
  scaleOfPlan,
} from "./ranks.ts";
import { tailStrength, tailStrengthOf } from "./tail-strength.ts";

export const hetlora = defineStrategy({
  type: "hetlora",
  about: {
    adapts: "the rank, to what a client affords and in the end needs; clients weigh by the size of what they learned",
    formula: `
      B ← Σ_k w_k·pad(B_k),   A ← Σ_k w_k·pad(A_k),   w_k = f_k ÷ Σ f,   f_k = ‖B_k·A_k‖ over what the client trained
      client loss + λ·τ,   τ = Σ over pairs of ‖B tail‖·‖A tail‖, the tail components ⌊γ·r_k⌋ to r_k − 1
      r_k ← max(r_min, ⌊γ·r_k⌋) where local training made τ smaller
    `,
    notes: `
      Clients receive the first r_k components. A component that no client of a round has is padded to zero and lost
      (tailPolicy zero, as published). A pruned rank never rises again. Uploads are charged for the rank before pruning.
    `,
    sends: "its rank, and the norm of its product",
    keeps: "the rank of each client",
    sources: [
      {
        by: "Cho et al.",
        title: "Heterogeneous LoRA for Federated Fine-tuning of On-Device Foundation Models",
        year: 2024,
        url: "https://arxiv.org/abs/2401.06432",
      },
    ],
    certainty: "rebuilt: constants and the floor in the tail, from re-implementations",
    reduces: [],
  },
  options: {
    ...rankFields,
    ...scaleField,
    prune: z.boolean().default(true).describe("whether clients drop the tail of their rank"),
    gamma: z.number().gt(0).lt(1).default(0.99).describe("γ; with ranks up to 100 the tail is one component"),
    lambda: z.number().min(0).default(1e-3).describe("λ; another re-implementation takes 1e-2"),
    minRank: z.number().int().min(1).default(1).describe("r_min; the paper's is believed to be 5"),
    weighting: z.enum(["norm", "examples", "uniform"]).default("norm").describe("of clients: f_k, n_k, or all alike"),
    scoreScope: z
      .enum(["client", "module"])
      .default("client")
      .describe("what f_k is the norm of: all that a client trained, or each pair for itself"),
    scoreFloor: z.number().min(0).default(1e-8).describe("f_k up to which a client has learned nothing"),
    tailPolicy: z
      .enum(["zero", "keep", "renormalise"])
      .default("zero")
      .describe(
        "components that some lack: padded; padded, but kept where nobody has them; averaged over those who have them, which is another method's rule",
      ),
    ...discountField,
  },
  name: ({ prune, lambda }) => (prune || lambda > 0 ? "hetlora" : "hetlora(fixed)"),
  make(options) {
    const { prune, gamma, lambda, minRank, weighting, scoreScope, scoreFloor, tailPolicy, discounts } = options;
    const tailOf = (rank: number) => ({ from: Math.floor(gamma * rank), until: rank });
    const weigh = (norm: number, { examples }: Pick<Update, "examples">): number => {
      if (weighting !== "norm") return weighting === "uniform" ? 1 : examples;
      // Where nobody has learned anything examples decide; beside a norm they vanish in float64.
      return norm > scoreFloor ? norm : examples * 1e-30;
    };
    return {
      needs: ["low-rank"],
      problems: (setting) => rankProblems(options, setting),
      weight: (update, group) =>
        hasTrained(update, group) ? weigh(scoreOf(update, "groups", group), update) * update.discount : 0,
      plan(client, { parameters }, setting) {
        const known = client.memory.notes as { readonly rank: number } | null;
        const rank = known?.rank ?? rankFor(client.budget, options, setting);
        const plan = planOfRank(client, rank, options, setting);
        const { from, until } = tailOf(rank);
        const scale = Math.sqrt(scaleOfPlan(plan));
        return {
          ...plan,
          ...(lambda > 0 && { inputs: { tailFrom: from, tailUntil: until } }),
          ...(scale !== 1 && { start: parameters.map((value) => value / scale) }),
          bytes: { up: 4 * scalarsOf(setting.layout, plan.scope) + 8 + scoreBytes(setting.layout, scoreScope) },
        };
      },
      steps(_kind, { layout }) {
        if (lambda === 0) return {};
        return {
          given: { tailFrom: "scalar", tailUntil: "scalar" },
          objective: ({ loss, parameters, given }) => {
            const tail = { from: given.tailFrom!, until: given.tailUntil! };
            return add(loss, times(tailStrengthOf(parameters, layout, tail), lambda));
          },
        };
      },
      reply({ values, base, trained }, plan, _client, { layout }) {
        const had = rankOfPlan(plan, layout);
        const tail = tailOf(had);
        const isWeaker = tailStrength(values, layout, tail) < tailStrength(base, layout, tail);
        const rank = prune && isWeaker ? Math.max(Math.min(minRank, had), tail.from) : had;
        const scale = scaleOfPlan(plan);
        const squares = layout.pairs.map((pair) =>
          trained[pair.group] === 1 ? scale ** 2 * squaredProductNorm(values, pair, rank) : 0,
        );
        return {
          sent: { rank, ...scoresOf(squares, layout, scoreScope) },
          ...(rank < had && {
            values: withoutTail(values, base, layout, rank),
            memory: { vectors: {}, notes: { rank } },
          }),
        };
      },
      begin: (_server, { layout }) => emptyPadded(layout),
      fold(sum, update, { layout }) {
        foldPadded(sum, update, layout, discounts, {
          rank: update.sent.rank as number,
          scale: Math.sqrt(scaleOfPlan(update.plan)),
          weightOf: (pair) =>
            hasTrained(update, layout.pairs[pair]!.group) ? weigh(scoreOf(update, "pairs", pair), update) : 0,
        });
      },
      finish: (sum, server, { layout }) =>
        sum.mean.updates === 0 ? server : { ...server, parameters: padded(sum, server.parameters, layout, tailPolicy) },
      ...deployingGlobally(options),
    };
  },
});

/** f_k of a pair or a group. */
const scoreOf = ({ sent }: Update, of: "pairs" | "groups", at: number): number =>
  (sent.score as number | undefined) ?? (sent[of] as Float64Array)[at]!;

/** f_k as it weighs each pair, and each group in the books: one number, or one for each. */
function scoresOf(squares: readonly number[], { pairs, groups }: ParameterLayout, scope: "client" | "module") {
  if (scope === "client") return { score: Math.sqrt(squares.reduce((sum, square) => sum + square, 0)) };
  const ofGroups = new Float64Array(groups.length);
  for (const [pair, { group }] of pairs.entries()) ofGroups[group]! += squares[pair]!;
  return { pairs: Float64Array.from(squares, Math.sqrt), groups: ofGroups.map(Math.sqrt) };
}

const scoreBytes = ({ pairs, groups }: ParameterLayout, scope: "client" | "module"): number =>
  scope === "client" ? 8 : 4 * (pairs.length + groups.length);

/** Components from `rank` on are not sent: they are what was received. */
function withoutTail(values: Float32Array, base: Float32Array, { pairs }: ParameterLayout, rank: number): Float32Array {
  const sent = values.slice();
  for (const pair of pairs) {
    const { a, b, inputs, outputs } = pair;
    for (let i = a + rank * inputs; i < a + pair.rank * inputs; i++) sent[i] = base[i]!;
    for (let row = 0; row < outputs; row++) {
      for (let i = b + row * pair.rank + rank; i < b + (row + 1) * pair.rank; i++) sent[i] = base[i]!;
    }
  }
  return sent;
}
