/** FL Games: a head of each client's own, played against everybody else's, on a representation that is shared. */
import * as z from "zod";
import { ScenarioError } from "../../../base/errors.ts";
import type { Problem } from "../../../base/problem.ts";
import type { ParameterLayout, Range } from "../../../tasks/layout.ts";
import { spread } from "../../../tasks/spread.ts";
import type { StepContext, Steps } from "../../../tasks/steps.ts";
import type { Setting } from "../../../tasks/task.ts";
import { gradients } from "../../../tensor/autodiff.ts";
import { argMax, cast, reduceSum, square, sub } from "../../../tensor/ops/arithmetic.ts";
import { less } from "../../../tensor/ops/discrete.ts";
import {
  averagingWeight,
  discountField,
  eachOf,
  emptyMean,
  foldMean,
  isMoved,
  moved,
  type WeightedMean,
} from "../../averaging.ts";
import type { Invited, Plain, Plan } from "../../plan.ts";
import { onesOf } from "../../probes.ts";
import type { ServerState } from "../../strategy.ts";
import type { Update } from "../../update.ts";
import { defineStrategy } from "../../wrappers/define-strategy.ts";

/** What the server notes besides the buffers. */
type Notes = {
  /** Plays that went into each client's buffer so far. */
  readonly plays: readonly number[];
  /** The round after which nothing moves. */
  readonly stopped: number | null;
};

/** What a plan notes: which group the client trains in a round of heads, and whether its turn has come. */
type Move = {
  readonly head: number;
  readonly isTurn: boolean;
};

interface Sum {
  readonly mean: WeightedMean;
  /** Groups of heads that were played, and by whom. */
  readonly played: Map<number, number>;
  right: number;
  seen: number;
}

export const flGames = defineStrategy({
  type: "fl-games",
  about: {
    adapts:
      "whose loss trains what: each client its own head against all others', so that only what all agree on stays",
    formula: `
      z(x) = (1 ÷ m)·Σ_q w_q(φ(x))                         the model: the mean of all heads, on one representation
      odd rounds, heads: client k descends its own loss of z in w_k alone; w_k ← clip(w_k, −W, W)
      even rounds, φ: φ ← φ − η_φ·Σ n_k·∇φ_k ÷ Σ n_k       fast: one gradient over all examples of each client
      smooth average: opponents q ≠ k count ½·w_q + ½·mean of their last B plays, asPrinted: w_q + that mean, over m
      stop: from the round on in which training accuracy has fallen to a threshold, nothing moves
    `,
    notes: `
      Play comes to rest at the median of what clients want where they are odd in number, at the middle value closest to
      0 where they are even: features whose sign clients disagree on are dropped, and only those. Where a shortcut has one
      sign everywhere, or a majority of one sign, play keeps it, and only the early stop is left. Until heads have drifted
      apart as far as the box lets them, the model is that of FedAvg. A head stays and counts when its client is away.
      Linear heads are averaged as parameters, others by what they say. Without a representation, φ, every round is one
      of heads (F-FL). Where opponents are drawn, those of a round count for all: (m − 1) ÷ n times what each would, in
      rounds of φ as well. Their sum is the same to a client, where heads are linear, as all of them. The local steps of a round are the scenario's epochs or maxSteps. As printed, the formula of SMOOTH
      counts every opponent twice, which changes where play ends; average keeps it. No code of the paper was found.
    `,
    sends: "its own head, or the gradient of φ; receives all heads, and what they were before",
    keeps: "the last B plays of each client, at the server",
    sources: [
      {
        by: "Gupta et al.",
        title: "FL Games: A Federated Learning Framework for Distribution Shifts",
        year: 2022,
        url: "https://arxiv.org/abs/2211.00184",
      },
      {
        by: "Ahuja et al.",
        title: "Invariant Risk Minimization Games",
        year: 2020,
        url: "https://arxiv.org/abs/2002.04692",
      },
    ],
    certainty: "rebuilt: from public notes and the parent's code; buffer size, box, rates and local steps are ours",
    reduces: [],
  },
  options: {
    smooth: z
      .enum(["average", "off", "asPrinted"])
      .default("average")
      .describe("what opponents count as: half as they are and half as they were, as they are, or both in full"),
    buffer: z.int().min(1).max(64).default(5).describe("B, past plays of each client"),
    box: z.number().positive().nullable().default(5).describe("W, what bounds the entries of heads; null for nothing"),
    play: z
      .enum(["parallel", "sequential"])
      .default("parallel")
      .describe("whether all heads move in a round, or the clients' take turns, as in the parent"),
    opponents: z
      .union([z.enum(["auto", "all", "sum"]), z.int().min(1)])
      .default("auto")
      .describe(
        "what a client downloads of others: all heads, the sum of linear ones, or so many, drawn anew each time; auto: all of up to 20 clients, of more the sum or 19",
      ),
    fast: z.boolean().default(true).describe("whether φ takes one full-batch step a round, or clients' local steps"),
    representationRate: z.number().positive().default(0.5).describe("η_φ of the full-batch step"),
    representationShare: z.number().positive().default(0.1).describe("without fast: of the local learning rate, for φ"),
    optimizer: z
      .enum(["adamw", "sgd"])
      .default("adamw")
      .describe("of local steps; sgd takes m times the learning rate for heads, whose gradients carry 1 ÷ m"),
    stop: z
      .strictObject({
        after: z.int().min(1).describe("the first round that may be the last"),
        accuracy: z.number().gt(0).lt(1).describe("of what clients trained on, as they saw it in a round of heads"),
      })
      .exactOptional()
      .describe("early; without it the whole curve is seen"),
    weighting: z
      .enum(["examples", "uniform"])
      .default("examples")
      .describe("of clients' gradients of φ: n_k, or all alike"),
    ...discountField,
  },
  name: ({ smooth, play }) => `fl-games(${smooth === "off" ? play : `${play},${smooth}`})`,
  make(options) {
    const { smooth, buffer, box, play, fast, representationRate, representationShare, optimizer, stop } = options;
    const weights = { weighting: options.weighting, absentPolicy: "renormalise" } as const;

    /** Of its own head whoever played it, of the representation everybody. */
    const weightOf = (update: Update, group: number): number => {
      if (!playsHead(update.plan)) return averagingWeight(weights, update, group);
      const { head, isTurn } = moveOf(update.plan);
      return group === head && isTurn ? 1 : 0;
    };

    /** How many opponents a client plays against in a round; "sum" where they come as one. */
    const opponentsIn = ({ clients, layout }: Setting): number | "sum" => {
      const all = clients - 1;
      const { opponents } = options;
      if (opponents === "all" || (opponents === "auto" && clients <= mostHeads)) return all;
      if (opponents === "auto") return headsOf(layout).linear ? "sum" : mostHeads - 1;
      return opponents === "sum" ? "sum" : Math.min(opponents, all);
    };

    /** Those of a client in a round; null for all. */
    const drawn = ({ client, draws }: Invited, setting: Setting): ReadonlySet<number> | null => {
      const [wanted, all] = [opponentsIn(setting), setting.clients - 1];
      if (wanted === "sum" || wanted === all) return null;
      return new Set(
        draws("opponents")
          .sample(all, wanted)
          .map((other) => (other < client ? other : other + 1)),
      );
    };

    /**
     * Earlier heads, and what each head counts for a client: its own 1 ÷ m, and an opponent's as `smooth` says.
     *
     * @param among who counts for all opponents; null for all
     */
    const seenBy = (
      client: number,
      among: ReadonlySet<number> | null,
      { vectors, notes }: ServerState,
      { clients, layout }: Setting,
      depth: number,
    ) => {
      const size = headSizeIn(layout);
      const { plays } = notesOf(notes, clients);
      const held = vectors.plays ?? new Float32Array(clients * buffer * size);
      const past = new Float32Array(clients * depth * size);
      const shares = new Float32Array(clients * (1 + depth)).fill(1 / clients, 0, clients);
      for (let other = 0; other < clients; other++) {
        const count = Math.min(plays[other]!, buffer);
        const own = held.subarray(other * buffer * size, (other * buffer + count) * size);
        // The mean of linear heads is one head.
        const slots = depth === 1 ? Math.min(count, 1) : count;
        if (depth > 0) past.set(depth === 1 ? meanOf(own, size) : own, other * depth * size);
        if (other === client) continue;
        const many = among === null ? 1 : among.has(other) ? (clients - 1) / among.size : 0;
        shares[other]! *= many;
        if (count === 0 || depth === 0) continue;
        if (smooth === "average") shares[other] = (0.5 * many) / clients;
        const each = ((smooth === "average" ? 0.5 : 1) * many) / (clients * slots);
        const first = clients + other * depth;
        shares.fill(each, first, first + slots);
      }
      return { ...(depth > 0 && { past }), shares };
    };

    return {
      needs: ["heads"],
      problems({ layout, clients }): Problem[] {
        const { groups, linear } = headsOf(layout);
        const text = `trains a head of each client's own, and the task has ${groups.length} for ${clients} clients`;
        return [
          ...(groups.length === clients ? [] : [{ path: "type", text }]),
          ...(options.opponents === "sum" && !linear
            ? [{ path: "opponents", text: `is "sum", which only linear heads have; expected a number, or "all"` }]
            : []),
        ];
      },
      init: ({ layout, clients }) => ({
        vectors: { plays: new Float32Array(clients * buffer * headSizeIn(layout)) },
        notes: { plays: new Array<number>(clients).fill(0), stopped: null },
      }),
      plan(invited, server, setting): Plan {
        const { client, round } = invited;
        const { layout, budgets, rate, clients } = setting;
        const size = headSizeIn(layout);
        const representation = layout.size - clients * size;
        const variant = setting.variant(budgets.at(-1)!);
        const [wanted, among] = [opponentsIn(setting), drawn(invited, setting)];
        /** Its own head, and those of others or their sum, each with `more` vectors. */
        const downWith = (more: number) =>
          4 * (representation + (1 + (wanted === "sum" ? 1 : wanted)) * size + more * size * (among?.size ?? clients));
        if (representation > 0 && round % 2 === 0) {
          return {
            kind: { variant: { ...variant, trains: "representation", ...(among && { past: 0 }) } },
            ...(among && { inputs: seenBy(client, among, server, setting, 0) }),
            ...(!fast && { learningRate: representationShare * rate }),
            bytes: { down: downWith(0), up: 4 * representation },
          };
        }
        const depth = smooth === "off" ? 0 : headsOf(layout).linear ? 1 : buffer;
        const isWeighed = depth > 0 || among !== null;
        const head = headsOf(layout).groups[client]!;
        // Rounds of heads before this one.
        const turn = representation > 0 ? (round - 1) / 2 : round - 1;
        return {
          kind: { variant: { ...variant, trains: "heads", ...(isWeighed && { past: depth }) } },
          inputs: { own: onesIn(layout, [head]), ...(isWeighed && seenBy(client, among, server, setting, depth)) },
          ...(optimizer === "sgd" && { learningRate: clients * rate }),
          // The sum has earlier plays in it.
          bytes: { down: downWith(wanted === "sum" ? 0 : depth), up: 4 * size + (stop ? 16 : 0) },
          notes: { head, isTurn: play === "parallel" || turn % clients === client },
        };
      },
      steps({ variant }, { layout }): Steps {
        if (variant.trains === "heads") {
          return {
            optimizer,
            given: { own: "parameters" },
            moves: ({ given }) => given.own!,
            ...(stop && { tallies: accuracyOf, merges: false }),
          };
        }
        // All examples are seen at the model that was received.
        if (fast) {
          return {
            optimizer: "sgd",
            moves: ({ graph }) => graph.zeros([layout.size]),
            tallies: gradientOf,
            merges: false,
          };
        }
        const shared = layout.groups.map((_, group) => Number(!headsOf(layout).groups.includes(group)));
        return { optimizer, moves: ({ graph }) => spread(layout, graph.constant(shared, [shared.length])) };
      },
      reply({ values, base, trained, found }, plan, _client, { layout }) {
        const next = values.slice();
        if (playsHead(plan)) {
          const { head, isTurn } = moveOf(plan);
          eachOf(
            layout,
            (group) => group === head,
            (i) => {
              if (box !== null) next[i] = Math.max(-box, Math.min(box, next[i]!));
            },
          );
          return {
            values: next,
            trained: trained.map((_, group) => Number(group === head && isTurn)),
            ...(stop && { sent: { right: found.right![0]!, seen: found.seen![0]! } }),
          };
        }
        if (!fast) return {};
        eachOf(
          layout,
          (group) => trained[group] === 1,
          (i) => {
            next[i] = base[i]! - (representationRate * found.gradient![i]!) / found.seen![0]!;
          },
        );
        return { values: next };
      },
      weight: (update, group) => weightOf(update, group) * update.discount,
      begin: (_server, { layout }): Sum => ({ mean: emptyMean(layout), played: new Map(), right: 0, seen: 0 }),
      fold(sum: Sum, update, { layout }) {
        foldMean(sum.mean, update, layout, options.discounts, weightOf);
        if (!playsHead(update.plan)) return;
        sum.played.set(moveOf(update.plan).head, update.client);
        sum.right += (update.sent.right as number | undefined) ?? 0;
        sum.seen += (update.sent.seen as number | undefined) ?? 0;
      },
      finish({ mean, played, right, seen }: Sum, server, { layout, clients }, { round }) {
        const notes = notesOf(server.notes, clients);
        if (mean.updates === 0 || notes.stopped !== null) return server;
        if (stop && seen > 0 && round >= stop.after && right / seen <= stop.accuracy) {
          return { ...server, notes: { ...notes, stopped: round } };
        }
        const size = headSizeIn(layout);
        const plays = [...notes.plays];
        const held = Float32Array.from(server.vectors.plays!);
        for (const [group, client] of played) {
          if (!isMoved(mean, group)) continue;
          const [{ start, end }] = layout.groups[group]!.ranges as readonly [Range];
          // The oldest makes room.
          held.set(server.parameters.subarray(start, end), (client * buffer + (plays[client]! % buffer)) * size);
          plays[client]!++;
        }
        return {
          parameters: moved(mean, server.parameters, layout, (_, delta) => delta),
          vectors: { ...server.vectors, plays: held },
          notes: { ...notes, plays },
        };
      },
    };
  },
});

/** More heads than that are too much for everybody to download. */
const mostHeads = 20;

const playsHead = ({ kind }: Plan): boolean => kind.variant.trains === "heads";
const moveOf = ({ notes }: Plan): Move => notes as Move;

const notesOf = (notes: Plain, clients: number): Notes =>
  (notes as Notes | null) ?? { plays: new Array<number>(clients).fill(0), stopped: null };

function headsOf({ heads }: ParameterLayout): NonNullable<ParameterLayout["heads"]> {
  if (heads === undefined)
    throw new ScenarioError("strategy fl-games trains a head of each client's own, and the task has none");
  return heads;
}

/** All heads are of one size, in one piece. */
function headSizeIn(layout: ParameterLayout): number {
  const [{ start, end }] = layout.groups[headsOf(layout).groups[0]!]!.ranges as readonly [Range];
  return end - start;
}

/** 1 for the parameters of these groups. */
function onesIn(layout: ParameterLayout, groups: readonly number[]): Float32Array {
  const ones = new Float32Array(layout.size);
  eachOf(
    layout,
    (group) => groups.includes(group),
    (i) => {
      ones[i] = 1;
    },
  );
  return ones;
}

/** Of vectors that lie one behind the other; nothing of none. */
function meanOf(all: ArrayLike<number>, size: number): Float64Array {
  const mean = new Float64Array(size);
  const count = all.length / size;
  for (let i = 0; i < all.length; i++) mean[i % size]! += all[i]! / count;
  return mean;
}

/** Of what clients train on, as their ensemble predicts it. */
function accuracyOf({ pass, graph }: StepContext) {
  const { logits, losses, batch } = pass;
  const apart = square(sub(cast(argMax(logits), "float32"), cast(batch.targets!, "float32")));
  return {
    right: reduceSum(less(apart, graph.constant([0.5], [1])), [0], true),
    seen: reduceSum(onesOf(losses), [0], true),
  };
}

/** Summed over examples; heads have none of it. */
function gradientOf({ pass, parameters }: StepContext) {
  return {
    gradient: gradients(reduceSum(pass.losses, [0], true), [parameters])[0]!,
    seen: reduceSum(onesOf(pass.losses), [0], true),
  };
}
