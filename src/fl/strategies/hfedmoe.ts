/** HFedMoE: within its budget a client trains the experts that a batch says most about, and merging asks who uses them. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import type { ParameterLayout } from "../../tasks/layout.ts";
import { rowOf } from "../../tasks/layout.ts";
import type { StepContext } from "../../tasks/steps.ts";
import type { Setting } from "../../tasks/task.ts";
import { mul, reduceSum, scale, sub } from "../../tensor/ops/arithmetic.ts";
import { discountField, emptyMean, foldMean, moved, type WeightedMean } from "../averaging.ts";
import { bestOf, expertScores, overLayers, spreadExperts, usedIn } from "../experts/scores.ts";
import { hasTrained, type Update } from "../update.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

interface Sum {
  /** What is averaged apart: experts and routers, or their rows. */
  readonly layout: ParameterLayout;
  readonly mean: WeightedMean;
  /** Whether anybody uses an expert: S_glob. */
  readonly used: Uint8Array;
  /** Client and |S_c|. */
  readonly shares: (readonly [number, number])[];
}

const fields = {
  lambda: z
    .number()
    .min(0)
    .max(1)
    .default(0.5)
    .describe("λ: weight of the mean router probability, beside the largest"),
  beta: z.number().min(0).default(0.5).describe("β: how much an expert whose choice depends on the input loses"),
  tau: z
    .number()
    .min(0)
    .max(1)
    .exactOptional()
    .describe("τ: usage from which an expert counts as a client's; half of what even use would be unless given"),
  budgets: z
    .record(z.string().regex(/^\d+$/), z.number().min(0).max(1))
    .exactOptional()
    .describe(
      "share of all experts that a batch may train, by the client's budget k; k ÷ the model's top-k unless given",
    ),
  rankBy: z.enum(["ib", "importance"]).default("ib").describe("I, or s alone"),
  trainRouters: z.boolean().default(true).describe("whether routers train and are merged"),
  routerWeights: z
    .enum(["client", "row"])
    .default("client")
    .describe("one weight for a client's routers, or one a row"),
  normalise: z
    .boolean()
    .default(true)
    .describe("whether router weights are divided by their sum; the print does not, and scales routers by it"),
  participation: z
    .enum(["usage-and-trained", "usage"])
    .default("usage-and-trained")
    .describe("whether an expert that a client uses has to have been trained to count"),
  ...discountField,
};

export const hfedmoe = defineStrategy({
  type: "hfedmoe",
  about: {
    adapts: "which experts a batch trains, and whose experts and routers count",
    formula: `
      s(e) = λ·mean G_e + (1 − λ)·max G_e               G_e: router probability, over the tokens of a batch
      I(e) = s(e) − β·KL(e),   KL(e) = mean of G_e·log(G_e ÷ mean G_e)
      active: the C experts of the highest I that tokens of the batch reached, over all layers

      u_c(e) = mean G_e over a client's data after training,   S_c = {e: u_c(e) ≥ τ}
      expert   E_e ← Σ n_c·E_e(c) ÷ Σ n_c                over clients with e in S_c
      router   R ← Σ a(c)·R(c) ÷ Σ a(c)                  a(c) = Σ over e in S_c of u_c(e)·s_c(e) ÷ |∪ S|
    `,
    notes: `
      Every token is routed as the model was made, whatever the budget: C bounds the backward pass and the optimizer
      alone, gradients flow through inactive experts to the layers below, and no memory of the forward pass is saved.
      Experts that rest keep value and moments. s_c is the mean of s over batches. Nobody's expert, and a router that
      nobody has a weight for, stay. As printed, without normalise, what is trained of a router is scaled by Σ a(c); its
      frozen part is not. An upload is charged with all experts, the most that can have been active. The ratio
      |S_c| ÷ |∪ S| of the round, which no formula uses, is in the notes of the server's state. At a budget k the global
      model is evaluated with k experts a token, as others are; no client has trained with fewer than the model's own.
    `,
    sends: "u_c and s_c, two numbers an expert; routers travel with the model",
    keeps: null,
    sources: [
      {
        by: "Fang et al.",
        title: "HFedMoE: Resource-aware Heterogeneous Federated Learning with Mixture-of-Experts",
        year: 2026,
        url: "https://arxiv.org/abs/2601.00583",
      },
    ],
    certainty: "rebuilt: from notes on its equations; λ, β, τ and the budgets are ours",
    reduces: [],
  },
  options: fields,
  make(options) {
    const { lambda, beta, rankBy, trainRouters, routerWeights, normalise, participation, discounts } = options;
    if (!normalise && routerWeights === "row") {
      throw new ScenarioError("strategy.normalise is false, expected true with routerWeights row");
    }
    const scored = (at: StepContext, of: (scores: ReturnType<typeof expertScores>) => StepContext["loss"]) =>
      overLayers(at, (probabilities, present) => of(expertScores(probabilities, present, lambda)));
    const activeIn = (at: StepContext, most: number) => {
      const score = scored(at, ({ importance, redundancy }) =>
        rankBy === "ib" ? sub(importance, scale(redundancy, beta)) : importance,
      );
      return bestOf(score, usedIn(at), most);
    };
    return {
      needs: ["experts-only", "routers"],
      shape: trainRouters ? { routers: true } : {},
      plan({ budget }, _server, setting) {
        const { topK, count, perLayer } = mixtureOf(setting);
        const share = options.budgets?.[budget] ?? Math.min(1, budget / topK);
        return {
          kind: { variant: setting.variant(topK), active: Math.round(share * count) },
          bytes: { up: 4 * (setting.layout.size + 2 * count) },
          notes: { tau: options.tau ?? 0.5 / perLayer },
        };
      },
      steps: ({ active }, { layout }) => ({
        merges: false,
        moves: (at) => spreadExperts(layout, activeIn(at, active as number)),
        tallies: (at) => ({
          importance: scored(at, ({ importance }) => importance),
          active: activeIn(at, active as number),
        }),
        after: (at) => ({
          usage: overLayers(at, (probabilities, present) => reduceSum(mul(probabilities, present), [0])),
          tokens: reduceSum(at.pass.tokens!(), [0, 1], true),
        }),
      }),
      reply: ({ found, trained, steps }) => ({
        sent: {
          usage: found.usage!.map((sum) => sum / found.tokens![0]!),
          importance: found.importance!.map((sum) => sum / steps),
        },
        // Used is not trained.
        trained: trained.map((used, group) =>
          group < found.active!.length ? Number(found.active![group]! > 0) : used,
        ),
      }),
      weight: (update, group) => weightOf(update, group) * update.discount,
      begin(_server, setting): Sum {
        const layout = routerWeights === "row" ? inRows(setting.layout) : setting.layout;
        return { layout, mean: emptyMean(layout), used: new Uint8Array(mixtureOf(setting).count), shares: [] };
      },
      fold({ layout, mean, used, shares }: Sum, update, setting) {
        const users = usersOf(update);
        for (const [expert, uses] of users.entries()) if (uses) used[expert] = 1;
        shares.push([update.client, users.filter(Boolean).length]);
        if (routerWeights === "row") foldMean(mean, withRows(update, setting.layout), layout, discounts, rowWeightOf);
        else foldMean(mean, update, layout, discounts, weightOf);
      },
      finish({ layout, mean, used, shares }: Sum, server) {
        if (mean.updates === 0) return server;
        const all = used.reduce((sum, is) => sum + is, 0);
        const next = moved(mean, server.parameters, layout, (i, delta, group) => {
          if (normalise || group < used.length) return delta;
          // Σ a(c)·R(c), where R(c) is what was sent and no change of it.
          const value = server.parameters[i]!;
          return (mean.weight[group]! / all) * (value + delta) - value;
        });
        const consistency = Object.fromEntries(shares.map(([client, own]) => [client, all === 0 ? 0 : own / all]));
        return { ...server, parameters: next, notes: { consistency } };
      },
    };

    /** Of an expert, or of a client's routers. */
    function weightOf(update: Update, group: number): number {
      const users = usersOf(update);
      if (group >= users.length)
        return users.reduce((sum, uses, expert) => sum + (uses ? preference(update, expert) : 0), 0);
      const counts = users[group]! && (participation === "usage" || hasTrained(update, group));
      return counts ? update.examples : 0;
    }

    /** The same where each row of a router is averaged for itself. */
    function rowWeightOf(update: Update, group: number): number {
      const users = usersOf(update);
      if (group < users.length) return weightOf(update, group);
      const expert = group - users.length;
      return users[expert]! ? preference(update, expert) : 0;
    }
  },
});

/** Whether a client uses each expert: S_c. */
function usersOf({ sent, plan }: Update): readonly boolean[] {
  const { tau } = plan.notes as { readonly tau: number };
  return Array.from(sent.usage as Float64Array, (usage) => usage >= tau);
}

/** q_c(e) = u_c(e)·s_c(e). */
const preference = ({ sent }: Update, expert: number): number =>
  (sent.usage as Float64Array)[expert]! * (sent.importance as Float64Array)[expert]!;

function mixtureOf({ mixture, layout: { mixtures = [] } }: Setting) {
  const [first] = mixtures;
  if (mixture === undefined || first === undefined) {
    throw new ScenarioError("strategy hfedmoe trains a mixture of experts, and the model has none");
  }
  const perLayer = first.experts.length;
  return { topK: mixture.topK, perLayer, count: mixtures.length * perLayer };
}

/** The experts, and in the place of each router its rows. */
function inRows({ size, groups, mixtures = [] }: ParameterLayout): ParameterLayout {
  const rows = mixtures.flatMap(({ experts, router }) =>
    router === null
      ? []
      : experts.map((expert, row) => ({
          name: `${groups[expert]!.name}, row`,
          ranges: [rowOf(groups[router]!, experts, row)],
        })),
  );
  return {
    size,
    groups: [...mixtures.flatMap(({ experts }) => experts.map((expert) => groups[expert]!)), ...rows],
    pairs: [],
  };
}

/** A row has trained where its router has. */
function withRows(update: Update, { mixtures = [] }: ParameterLayout): Update {
  const experts = mixtures.flatMap((mixture) => mixture.experts.map((expert) => update.trained[expert]!));
  const rows = mixtures.flatMap(({ experts: own, router }) =>
    own.map(() => (router === null ? 0 : update.trained[router]!)),
  );
  return { ...update, trained: Uint8Array.from([...experts, ...rows]) };
}
