/** EmbracingFL: weak clients train the layers next to the output, and only evaluate those below. */
import * as z from "zod";
import type { Problem } from "../../../base/problem.ts";
import type { ParameterLayout } from "../../../tasks/layout.ts";
import { scalarsOf } from "../../../tasks/scope.ts";
import { spread } from "../../../tasks/spread.ts";
import type { Affordable, Setting, Variant } from "../../../tasks/task.ts";
import { averagingBy, averagingFields } from "../../averaging.ts";
import type { Plan } from "../../plan.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { byBudgetField, deployingGlobally, rankFields, valueFor, variantFor } from "../ranks/ranks.ts";
import { firstThatFits, type Layer, memoryField, wordsOf } from "./layer-memory.ts";

const { absentPolicy: _, ...weightFields } = averagingFields;

export const embracingfl = defineStrategy({
  type: "embracingfl",
  about: {
    adapts: "how many layers a client trains, counted from the output",
    formula: `
      client k trains layers q_k … L on what layer q_k − 1 puts out, which stays as it came
      θ_l ← Σ n_k·θ_kl ÷ Σ n_k                             over the arrivals with q_k ≤ l; nobody: as it was
      q_k = L + 1 − ⌈L·R_k⌉                                R_k budget ÷ full budget; or, with memory,
      q_k = the smallest q with max(M_train, M_fwd) within the client's memory
      M_train(q) = Σ_l≥q (2 + o)·P_l + b·A_l               P parameters, A activations kept, b rows, o words of the optimizer
      M_fwd(q) = max_l<q P_l + b·(a_l−1 + a_l)             a outputs: one layer at a time passes by
    `,
    notes: `
      The layers below are evaluated once a round, block by block, over all examples of a client, and their last output is
      kept: that is what the client is charged. Training from it is training the whole model with these layers frozen,
      which is how it is computed here. A client downloads the whole model, and sends what it trained. Without clients that
      train everything the layers next to the input stay as they began; and who never trains a layer has no say in it. Of
      the paper the abstract could be read; weights by n and the words of memory are ours.
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Lee et al.",
        title: "Embracing Federated Learning: Enabling Weak Client Participation via Partial Model Training",
        year: 2024,
        url: "https://arxiv.org/abs/2406.15125",
      },
    ],
    certainty: "rebuilt: the streamed forward pass and the weights of layers, recalled; the words of memory",
    reduces: [
      {
        options: { layers: "all", experts: "own" },
        to: { type: "fedavg", absentPolicy: "renormalise" },
        gives: ["program", "bytes"],
      },
    ],
  },
  options: {
    layers: z
      .union([z.enum(["share", "all"]), byBudgetField(z.int().min(1))])
      .default("share")
      .describe(
        "how many a budget trains, { 1: 1, 8: 4 }, where one not named has that of the next smaller; share: ⌈L·R⌉",
      ),
    memory: memoryField.exactOptional().describe("what a budget trains is what fits; in the place of layers"),
    downloads: z
      .enum(["trained", "model"])
      .default("trained")
      .describe("whether a base that never changes is on the device already, or passes by in every round"),
    experts: rankFields.experts.unwrap().default("all").describe("of a mixture, that a client's tokens activate"),
    ...weightFields,
  },
  make(options) {
    const { layers, memory, downloads, experts } = options;
    const shared = { ranks: "share", experts } as const;

    /** The first layer that a budget trains, from 0; null where it affords none. */
    const firstOf = (budget: number, examples: number, setting: Affordable): number | null => {
      const { length } = chainOf(setting.layout);
      if (memory !== undefined) {
        const { batch, optimizerWords, cache, shares } = memory;
        const reckoning = { batch, optimizerWords, cached: cache === "memory" ? examples : 0 };
        const all = layersOf(setting.layout);
        const words = valueFor(shares, budget) * wordsOf(all, 0, reckoning).need;
        return firstThatFits(all, words, reckoning);
      }
      if (layers === "all") return 0;
      const trained =
        layers === "share" ? Math.ceil((length * budget) / setting.budgets.at(-1)!) : valueFor(layers, budget);
      return Math.max(0, length - trained);
    };

    return {
      ...averagingBy({ ...options, absentPolicy: "renormalise" }),
      ...deployingGlobally(shared),
      needs: ["blocks"],
      problems(setting): Problem[] {
        const { layout, budgets, clients } = setting;
        const { length } = chainOf(layout);
        if (memory === undefined) {
          return Object.entries(typeof layers === "string" ? {} : layers)
            .filter(([, count]) => count > length)
            .map(([budget, count]) => ({
              path: `layers[${budget}]`,
              text: `is ${count}, but the model has ${length} layers`,
            }));
        }
        if (layout.activations === undefined) {
          return [
            { path: "memory", text: "asks what activations take, which this task does not say; expected layers" },
          ];
        }
        const most = Math.max(...Array.from({ length: clients }, (_, client) => setting.examples(client)));
        return budgets
          .filter((budget) => firstOf(budget, most, setting) === null)
          .map((budget) => ({
            path: "memory.shares",
            text: `leave a budget of ${budget} too little for the last layer alone; expected more`,
          }));
      },
      plan({ budget, examples }, _server, setting): Plan {
        const { layout } = setting;
        const variant = variantFor(budget, shared, setting);
        const first = firstOf(budget, examples, setting)!;
        const down = 4 * layout.size + (downloads === "model" ? 4 * frozenIn(setting) : 0);
        const up = 4 * scalarsOf(layout, { groups: chainOf(layout).slice(first).flat() });
        return { kind: { variant: first === 0 ? variant : { ...variant, from: first + 1 } }, bytes: { down, up } };
      },
      /** Without a gradient there is still decay. */
      steps: ({ variant }, { layout }) =>
        firstIn(variant) === 1
          ? {}
          : {
              moves: ({ graph }) =>
                spread(layout, graph.constant([...trainedFrom(variant, layout)], [layout.groups.length])),
            },
      /** Used is not trained. */
      reply: ({ trained }, { kind: { variant } }, _client, { layout }) =>
        firstIn(variant) === 1
          ? {}
          : { trained: trainedFrom(variant, layout).map((isTrained, group) => isTrained * trained[group]!) },
    };
  },
});

/** Groups of each layer, from the input: experts and router of a mixture, or a group for itself. */
const chainOf = ({ groups, mixtures }: ParameterLayout): readonly (readonly number[])[] =>
  mixtures?.map(({ experts, router }) => (router === null ? experts : [...experts, router])) ??
  groups.map((_, group) => [group]);

/** q, from 1. */
const firstIn = ({ from = 1 }: Variant): number => from as number;

/** 1 for a group of a layer that trains. */
function trainedFrom({ from }: Readonly<Record<string, string | number>>, layout: ParameterLayout): Uint8Array {
  const trained = new Uint8Array(layout.groups.length);
  for (const group of chainOf(layout)
    .slice((from as number) - 1)
    .flat())
    trained[group] = 1;
  return trained;
}

const layersOf = (layout: ParameterLayout): Layer[] =>
  chainOf(layout).map((groups, at) => ({
    parameters: scalarsOf(layout, { groups }),
    ...layout.activations![at]!,
  }));

/** Numbers of a base that does not train. */
function frozenIn({ mixture, layout }: Setting): number {
  if (mixture === undefined) return 0;
  const experts = (layout.mixtures ?? []).reduce((sum, { experts }) => sum + experts.length, 0);
  return mixture.rest + experts * mixture.expert - layout.size;
}
