/** EWWA: one mixing weight for each client and parameter. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import type { Setting } from "../../tasks/task.ts";
import { eachOf } from "../averaging.ts";
import type { Vectors } from "../plan.ts";
import { nextVariance, type SecondMoment } from "../second-moment.ts";
import type { ServerState } from "../strategy.ts";
import type { Update } from "../update.ts";
import { hasTrained } from "../update.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

interface Options {
  readonly a: number;
  readonly b1: number;
  readonly b2: number;
  readonly epsilon: number;
  readonly signal: "signed" | "abs";
  readonly prior: "none" | "size";
  readonly form: SecondMoment;
  readonly remembered?: number;
}

/** Softmax in running form: the largest score so far, and both sums relative to it. */
interface Sum {
  /** The server's, with those of this round's clients in their place. */
  readonly vectors: Record<string, Vectors[string]>;
  readonly top: Float64Array;
  readonly total: Float64Array;
  /** Σ exp(u_i − top)·g_i. */
  readonly pull: Float64Array;
  /** Of the variant `code`, which has to see all scores. */
  readonly kept: Update[];
  updates: number;
}

export const ewwa = defineStrategy({
  type: "ewwa",
  about: {
    adapts: "the weight of each client and parameter, from running moments of its updates",
    formula: `
      g_i = θ − θ_i,   m_i ← β₁·m_i + (1 − β₁)·g_i,   v_i ← β₂·v_i + (1 − β₂)·g_i²
      u_i = a·(m_i ÷ (1 − β₁^τ_i)) ÷ √(v_i ÷ (1 − β₂^τ_i) + ε)          τ_i counts the client's own updates
      P_i = exp(u_i) ÷ Σ exp(u_j),   θ ← θ − Σ P_i·g_i                  softmax over arrivals, element by element
    `,
    notes: `
      Variant "code" is what the authors' repository does: one pair of moments that every client updates in turn, ε
      outside the root, τ the round, and P_i = z_i ÷ Σ z_j with z = log(u − smallest u + 1) + 1e-8. Its result depends on
      the order of clients; it is there for reproduction. A rising signed u turns disagreement into a push to lower
      values (g = ±1 gives tanh 1 and not 0); signal "abs", which is not the paper's, takes |u|. Metrics have meanPull, the mean
      of what a round takes from the parameters: in its sign that push shows.
    `,
    sends: null,
    keeps: "m_i and v_i of each client, at the server",
    sources: [
      {
        by: "Hu et al.",
        title: "An Element-Wise Weights Aggregation Method for Federated Learning",
        year: 2023,
        url: "https://arxiv.org/abs/2404.15919",
      },
    ],
    certainty: "as published",
    reduces: [
      {
        options: { a: 0 },
        to: { type: "fedavg", weighting: "uniform", absentPolicy: "renormalise" },
        gives: ["program", "values"],
      },
      {
        options: { a: 0, prior: "size" },
        to: { type: "fedavg", absentPolicy: "renormalise" },
        gives: ["program", "values"],
      },
    ],
  },
  options: {
    variant: z.enum(["paper", "code"]).default("paper").describe("whose rule"),
    a: z.number().min(0).default(1).describe("a"),
    b1: z.number().min(0).lt(1).default(0.9).describe("β₁"),
    b2: z.number().min(0).lt(1).default(0.999).describe("β₂"),
    epsilon: z.number().positive().default(1e-8).describe("ε"),
    form: z
      .enum(["adam", "yogi", "adagrad"])
      .default("adam")
      .describe('how v takes up g², with variant "code"; of adagrad v is a sum, which no bias is taken out of'),
    remembered: z
      .int()
      .min(1)
      .exactOptional()
      .describe("most clients whose moments the server keeps; who was counted least recently begins again"),
    signal: z.enum(["signed", "abs"]).default("signed").describe("u or |u|"),
    prior: z.enum(["none", "size"]).default("none").describe("size multiplies exp(u_i) by the client's examples"),
  },
  name: ({ variant, signal }) => `ewwa(${[variant, ...(signal === "abs" ? ["abs"] : [])].join()})`,
  make({ variant, ...options }) {
    if (variant === "code" && options.prior !== "none") {
      throw new ScenarioError(`strategy.prior is "${options.prior}", expected "none" with variant "code"`);
    }
    if (variant === "paper" && options.form !== "adam") {
      throw new ScenarioError(`strategy.form is "${options.form}", expected "adam" with variant "paper"`);
    }
    return {
      folding: variant === "code" ? "all" : "stream",
      sums: "each",
      weight: (update, group) => (hasTrained(update, group) ? update.discount : 0),
      begin: ({ vectors }: ServerState, { layout: { size } }: Setting): Sum => ({
        vectors: { ...vectors },
        top: new Float64Array(size).fill(-Infinity),
        total: new Float64Array(size),
        pull: new Float64Array(size),
        kept: [],
        updates: 0,
      }),
      fold(sum: Sum, update, setting, { round }) {
        sum.updates++;
        if (variant === "code") {
          sum.kept.push(update);
          return;
        }
        foldScores(sum, update, setting, options);
        if (options.remembered !== undefined) sum.vectors[`counted:${update.client}`] = Float64Array.of(round);
      },
      finish(sum: Sum, server, setting, { round }) {
        if (sum.updates === 0) return server;
        if (variant === "code") return asPublished(sum.kept, server, setting, options, round);
        const parameters = server.parameters.slice();
        for (let i = 0; i < parameters.length; i++) {
          const pull = sum.pull[i]! / sum.total[i]!;
          // Nobody trained it: 0 ÷ 0.
          if (pull !== 0 && !Number.isNaN(pull)) parameters[i] = parameters[i]! - pull;
        }
        return { ...server, parameters, vectors: latest(sum.vectors, options.remembered) };
      },
      report: ({ parameters }, before) => ({ meanPull: meanChange(before.parameters, parameters) }),
    };
  },
});

/** Mean of what was taken from the parameters: that disagreement pushes them down shows in its sign. */
function meanChange(before: Float32Array, after: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < after.length; i++) sum += before[i]! - after[i]!;
  return sum / after.length;
}

/** Without the moments of those who were counted least recently, of two the lower client. */
function latest(vectors: Record<string, Vectors[string]>, remembered = Number.POSITIVE_INFINITY) {
  const clients = Object.keys(vectors).flatMap((name) => (name.startsWith("counted:") ? [name.slice(8)] : []));
  if (clients.length <= remembered) return vectors;
  const roundOf = (client: string) => vectors[`counted:${client}`]![0]!;
  const oldest = clients.toSorted((a, b) => roundOf(a) - roundOf(b) || Number(a) - Number(b));
  const gone = new Set(
    oldest.slice(0, -remembered).flatMap((client) => ["m", "v", "n", "counted"].map((of) => `${of}:${client}`)),
  );
  return Object.fromEntries(Object.entries(vectors).filter(([name]) => !gone.has(name)));
}

function foldScores(sum: Sum, update: Update, { layout }: Setting, options: Options): void {
  const { a, b1, b2, epsilon, signal, prior } = options;
  const { top, total, pull, vectors } = sum;
  const { client, values, base, discount, clip = 1 } = update;
  const factor = discount * clip;
  const weight = prior === "size" ? update.examples : 1;
  const m = Float64Array.from(vectors[`m:${client}`] ?? new Float64Array(layout.size));
  const v = Float64Array.from(vectors[`v:${client}`] ?? new Float64Array(layout.size));
  // A group that the client does not train rests, and counts fewer updates than the others.
  const counted = Float64Array.from(vectors[`n:${client}`] ?? new Float64Array(layout.groups.length));
  for (const [group, { ranges }] of layout.groups.entries()) {
    if (!hasTrained(update, group)) continue;
    const n = ++counted[group]!;
    const [c1, c2] = [1 - b1 ** n, 1 - b2 ** n];
    for (const { start, end } of ranges) {
      for (let i = start; i < end; i++) {
        const g = factor * (base[i]! - values[i]!);
        m[i] = b1 * m[i]! + (1 - b1) * g;
        v[i] = b2 * v[i]! + (1 - b2) * g * g;
        const u = (a * (m[i]! / c1)) / Math.sqrt(v[i]! / c2 + epsilon);
        const score = signal === "abs" ? Math.abs(u) : u;
        if (score > top[i]!) {
          const shrink = Math.exp(top[i]! - score);
          total[i]! *= shrink;
          pull[i]! *= shrink;
          top[i] = score;
        }
        const share = weight * Math.exp(score - top[i]!);
        total[i]! += share;
        pull[i]! += share * g;
      }
    }
  }
  vectors[`m:${client}`] = m;
  vectors[`v:${client}`] = v;
  vectors[`n:${client}`] = counted;
}

/** One pair of moments that the clients update in turn; all scores have one floor. */
function asPublished(
  updates: readonly Update[],
  server: ServerState,
  { layout }: Setting,
  { a, b1, b2, epsilon, signal, form }: Options,
  round: number,
): ServerState {
  const m = Float64Array.from(server.vectors.m ?? new Float64Array(layout.size));
  const v = Float64Array.from(server.vectors.v ?? new Float64Array(layout.size));
  const [c1, c2] = [1 - b1 ** round, form === "adagrad" ? 1 : 1 - b2 ** round];
  let floor = Infinity;
  const scores = updates.map((update) => {
    const score = new Float64Array(layout.size);
    const factor = update.discount * (update.clip ?? 1);
    const wanted = (group: number) => hasTrained(update, group);
    eachOf(layout, wanted, (i) => {
      const g = factor * (update.base[i]! - update.values[i]!);
      m[i] = b1 * m[i]! + (1 - b1) * g;
      v[i] = form === "adam" ? b2 * v[i]! + (1 - b2) * g * g : nextVariance(form, v[i]!, g * g, b2);
      const u = (a * (m[i]! / c1)) / (Math.sqrt(v[i]! / c2) + epsilon);
      score[i] = signal === "abs" ? Math.abs(u) : u;
      floor = Math.min(floor, score[i]!);
    });
    return score;
  });
  const pull = new Float64Array(layout.size);
  const total = new Float64Array(layout.size);
  for (const [at, update] of updates.entries()) {
    const factor = update.discount * (update.clip ?? 1);
    const wanted = (group: number) => hasTrained(update, group);
    eachOf(layout, wanted, (i) => {
      const share = Math.log(scores[at]![i]! - floor + 1) + 1e-8;
      total[i]! += share;
      pull[i]! += share * factor * (update.base[i]! - update.values[i]!);
    });
  }
  const parameters = server.parameters.slice();
  for (let i = 0; i < parameters.length; i++) {
    if (pull[i] !== 0) parameters[i] = parameters[i]! - pull[i]! / total[i]!;
  }
  return { ...server, parameters, vectors: { ...server.vectors, m, v } };
}
