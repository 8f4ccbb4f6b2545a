/** SHEFL style: several global models, of which each client trains as many as it can. */
import * as z from "zod";
import type { Affordable, Setting, Variant } from "../../../tasks/task.ts";
import { averagingFields, averagingWeight, eachOf } from "../../averaging.ts";
import type { Deployment } from "../../deployment.ts";
import type { ClientView, Plan } from "../../plan.ts";
import { largest } from "../../sparse.ts";
import type { ServerState } from "../../strategy.ts";
import { hasTrained, type Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";

/** Means over the clients that train equally many members: ρ, which weighs them, may depend on who arrives. */
interface Mean {
  readonly delta: Float64Array;
  /** Weight folded into each coordinate's mean. */
  readonly weight: Float64Array;
}

interface Sum {
  /** By m_i. */
  readonly means: Map<number, Mean>;
  readonly trained: Set<number>;
  capacity: number;
  updates: number;
}

export const shefl = defineStrategy({
  type: "shefl",
  about: {
    adapts: "how many of several global models a client trains, and how much of them it sends",
    formula: `
      m_i = round(c_i·M) members, at least one             c_i budget ÷ full budget, π_i = m_i ÷ M
      sent = top_σi(Δ_ij + e_ij),   e_ij ← what was left out       σ_i = σ_min + (1 − σ_min)·c_i^q
      θ_j ← θ_j + Σ w_i·sent_ij ÷ Σ w_i                    over the clients that trained member j, w_i = n_i·π_i^ρ
      ρ = κ·(c₀ − mean c_i of the arrivals), in [−1, 1]    dynamic; −1 makes up for how seldom weak clients come round
      p = mean of the members' probabilities               of as many members as a budget can hold
    `,
    notes: `
      Members differ by their random A; each trains in an order of batches of its own. A member is a whole model: with
      activate "full" a client of the full budget does M times the work of one model, with "share" its members share its
      budget. Of the paper only abstracts could be read: firm are the ensemble, the number of members by capacity, an
      aggregation that accounts for it, and top-k with a ratio of the client's own. Call results "SHEFL-style".
    `,
    sends: null,
    keeps: "e with each client; when each member was last trained",
    sources: [
      {
        by: "Ryum, Gong, Kang",
        title: "Resource-Aware Aggregation and Sparsification in Heterogeneous Ensemble Federated Learning",
        year: 2025,
        url: "https://arxiv.org/abs/2508.08552",
      },
    ],
    certainty: "style of: SHEFL, whose formulas could not be read",
    reduces: [
      {
        options: { members: 1, sigmaMin: 1, rho: 0, activate: "budget" },
        to: { type: "fedavg" },
        gives: ["program", "bytes"],
      },
    ],
  },
  options: {
    members: z.int().min(1).max(64).default(4).describe("M"),
    assign: z
      .enum(["rotate", "random"])
      .default("rotate")
      .describe("neighbours on a ring that turns from round to round, or drawn anew each time"),
    activate: z
      .enum(["full", "budget", "share"])
      .default("full")
      .describe("experts that a token activates in each member: all of the base's, the budget, or the budget ÷ m_i"),
    rho: z
      .union([z.number().min(-4).max(4), z.literal("dynamic")])
      .default("dynamic")
      .describe("ρ; above 0 strong clients count more"),
    kappa: z.number().min(0).default(2).describe("κ of the dynamic ρ"),
    target: z.number().min(0).max(1).default(0.5).describe("c₀ of the dynamic ρ"),
    sigmaMin: z.number().gt(0).max(1).default(0.25).describe("σ_min, the least share of entries sent; 1 sends all"),
    sigmaPower: z.number().min(0).default(1).describe("q"),
    feedback: z.boolean().default(true).describe("whether what is left out is added to the next update of that member"),
    missing: z
      .enum(["zero", "skip"])
      .default("zero")
      .describe("whether an entry that was not sent counts as unchanged, or not at all"),
    ...averagingFields,
  },
  name: ({ members, rho }) => `shefl(M=${members},ρ=${rho})`,
  make(options) {
    const { members, assign, activate, rho, kappa, target, sigmaMin, sigmaPower, feedback, missing, discounts } =
      options;
    const heldBy = (capacity: number) => Math.min(members, Math.max(1, Math.round(capacity * members)));
    const capacityOf = (budget: number, { budgets }: Affordable) => budget / budgets.at(-1)!;
    const shareSent = (capacity: number) => Math.min(1, sigmaMin + (1 - sigmaMin) * capacity ** sigmaPower);

    const variantOf = (budget: number, held: number, { budgets }: Affordable): Variant => {
      if (activate === "budget") return { topK: budget };
      return { topK: activate === "full" ? budgets.at(-1)! : Math.max(1, Math.floor(budget / held)) };
    };

    const memberOf = (group: number, { groups }: { readonly groups: { readonly length: number } }): number =>
      Math.floor((group * members) / groups.length);

    const plan = ({ client, budget, round, draws }: ClientView, _server: ServerState, setting: Setting): Plan => {
      const capacity = capacityOf(budget, setting);
      const held = heldBy(capacity);
      const size = setting.layout.size / members;
      const first = round * held + client;
      const chosen =
        assign === "random"
          ? draws("members").sample(members, held)
          : Array.from({ length: held }, (_, i) => (first + i) % members);
      const sent = Math.min(4 * size, 8 * Math.ceil(shareSent(capacity) * size));
      return {
        kind: { variant: variantOf(budget, held, setting) },
        members: chosen.sort((a, b) => a - b),
        bytes: { down: 4 * size * held, up: sent * held },
      };
    };

    const weightOf = (update: Update, group: number): number => {
      const { members: chosen = [] } = update.plan;
      return chosen.includes(memberOf(group, { groups: update.trained })) ? averagingWeight(options, update, group) : 0;
    };

    return {
      needs: ["members"],
      shape: { members },
      init: () => ({ vectors: {}, notes: { trainedIn: new Array<number>(members).fill(0) } }),
      plan,
      reply(trained, { members: chosen = [] }, { budget, memory }, setting) {
        const { layout } = setting;
        const { values, base } = trained;
        const size = layout.size / members;
        const count = Math.ceil(shareSent(capacityOf(budget, setting)) * size);
        if (count === size) return {};
        const sent = base.slice();
        const residual = Float32Array.from(memory.vectors.owed ?? new Float32Array(layout.size));
        for (const member of chosen) {
          const owed = new Float64Array(size);
          const isTrained = (group: number) => trained.trained[group] === 1 && memberOf(group, layout) === member;
          eachOf(layout, isTrained, (i) => {
            owed[i - member * size] = values[i]! - base[i]! + (feedback ? residual[i]! : 0);
          });
          const kept = largest(owed, count);
          // What is owed to a group that was not trained waits until it is.
          eachOf(layout, isTrained, (i) => {
            const change = kept[i - member * size]!;
            if (change !== 0) sent[i] = base[i]! + change;
            residual[i] = owed[i - member * size]! - change;
          });
        }
        const { vectors, notes } = memory;
        return { values: sent, ...(feedback && { memory: { vectors: { ...vectors, owed: residual }, notes } }) };
      },
      /** With a dynamic ρ, which is known when all have arrived, as for ρ = 0. */
      weight(update, group) {
        const share = (update.plan.members ?? []).length / members;
        return weightOf(update, group) * update.discount * (rho === "dynamic" ? 1 : share ** rho);
      },
      begin: (): Sum => ({ means: new Map(), trained: new Set(), capacity: 0, updates: 0 }),
      fold(sum: Sum, update, setting) {
        const {
          plan: { members: chosen = [] },
        } = update;
        sum.updates++;
        sum.capacity += capacityOf(update.budget, setting);
        for (const member of chosen) sum.trained.add(member);
        const { size } = setting.layout;
        const mean = sum.means.get(chosen.length) ?? { delta: new Float64Array(size), weight: new Float64Array(size) };
        sum.means.set(chosen.length, mean);
        foldCoordinates(mean, update, setting, { weightOf, discounts, missing });
      },
      finish(sum: Sum, server, _setting, { round }) {
        if (sum.updates === 0) return server;
        const dynamic = Math.max(-1, Math.min(1, kappa * (target - sum.capacity / sum.updates)));
        const power = rho === "dynamic" ? dynamic : rho;
        const trainedIn = [...(server.notes as { readonly trainedIn: readonly number[] }).trainedIn];
        for (const member of sum.trained) trainedIn[member] = round;
        const means = [...sum.means].sort(([a], [b]) => a - b);
        const weighed = means.map(([held, mean]) => ({ ...mean, factor: (held / members) ** power }));
        return { ...server, parameters: movedBy(weighed, server.parameters), notes: { trainedIn } };
      },
      deploy(budget, { parameters }, setting) {
        const held = heldBy(capacityOf(budget, setting));
        const size = parameters.length / members;
        const of = (member: number): Deployment["models"][number] => ({
          parameters: parameters.slice(member * size, (member + 1) * size),
          variant: variantOf(budget, held, setting),
        });
        return { models: [of(0), ...Array.from({ length: held - 1 }, (_, i) => of(i + 1))], mix: "probabilities" };
      },
    };
  },
});

interface FoldOptions {
  weightOf(update: Update, group: number): number;
  readonly discounts: "damp" | "reweigh";
  readonly missing: "zero" | "skip";
}

/** A running mean of each coordinate: identical updates come out bit for bit. */
function foldCoordinates(
  { delta, weight }: Mean,
  update: Update,
  { layout }: Setting,
  { weightOf, discounts, missing }: FoldOptions,
): void {
  const { values, base, discount, clip = 1 } = update;
  for (const [group, { ranges }] of layout.groups.entries()) {
    const added = weightOf(update, group) * (discounts === "reweigh" ? discount : 1);
    if (added === 0) continue;
    const factor = hasTrained(update, group) ? clip * (discounts === "damp" ? discount : 1) : 0;
    for (const { start, end } of ranges) {
      for (let i = start; i < end; i++) {
        const change = values[i]! - base[i]!;
        if (missing === "skip" && change === 0) continue;
        const total = weight[i]! + added;
        weight[i] = total;
        delta[i] = delta[i]! + (added / total) * (factor * change - delta[i]!);
      }
    }
  }
}

/** Adds the weighted mean of means. */
function movedBy(means: readonly (Mean & { readonly factor: number })[], parameters: Float32Array): Float32Array {
  const next = parameters.slice();
  for (let i = 0; i < next.length; i++) {
    let total = 0;
    let mean = 0;
    for (const { delta, weight, factor } of means) {
      const added = factor * weight[i]!;
      if (added === 0) continue;
      total += added;
      mean += (added / total) * (delta[i]! - mean);
    }
    if (mean !== 0) next[i] = next[i]! + mean;
  }
  return next;
}
