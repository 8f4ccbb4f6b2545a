/** Split-Mix: narrow base networks that any client affords, mixed to any width when they are used. */
import * as z from "zod";
import type { Problem } from "../../../base/problem.ts";
import { scalarsOf } from "../../../tasks/scope.ts";
import type { StepContext, Steps } from "../../../tasks/steps.ts";
import type { Affordable, KeyedDraws } from "../../../tasks/task.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import { add, argMax, cast, clip, mul, reduceSum, scale, square, sub } from "../../../tensor/ops/arithmetic.ts";
import { less } from "../../../tensor/ops/discrete.ts";
import { scatterAddRows } from "../../../tensor/ops/index-ops.ts";
import { reshape } from "../../../tensor/ops/layout.ts";
import { crossEntropy } from "../../../tensor/ops/nn.ts";
import { averaging, averagingFields, averagingWeight, type WeightedMean } from "../../averaging.ts";
import type { Deployment } from "../../deployment.ts";
import type { Plain } from "../../plan.ts";
import { onesOf } from "../../probes.ts";
import type { ServerState } from "../../strategy.ts";
import type { Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";
import { fullRank, prefix } from "../ranks/ranks.ts";
import { changedBy } from "./adversary.ts";

interface Sum {
  readonly mean: WeightedMean;
  /** Of each base, kept examples that it got right in this round, and of how many. */
  readonly right: Float64Array;
  readonly seen: Float64Array;
}

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
      (splitmix-lora, not the paper's setting).

      With order "best" each client keeps a part of its examples from training and says how many of them each of its bases
      gets right; a device then mixes those first that got the largest share right when they were last asked. With robust
      a convolutional network trains on each image twice, as it is by its usual gains, and as an adversary changes it,
      within ε of each pixel, by gains of their own: (1 − share)·clean + share·adversarial. What a device mixes of the two
      gains is its own choice, use. Norms here keep no statistics, so it is their gains that are two, where the paper has
      two batch norms; the adversary starts at the image, in steps of 2.5·ε ÷ steps (ours). Rescaling multiplies what
      narrow hidden layers give by k, when the network is used as well, since not all here have a norm that would undo it;
      "both" also divides their start by k, so that the first forward pass is the usual one (ours).
    `,
    sends: "with order best how many kept examples each of its bases gets right, and of how many",
    keeps: "with order best the share that each base got right when it was last asked",
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
    order: z
      .enum(["index", "best"])
      .default("index")
      .describe("which bases a device mixes: the first, or those that are right most often on what clients keep"),
    validation: z
      .number()
      .gt(0)
      .lt(1)
      .default(0.1)
      .describe("with order best, the share of its examples that a client keeps from training"),
    rescale: z
      .enum(["off", "layer", "both"])
      .default("off")
      .describe("of narrow networks: what hidden layers give, by k; or their start as well, by 1 ÷ k"),
    robust: z
      .strictObject({
        share: z.number().gt(0).max(1).default(0.5).describe("of the adversarial loss in training"),
        epsilon: z
          .number()
          .positive()
          .max(1)
          .default(8 / 255)
          .describe("ε, the most that a pixel in [0, 1] changes"),
        steps: z.int().min(1).max(50).default(7).describe("of the adversary's gradient ascent"),
        use: z.number().min(0).max(1).default(0).describe("share of the adversarial gains in what predicts"),
      })
      .exactOptional()
      .describe("trains against an adversary; without it on images as they are"),
    use: z
      .enum(["ensemble", "merged"])
      .default("ensemble")
      .describe("run each base and average logits; or, if low-rank, add the mean of their products to one model, once"),
    ...averagingFields,
  },
  name: ({ bases }) => `split-mix(k=${bases})`,
  make(options) {
    const { bases, minOne, maskedLoss, temperature, use, order, robust, rescale } = options;
    const ranks = order === "best" && bases > 1;
    const heldBy = (budget: number, setting: Affordable) =>
      Math.max(minOne ? 1 : 0, affordableBases(budget / setting.budgets.at(-1)!, bases));
    const whole = ({ budgets, variant }: Affordable) => variant(budgets.at(-1)!);
    /** What a program trains, and what predicts. */
    const trainedAt = (setting: Affordable) => ({ ...whole(setting), ...(robust && { attack: robust.steps }) });
    const usedAt = (setting: Affordable) => ({ ...whole(setting), ...(robust && { norm: robust.use }) });
    /** The components of a low-rank base. */
    const scopeOf = (setting: Affordable) =>
      bases === 1 || setting.layout.pairs.length === 0 ? {} : prefix(rankOf(setting), setting);
    const rankOf = ({ layout }: Affordable) => Math.floor(fullRank(layout) / bases);

    const weightOf = (update: Update, group: number): number => {
      const base = Math.floor((group * bases) / update.trained.length);
      return update.plan.members?.includes(base) ? averagingWeight(options, update, group) : 0;
    };

    const mean = averaging(options.discounts, weightOf);
    return {
      weight: mean.weight,
      begin: (server, setting): Sum => ({
        mean: mean.begin(server, setting),
        right: new Float64Array(bases),
        seen: new Float64Array(bases),
      }),
      fold(sum: Sum, update, setting, at) {
        mean.fold(sum.mean, update, setting, at);
        if (ranks) addScores(sum, update);
      },
      async finish(sum: Sum, server, setting, at) {
        const next = await mean.finish(sum.mean, server, setting, at);
        return ranks ? withScores(next, sum) : next;
      },
      ...(ranks && {
        validation: options.validation,
        init: () => ({ vectors: {}, notes: new Array<number>(bases).fill(0) }),
      }),
      needs: ["members"],
      shape: { members: bases, ...(robust && { norms: 2 }), ...(rescale !== "off" && { rescale }) },
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
          ...(layout.pairs.length > 0
            ? (["robust", "rescale"] as const)
                .filter((path) => path in options && options[path] !== "off")
                .map((path) => ({ path, text: "is for networks on images, not for low-rank bases" }))
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
          kind: { variant: trainedAt(setting) },
          ...scope,
          ...(ranks && { inputs: { base: Float32Array.from({ length: bases }, (_, base) => base) } }),
          members: [first, ...others.map((base) => (base < first ? base : base + 1))].sort((a, b) => a - b),
          bytes: { down: bytes, up: bytes + (ranks ? 16 * held : 0) },
        };
      },
      ...((maskedLoss || temperature !== 1 || ranks || robust !== undefined) && {
        steps: (): Steps => ({
          merges: false,
          objective(at) {
            const clean = lossOf(at, at.pass.logits);
            if (robust === undefined) return clean;
            const { pass } = at;
            const changed = changedBy({ ...robust, x: pass.batch.x! }, (x) => lossOf(at, pass.again!(x, 1)));
            const adversarial = lossOf(at, pass.again!(changed, 1));
            return add(scale(clean, 1 - robust.share), scale(adversarial, robust.share));
          },
          ...(ranks && { given: { base: "scalar" }, validate: (at: StepContext) => rightOf(at, bases) }),
        }),
      }),
      ...(ranks && {
        reply({ found }, { members }) {
          const of = (all: Float64Array) => Float64Array.from(members!, (base) => all[base]!);
          return { sent: { right: of(found.right!), seen: of(found.seen!) } };
        },
      }),
      deploy(budget, { parameters, notes }, setting) {
        const held = Math.max(1, heldBy(budget, setting));
        const size = parameters.length / bases;
        const variant = usedAt(setting);
        const of = (base: number): Deployment["models"][number] => ({
          parameters: parameters.slice(base * size, (base + 1) * size),
          variant,
          ...scopeOf(setting),
        });
        const [best, ...rest] = bestFirst(notes, bases).slice(0, held) as [number, ...number[]];
        const [first, others] = [of(best), rest.map(of)];
        if (use === "ensemble") return { models: [first, ...others], mix: "logits" };
        const all = [first, ...others].map((model) => model.parameters);
        return { models: [{ parameters: mergedDelta(all, rankOf(setting), setting), variant }] };
      },
    };

    function lossOf({ pass, mean }: StepContext, logits: Tensor): Tensor {
      const seen = maskedLoss ? mul(logits, classesIn(pass)) : logits;
      return mean(crossEntropy(scale(seen, 1 / temperature), pass.batch.targets!));
    }
  },
});

/** All bases, best first; ties, and bases of which nothing was heard, by their numbers. */
function bestFirst(notes: Plain, bases: number): readonly number[] {
  const scores = (notes ?? []) as readonly number[];
  return Array.from({ length: bases }, (_, base) => base).sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b);
}

function addScores({ right, seen }: Sum, { plan, sent, discount }: Update): void {
  for (const [at, base] of plan.members!.entries()) {
    right[base]! += discount * (sent.right as Float64Array)[at]!;
    seen[base]! += discount * (sent.seen as Float64Array)[at]!;
  }
}

/** The share of kept examples that each base got right in this round; of others what is known of them. */
function withScores(server: ServerState, { right, seen }: Sum): ServerState {
  const scores = server.notes as readonly number[];
  return { ...server, notes: scores.map((score, base) => (seen[base]! > 0 ? right[base]! / seen[base]! : score)) };
}

/** Of the base that predicts, at its place among all: targets that it gets right, and all that there are, `[bases]`. */
function rightOf({ pass, graph, given }: StepContext, bases: number): Record<string, Tensor> {
  const { logits, losses, batch } = pass;
  const half = graph.constant([0.5], [1]);
  const isNear = (a: Tensor, b: Tensor) => less(square(sub(a, b)), half);
  const places = graph.constant(
    Array.from({ length: bases }, (_, base) => base),
    [bases],
  );
  const own = isNear(places, given.base!);
  const right = isNear(cast(argMax(logits), "float32"), cast(batch.targets!, "float32"));
  return { right: mul(own, reduceSum(right, [0], true)), seen: mul(own, reduceSum(onesOf(losses), [0], true)) };
}

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
