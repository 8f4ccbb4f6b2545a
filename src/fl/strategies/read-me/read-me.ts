/** Read-ME: domains say which channels an expert keeps; one router ahead of all layers learns to choose among them. */
import * as z from "zod";
import type { Problem } from "../../../base/problem.ts";
import type { ParameterLayout } from "../../../tasks/layout.ts";
import { cutOf, keptIn, masksOf, routerSize } from "../../../tasks/refactor/masks.ts";
import { magnitudeOf } from "../../../tasks/refactor/overlap.ts";
import { spread } from "../../../tasks/spread.ts";
import type { StepContext, Steps } from "../../../tasks/steps.ts";
import type { Affordable, Variant } from "../../../tasks/task.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import { div, mul, reduceSum } from "../../../tensor/ops/arithmetic.ts";
import { concat } from "../../../tensor/ops/layout.ts";
import { averagingBy, averagingFields, type WeightedMean } from "../../averaging.ts";
import type { Plain } from "../../plan.ts";
import type { ServerState } from "../../strategy.ts";
import type { Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { domainsOf, maskOf, pooled, type Statistics } from "./domains.ts";
import { crossEntropyTo, rankTarget, shareTarget } from "./target.ts";

interface Sum {
  readonly mean: WeightedMean;
  /** What clients measured, with their numbers. */
  readonly measured: Measured[];
}

type Measured = Statistics & { readonly client: number };

export const readMe = defineStrategy({
  type: "read-me",
  about: {
    adapts: "a dense model: it is cut into experts by domain, and one router before all layers learns to choose",
    formula: `
      u_l = mean of |act_l| over a client's tokens         once, before the first round of training
      clients whose u has the largest cosine become one domain, until E are left;   u^c = Σ n_i·u_i ÷ Σ n_i, n tokens
      m_l^c = 1 for the ρF channels of the largest u_l^c   expert c keeps these of layer l
      G ← FedAvg of −Σ q·log softmax(G(x_≤t))              every token of a client; the model is frozen
      share   q = softmax(β·Σ_l |act_l|·m_l^c ÷ ‖act_l‖₁)
      ranks   q = Σ_l ¾·smooth(argmax o_l) + ¼·softmax(10·o_l),   o_l = i_l·(m_l^c − r_l)
    `,
    notes: `
      r_l is what all experts keep; i_l says how many of five rank thresholds of the signed act_l a channel reaches, 1 ÷ 3N
      each, N the channels that only the first expert has to itself or with some. The loss is the divergence KL(q ‖
      softmax G) but for the entropy of q. Experts are numbered by the tokens of their domains, most first, and a device
      with b slots has the first b. An expert for whose domain nobody is left is cut by everybody's statistics. The
      published code keeps one channel fewer, and trains the experts as well: 200 steps after every 100 of the router. Here
      they stay as they were cut, unless rounds of the router and of the experts alternate: in the latter clients descend the
      loss of their text in the gains of the channels that the experts of their slots keep, 1 as they are cut, and not in
      matrices, which all experts share (ours).
    `,
    sends: "u and the number of tokens, once; the router in every round; receives the masks, a bit for each channel",
    keeps: "the masks",
    sources: [
      {
        by: "Cai et al.",
        title: "Read-ME: Refactorizing LLMs as Router-Decoupled Mixture of Experts with System Co-Design",
        year: 2024,
        url: "https://arxiv.org/abs/2410.19123",
      },
    ],
    certainty:
      "style of: a method that is not federated; that a client is a domain, the clusters and the target share are ours",
    reduces: [],
  },
  options: {
    target: z
      .enum(["share", "ranks"])
      .default("share")
      .describe(
        "what the router learns: the share of the activation that a mask covers, or the published code's ranks",
      ),
    beta: z.number().positive().default(10).describe("β of the target share"),
    alternate: z
      .strictObject({
        router: z.int().min(1).default(1).describe("rounds of the router"),
        experts: z.int().min(1).default(2).describe("rounds of the experts after them, and so on in turn"),
      })
      .exactOptional()
      .describe("whether experts train as well, and how many rounds; without it they stay as they are cut"),
    ...averagingFields,
  },
  name: ({ target, alternate }) => `read-me(${target}${alternate ? `,${alternate.router}:${alternate.experts}` : ""})`,
  make({ target, beta, alternate, ...options }) {
    const { weight, begin, fold, finish } = averagingBy(options);
    const gains = alternate ? { gains: 1 } : {};
    return {
      ...(alternate && {
        deploy: (budget: number, { parameters }: ServerState, setting: Affordable) => ({
          models: [{ parameters, variant: { ...setting.variant(budget), ...gains } }],
        }),
      }),
      needs: ["cut"],
      ownObjective: true,
      prelude: true,
      problems({ layout, clients }): readonly Problem[] {
        const { length } = cutOf(layout).experts;
        return clients < length ? [{ path: "", text: `has ${clients} clients to cut ${length} experts by` }] : [];
      },
      init: () => ({ vectors: {}, notes: { domains: null } }),
      plan({ round, budget }, { notes }, setting) {
        const { layout } = setting;
        const { layers, channels, experts, kept } = cutOf(layout);
        const variant = { slots: 0, ...gains };
        if (!isCut(notes)) {
          const sent = 4 * layers * channels + 8;
          return {
            kind: { variant, part: "measure" },
            effort: leastEffort,
            bytes: { down: 0, up: sent },
            notes: "measure",
          };
        }
        const router = 4 * routerSize(layout);
        const masks = Math.ceil((experts.length * layers * channels) / 8);
        if (alternate && (round - 1) % (alternate.router + alternate.experts) >= alternate.router) {
          const own: Variant = { ...setting.variant(budget), ...gains, trains: "experts" };
          const held = 4 * Number(own.slots) * layers * kept;
          return {
            kind: { variant: own, part: "experts" },
            bytes: { down: router + held, up: held },
            notes: "experts",
          };
        }
        return { kind: { variant, part: "route" }, bytes: { down: router + masks, up: router }, notes: "route" };
      },
      steps({ part, variant }, { layout }): Steps {
        if (part === "experts") {
          const { experts } = cutOf(layout);
          const held = layout.groups.map((_, group) => Number(experts.slice(0, Number(variant.slots)).includes(group)));
          const ofHeld = ({ graph }: StepContext) => spread(layout, graph.constant(held, [held.length]));
          return { merges: false, moves: (at) => mul(ofHeld(at), keptIn(at.start)) };
        }
        const measures = part === "measure";
        return {
          merges: false,
          objective: (at) => distillation(at, layout),
          moves: ({ graph }) => {
            const { router } = cutOf(layout);
            const moving = layout.groups.map((_, group) => (group === router && !measures ? 1 : 0));
            return spread(layout, graph.constant(moving, [moving.length]));
          },
          ...(measures && { before: measurement }),
        };
      },
      reply({ found }, { notes }) {
        if (notes !== "measure") return {};
        const tokens = found.tokens![0]!;
        return { sent: { means: found.activity!.map((sum) => sum / tokens), tokens } };
      },
      weight,
      begin: (server, setting): Sum => ({ mean: begin(server, setting), measured: [] }),
      fold(sum: Sum, update, setting, at) {
        if (update.plan.notes !== "measure") fold(sum.mean, update, setting, at);
        else if (update.discount > 0) sum.measured.push(statisticsOf(update));
      },
      async finish({ mean, measured }: Sum, server, setting, at) {
        const next = await finish(mean, server, setting, at);
        return measured.length === 0 || isCut(next.notes) ? next : cutBy(measured, next, setting.layout);
      },
    };

    function distillation({ pass, parameters }: StepContext, layout: ParameterLayout): Tensor {
      const own = masksOf(layout, parameters);
      const masks = alternate ? own.map(keptIn) : own;
      const channels = pass.channels!();
      const q = target === "share" ? shareTarget(channels, masks, beta) : rankTarget(channels, masks);
      return meanOverTokens(crossEntropyTo(q, pass.routers![0]!.logits), pass.tokens!());
    }
  },
});

/** Everybody takes a step at least; that of a client which measures moves nothing. */
const leastEffort = 1e-6;

/** Whether domains are known, and masks with them. Before a run there are no notes at all. */
const isCut = (notes: Plain): boolean => (notes as { readonly domains: Plain } | null)?.domains != null;

/** Sums over the tokens of a batch: |act| of all layers, and the tokens. */
function measurement({ pass }: StepContext): Record<string, Tensor> {
  const present = pass.tokens!();
  const sums = pass.channels!().map((act) => reduceSum(mul(magnitudeOf(act), present), [0]));
  return { activity: sums.length === 1 ? sums[0]! : concat(sums, 0), tokens: reduceSum(present, [0]) };
}

/** @param perToken `[tokens, 1]` */
const meanOverTokens = (perToken: Tensor, present: Tensor): Tensor =>
  div(reduceSum(mul(perToken, present), [0]), reduceSum(present, [0]));

const statisticsOf = ({ client, sent }: Update): Measured => ({
  client,
  means: sent.means as Float64Array,
  tokens: sent.tokens as number,
});

function cutBy(measured: readonly Measured[], server: ServerState, layout: ParameterLayout): ServerState {
  const { layers, kept, experts } = cutOf(layout);
  const all = measured.toSorted((a, b) => a.client - b.client);
  const domains = domainsOf(all, experts.length);
  const parameters = server.parameters.slice();
  for (const [expert, group] of experts.entries()) {
    const { means } = pooled(domains[expert]?.map((at) => all[at]!) ?? all);
    parameters.set(maskOf(means, layers, kept), layout.groups[group]!.ranges[0]!.start);
  }
  return { ...server, parameters, notes: { domains: domains.map((places) => places.map((at) => all[at]!.client)) } };
}
