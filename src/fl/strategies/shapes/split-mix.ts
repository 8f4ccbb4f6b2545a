/** Split-Mix: narrow base networks that any client affords, mixed to any width when they are used. */
import { z } from "zod";
import type { Problem } from "../../../base/problem.ts";
import { scalarsOf } from "../../../tasks/scope.ts";
import type { StepContext } from "../../../tasks/steps.ts";
import type { Affordable, KeyedDraws } from "../../../tasks/task.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import { clip, mul, scale } from "../../../tensor/ops/arithmetic.ts";
import { scatterAddRows } from "../../../tensor/ops/index-ops.ts";
import { reshape } from "../../../tensor/ops/layout.ts";
import { crossEntropy } from "../../../tensor/ops/nn.ts";
import { averaging, averagingFields, averagingWeight } from "../../averaging.ts";
import type { Deployment } from "../../deployment.ts";
import { onesOf } from "../../probes.ts";
import type { Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { fullRank, prefix } from "../ranks/ranks.ts";

export const splitMix = defineStrategy({
  type: "split-mix",
  about: {
    adapts:
      "how many of several narrow networks a client trains, and how many of them a device mixes when it uses them",
    formula: `
      θ¹ … θᵏ independent base networks, each of 1/k of the width
      b_i = ⌊R_i·k⌋ bases                                  R_i budget ÷ full budget
      S_i = the next of a shuffled queue shared by all clients, and b_i − 1 others drawn alike
      θʲ ← Σ n_i·θʲ_i ÷ Σ n_i                              over the arrivals with j in S_i; nobody: as it was
      logits = mean of the logits of the first ⌊R·k⌋ bases
    `,
    notes: `
      No base shares a parameter with another; each trains in an order of batches of its own. The queue goes on from
      invitation to invitation through all rounds and is shuffled again when it is through, so that first picks of two
      bases never differ by more than one. The cross-entropy of mixed logits is at most the mean of the bases' own. All
      bases together have about 1/k of the parameters of the wide network, whose hidden layers grow with the square of
      the width: compare at equal parameters. Training on the language model, a base is an adapter of ⌊r ÷ k⌋ components
      (splitmix-lora, not the paper's setting). The paper's robust mixing switches between two batch norms, which models
      here do not have; its best-first order of bases is left out.
    `,
    sends: null,
    keeps: null,
    sources: [
      {
        by: "Hong et al.",
        title: "Efficient Split-Mix Federated Learning for On-Demand and In-Situ Customization",
        year: 2022,
        url: "https://arxiv.org/abs/2203.09747",
      },
    ],
    certainty: "as published",
    reduces: [{ options: { bases: 1, minOne: true }, to: { type: "fedavg" }, gives: ["bytes"] }],
  },
  options: {
    bases: z.int().min(1).max(64).default(8).describe("k"),
    minOne: z.boolean().default(false).describe("whether a budget below 1/k trains one base, or is refused"),
    maskedLoss: z
      .boolean()
      .default(false)
      .describe("whether logits of classes that a batch does not have count as 0, as in HeteroFL; for skewed labels"),
    temperature: z.number().positive().default(1).describe("what logits are divided by in the local loss"),
    use: z
      .enum(["ensemble", "merged"])
      .default("ensemble")
      .describe("run each base and average logits; or, if low-rank, add the mean of their products to one model, once"),
    ...averagingFields,
  },
  name: ({ bases }) => `split-mix(k=${bases})`,
  make(options) {
    const { bases, minOne, maskedLoss, temperature, use } = options;
    const heldBy = (budget: number, setting: Affordable) =>
      Math.max(minOne ? 1 : 0, affordableBases(budget / setting.budgets.at(-1)!, bases));
    const whole = ({ budgets, variant }: Affordable) => variant(budgets.at(-1)!);
    /** The components of a low-rank base. */
    const scopeOf = (setting: Affordable) =>
      bases === 1 || setting.layout.pairs.length === 0 ? {} : prefix(rankOf(setting), setting);
    const rankOf = ({ layout }: Affordable) => Math.floor(fullRank(layout) / bases);

    const weightOf = (update: Update, group: number): number => {
      const base = Math.floor((group * bases) / update.trained.length);
      return update.plan.members?.includes(base) ? averagingWeight(options, update, group) : 0;
    };

    return {
      ...averaging(options.discounts, weightOf),
      needs: ["members"],
      shape: { members: bases },
      problems(setting): Problem[] {
        const { layout, budgets } = setting;
        const tooSmall = budgets.filter((budget) => heldBy(budget, setting) === 0);
        return [
          ...tooSmall.map((budget) => ({
            path: "bases",
            text: `is ${bases}, of which a budget of ${budget} of ${budgets.at(-1)} affords none; expected fewer, or minOne`,
          })),
          ...(layout.pairs.length > 0 && rankOf(setting) === 0
            ? [
                {
                  path: "bases",
                  text: `is ${bases}, expected at most lora.rank, ${fullRank(layout)}: each has a part of it`,
                },
              ]
            : []),
          ...(layout.pairs.length === 0 && use === "merged"
            ? [{ path: "use", text: `is "merged", which is for low-rank bases; expected "ensemble"` }]
            : []),
        ];
      },
      plan({ participation, budget, draws }, _server, setting) {
        const held = heldBy(budget, setting);
        const first = nextInQueue(participation, bases, setting.draws);
        const others = draws("bases").sample(bases - 1, held - 1);
        const scope = scopeOf(setting);
        const bytes = (4 * held * scalarsOf(setting.layout, scope.scope)) / bases;
        return {
          kind: { variant: whole(setting) },
          ...scope,
          members: [first, ...others.map((base) => (base < first ? base : base + 1))].sort((a, b) => a - b),
          bytes: { down: bytes, up: bytes },
        };
      },
      ...((maskedLoss || temperature !== 1) && {
        steps: () => ({
          merges: false,
          objective({ pass, mean }) {
            const { logits, batch } = pass;
            const seen = maskedLoss ? mul(logits, classesIn(pass)) : logits;
            return mean(crossEntropy(scale(seen, 1 / temperature), batch.targets!));
          },
        }),
      }),
      deploy(budget, { parameters }, setting) {
        const held = Math.max(1, heldBy(budget, setting));
        const size = parameters.length / bases;
        const variant = whole(setting);
        const of = (base: number): Deployment["models"][number] => ({
          parameters: parameters.slice(base * size, (base + 1) * size),
          variant,
          ...scopeOf(setting),
        });
        const first = of(0);
        const others = Array.from({ length: held - 1 }, (_, i) => of(i + 1));
        if (use === "ensemble") return { models: [first, ...others], mix: "logits" };
        const all = [first, ...others].map((model) => model.parameters);
        return { models: [{ parameters: mergedDelta(all, rankOf(setting), setting), variant }] };
      },
    };
  },
});

/** @internal ⌊R·k⌋, where 0.3 ÷ 0.1 is three. */
export const affordableBases = (share: number, bases: number): number => Math.floor(share * bases + 1e-9);

/** Of a queue that is shuffled anew whenever it is through. */
function nextInQueue(turn: number, bases: number, draws: KeyedDraws): number {
  const cycle = Math.floor(turn / bases);
  const order = draws(`bases ${cycle}`).shuffle(Array.from({ length: bases }, (_, base) => base));
  return order[turn % bases]!;
}

/** 1 for a class that is a target of the batch, else 0, `[1, classes]`. */
function classesIn({ losses, logits, batch }: StepContext["pass"]): Tensor {
  const classes = logits.shape[1] as number;
  const counts = scatterAddRows(reshape(onesOf(losses), [losses.shape[0]!, 1]), batch.targets!, classes);
  return reshape(clip(counts, 0, 1), [1, classes]);
}

/** One adapter whose product is the mean of the bases' products: their components one after the other, B ÷ M. */
function mergedDelta(models: readonly Float32Array[], rank: number, { layout }: Affordable): Float32Array {
  const merged = new Float32Array(models[0]!.length);
  for (const { rank: full, inputs, outputs, a, b } of layout.pairs.filter((pair) => pair.b < merged.length)) {
    for (const [at, values] of models.entries()) {
      merged.set(values.subarray(a, a + rank * inputs), a + at * rank * inputs);
      for (let row = 0; row < outputs; row++) {
        for (let component = 0; component < rank; component++) {
          merged[b + row * full + at * rank + component] = values[b + row * full + component]! / models.length;
        }
      }
    }
  }
  return merged;
}
