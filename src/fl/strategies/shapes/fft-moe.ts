/** FFT-MoE: the same pool of small experts for every client, of which each uses as many as it can. */
import * as z from "zod";
import { ScenarioError } from "../../../base/errors.ts";
import type { Affordable, Setting, Variant } from "../../../tasks/task.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import { add, cast, div, log, mul, reduceSum, scale } from "../../../tensor/ops/arithmetic.ts";
import { detach } from "../../../tensor/ops/discrete.ts";
import { split } from "../../../tensor/ops/layout.ts";
import {
  averagingFields,
  averagingWeight,
  discountField,
  emptyMean,
  foldMean,
  moved,
  type WeightedMean,
} from "../../averaging.ts";
import type { ClientMemory, Plan } from "../../plan.ts";
import type { Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { byBudgetField, valueFor } from "../ranks/ranks.ts";

interface Sum {
  readonly mean: WeightedMean;
  /** F, `[layers · experts]`. */
  readonly usage: Float64Array;
}

export const fftMoe = defineStrategy({
  type: "fft-moe",
  about: {
    adapts:
      "what is trained: small experts and a router beside each mixture, of which a client keeps as many as it can",
    formula: `
      h ← h + mixture(x) + Σ over the k_c most probable of g_m·(V_m·silu(U_m·x + u_m) + v_m),   p = softmax(R·x)
      loss + mean over layers of λ_l·KL(p̄_l ‖ q_l)       p̄ mean of p over the tokens of a batch, g = p ÷ Σ kept p
      q = (1 − ρ)/M + ρ·q̂,   q̂_m ∝ 1 ÷ (ε + F_m)          F_m = Σ_c k_c·f_cm of the last round: it asks for the starved
      λ_l = λ·(1 − H(f_l) ÷ log M)                       f share of the client's kept slots in its last counted round
      θ ← θ + Σ n_i·Δ_i ÷ Σ n_i                          shapes never differ, so this is FedAvg
    `,
    notes: `
      V and v start at zero: the first round begins with the base model. The base's own experts are not adapted. A client
      keeps k_c = kept·k_i ÷ K of the M small experts, one at least, or as many as its budget is given; with none its
      adapter is silent, nothing of it trains, and it sends nothing. Its budget counts in the base's experts only with
      activate "budget". A single weight divided by itself is 1 and teaches the router nothing, hence rawAtOne. The form of
      the small experts, what their sum is and the auxiliary loss are ours: call results "FFT-MoE with our auxiliary loss".
      "switch" puts M·Σ f_m·p̄_m in its place, f of the batch, at least 1.
    `,
    sends: "how often each small expert was used; receives q",
    keeps: "F; f of each client, with it",
    sources: [
      {
        by: "Hu et al.",
        title: "FFT-MoE: Efficient Federated Fine-Tuning for Foundation Models via Large-scale Sparse MoE",
        year: 2025,
        url: "https://arxiv.org/abs/2508.18663",
      },
      { by: "Fedus et al.", title: "Switch Transformers", year: 2021, url: "https://arxiv.org/abs/2101.03961" },
    ],
    certainty: "rebuilt: the auxiliary loss, of which only the purpose is known, and the form of the small experts",
    reduces: [],
  },
  options: {
    experts: z.int().min(1).max(256).default(8).describe("M, small experts of a layer"),
    width: z.int().min(1).max(4_096).default(16).describe("h, hidden units of each"),
    kept: z
      .union([z.int().min(1).max(256), byBudgetField(z.int().min(0).max(256))])
      .default(4)
      .describe(
        "k_c of a client with the full budget; others keep in proportion to theirs, and at least one. Or by budget, { 1: 0, 2: 1, 8: 4 }, where one not named has that of the next smaller; a client that keeps none only evaluates",
      ),
    activate: z
      .enum(["full", "budget"])
      .default("full")
      .describe("experts of the base that a token activates: as many as the base model does, or the client's budget"),
    gateNorm: z
      .enum(["renormalise", "raw"])
      .default("renormalise")
      .describe("whether the weights of kept experts are divided by their sum"),
    rawAtOne: z.boolean().default(true).describe("whether clients that keep one expert leave its weight raw"),
    auxiliary: z.enum(["kl", "switch", "none"]).default("kl").describe("what keeps the use of experts even"),
    lambda: z.number().min(0).default(0.01).describe("λ, the most that the auxiliary loss weighs"),
    dynamic: z.boolean().default(true).describe("whether λ falls to 0 as a client's use of experts becomes even"),
    rho: z.number().min(0).max(1).default(0.5).describe("ρ; 0 asks for even use"),
    epsilon: z.number().positive().default(1e-3).describe("ε"),
    sendOnlyUsed: z
      .boolean()
      .default(false)
      .describe("whether experts that a client did not train stay out of the average; uploads are charged in full"),
    weighting: averagingFields.weighting,
    ...discountField,
  },
  name: ({ experts, kept, auxiliary }) =>
    `fft-moe(M=${experts},k=${typeof kept === "number" ? kept : Object.values(kept).join("/")}${auxiliary === "kl" ? "" : `,${auxiliary}`})`,
  make(options) {
    const { experts, width, kept, lambda, rho, epsilon, weighting, discounts, sendOnlyUsed } = options;
    const most = Math.max(...(typeof kept === "number" ? [kept] : Object.values(kept)));
    if (most > experts)
      throw new ScenarioError(`strategy.kept is ${most}, expected at most ${experts}, strategy.experts`);
    const absentPolicy = sendOnlyUsed ? "renormalise" : "dilute";
    const weightOf = (update: Update, group: number) =>
      isSilent(update.plan) ? 0 : averagingWeight({ weighting, absentPolicy }, update, group);
    const auxiliary = lambda === 0 || experts === 1 ? "none" : options.auxiliary;
    return {
      needs: ["beside"],
      shape: { beside: { experts, width } },
      init: ({ layout }) => ({ vectors: { usage: new Float64Array(slotsOf(layout, experts)) }, notes: null }),
      plan({ budget, memory }, { vectors }, setting) {
        const kind = { variant: variantOf(budget, setting) };
        // It takes one step, which moves nothing.
        if (kind.variant.kept === 0) return { kind, effort: 1e-6, bytes: { up: 0 } };
        if (auxiliary === "none") return { kind };
        const slots = slotsOf(setting.layout, experts);
        const usage = vectors.usage ?? new Float64Array(slots);
        const pull = pullOf(memory, experts, slots / experts);
        if (auxiliary === "switch") return { kind, inputs: { pull } };
        const reference = new Float64Array(slots);
        for (let at = 0; at < slots; at += experts) {
          reference.set(referenceOf(usage.slice(at, at + experts), rho, epsilon), at);
        }
        return { kind, inputs: { reference, pull }, bytes: { down: 4 * (setting.layout.size + slots) } };
      },
      steps({ variant }, { layout }) {
        if (auxiliary === "none" || variant.kept === 0) return {};
        const slots = slotsOf(layout, experts);
        const layers = slots / experts;
        return {
          merges: false,
          given: { pull: layers, ...(auxiliary === "kl" && { reference: slots }) },
          objective({ loss, pass, given }) {
            const pulls = split(given.pull!, 0, new Array<number>(layers).fill(1));
            const of = auxiliary === "kl" ? split(given.reference!, 0, new Array<number>(layers).fill(experts)) : null;
            return pulls.reduce((sum, pull, layer) => {
              const pool = pass.pools![layer]!;
              const mean = meanProbability(pool.probabilities, pass.tokens!());
              const unbalanced = of === null ? switchLoss(mean, pool.counts) : divergence(mean, of[layer]!);
              return add(sum, scale(mul(pull, unbalanced), 1 / layers));
            }, loss);
          },
        };
      },
      reply({ counts, base, trained }, plan, { memory: { vectors, notes } }, { layout }) {
        if (isSilent(plan)) return { values: base, trained: trained.map(() => 0) };
        return { memory: { vectors: { ...vectors, usage: counts.slice(0, slotsOf(layout, experts)) }, notes } };
      },
      weight: (update, group) => weightOf(update, group) * update.discount,
      begin: (_server, { layout }): Sum => ({
        mean: emptyMean(layout),
        usage: new Float64Array(slotsOf(layout, experts)),
      }),
      fold(sum: Sum, update, { layout }) {
        foldMean(sum.mean, update, layout, discounts, weightOf);
        addUsage(sum.usage, update);
      },
      finish({ mean, usage }: Sum, server, { layout }) {
        if (mean.updates === 0) return server;
        const parameters = moved(mean, server.parameters, layout, (_, delta) => delta);
        return { ...server, parameters, vectors: { ...server.vectors, usage } };
      },
      deploy: (budget, { parameters }, setting) => ({
        models: [{ parameters, variant: variantOf(budget, setting) }],
      }),
    };

    function variantOf(budget: number, { budgets }: Affordable): Variant {
      const full = budgets.at(-1)!;
      const own = typeof kept === "number" ? Math.max(1, Math.round((kept * budget) / full)) : valueFor(kept, budget);
      const gates = own === 1 && options.rawAtOne ? "raw" : options.gateNorm;
      return { topK: options.activate === "full" ? full : budget, kept: own, gates };
    }

    /** λ of each layer. */
    function pullOf({ vectors }: ClientMemory, experts: number, layers: number): Float64Array {
      const { usage } = vectors;
      const isNew = usage === undefined || !options.dynamic;
      return Float64Array.from({ length: layers }, (_, layer) =>
        isNew ? lambda : lambda * unevenness(usage.slice(layer * experts, (layer + 1) * experts)),
      );
    }
  },
});

/** Groups are the experts of all layers, and after them a router for each layer. */
const slotsOf = ({ groups }: Setting["layout"], experts: number): number => (groups.length / (experts + 1)) * experts;

/** Whether a client keeps no small expert. */
const isSilent = ({ kind }: Pick<Plan, "kind">): boolean => kind.variant.kept === 0;

/** F ← F + k_c·f_c. Of k_c·tokens slots an expert has its count, so that is its count ÷ tokens. */
function addUsage(usage: Float64Array, { counts, units }: Update): void {
  if (units > 0) for (let slot = 0; slot < usage.length; slot++) usage[slot]! += counts[slot]! / units;
}

/** @internal q of one layer, from how often its experts were used. */
export function referenceOf(usage: ArrayLike<number>, rho: number, epsilon: number): Float64Array {
  const starved = Float64Array.from(usage, (used) => 1 / (epsilon + used));
  const total = starved.reduce((sum, value) => sum + value, 0);
  return starved.map((value) => (1 - rho) / starved.length + (rho * value) / total);
}

/** @internal 1 − H(f) ÷ log M, in [0, 1]: 0 where all experts are used alike, 1 where one is. */
export function unevenness(counts: ArrayLike<number>): number {
  const used = Float64Array.from(counts);
  const total = used.reduce((sum, count) => sum + count, 0);
  if (total === 0) return 1;
  const entropy = used.reduce((sum, count) => (count === 0 ? sum : sum - (count / total) * Math.log(count / total)), 0);
  return 1 - entropy / Math.log(used.length);
}

/** @internal p̄, `[experts]`, from `[tokens, experts]` and `[tokens, 1]`, 1 for a token and 0 for padding. */
export const meanProbability = (probabilities: Tensor, tokens: Tensor): Tensor =>
  div(reduceSum(mul(probabilities, tokens), [0]), reduceSum(tokens, [0]));

/** @internal KL(mean ‖ reference), `[1]`. */
export const divergence = (mean: Tensor, reference: Tensor): Tensor =>
  reduceSum(mul(mean, log(div(mean, reference))), [0], true);

/** M·Σ f_m·p̄_m, at least 1; no gradient through f. */
function switchLoss(mean: Tensor, counts: Tensor): Tensor {
  const used = detach(cast(counts, "float32"));
  const share = div(used, reduceSum(used, [0], true));
  return scale(reduceSum(mul(share, mean), [0], true), mean.shape[0] as number);
}
