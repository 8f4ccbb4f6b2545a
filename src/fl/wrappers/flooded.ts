/** FLood: two weights around any averaging method, from how much data look like what the model knows. */
import * as z from "zod";
import { ScenarioError } from "../../base/errors.ts";
import type { ParameterLayout } from "../../tasks/layout.ts";
import { inOrder, type Probe, type StepContext } from "../../tasks/steps.ts";
import type { Pass } from "../../tasks/task.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import {
  add,
  addScalar,
  cast,
  div,
  exp,
  log,
  mul,
  reduceMax,
  reduceSum,
  scale,
  sub,
} from "../../tensor/ops/arithmetic.ts";
import { detach, integerDivide, less } from "../../tensor/ops/discrete.ts";
import { gatherRows, scatterAddRows, topK } from "../../tensor/ops/index-ops.ts";
import { reshape } from "../../tensor/ops/layout.ts";
import { softmax } from "../../tensor/ops/nn.ts";
import type { About } from "../about.ts";
import { usual } from "../plan.ts";
import { onesOf } from "../probes.ts";
import type { Strategy } from "../strategy.ts";
import { hasTrained, type Update } from "../update.ts";

export const aboutFlood: About = {
  adapts: "the weight of examples and clients, by how much they look like what the model knows",
  formula: `
    s = T·logsumexp(z ÷ T)                            higher = more in-distribution
    loss = (1/b) · Σ w_i·CE_i,   w_i = λ where s_i < τ, else 1            no gradient through w
    w_k = (p_k + α·o_k) ÷ (1 + α),   p_k: the method's own weight, o_k = S_k ÷ Σ S_j
  `,
  notes: `
    τ is the order statistic ⌊q·(b − 1)⌋ of a batch's scores, S_k the client's mean score under the model it trained. λ
    follows a schedule over rounds that starts near 0 (flagged examples are ignored) and ends at twice the amplitude (they
    dominate); the round is counted from 0, and round 0 has λ = 1. Where any S_k is not positive, every score is measured
    from the smallest, or the round is the method's own (nonPositive "plain"). With cap no o_k is more than 5 ÷ clients,
    and w_k is divided by 1 + α·Σ o_j, which is less then. The detector "ash" leaves of what the head reads the twentieth that
    is largest (ASH-P), and takes the energy of that. Around a rule that looks at all updates at once, as robust ones do,
    only with α = 0; around a method whose objective is not the loss, only with the schedule "off".
  `,
  sends: "S_k; receives λ unless the schedule is off",
  keeps: null,
  sources: [
    {
      by: "Ling et al.",
      title: "Adaptive Dual-Weighting Framework for Federated Learning via Out-of-Distribution Detection",
      year: 2026,
      url: "https://arxiv.org/abs/2602.01039",
    },
    {
      by: "Djurisic et al.",
      title: "Extremely Simple Activation Shaping for Out-of-Distribution Detection",
      year: 2023,
      url: "https://arxiv.org/abs/2209.09858",
    },
  ],
  certainty: "as published",
  reduces: [{ options: { flood: { alpha: 0, schedule: "off" } }, gives: ["bytes"] }],
};

export const floodFields = {
  alpha: z.number().min(0).default(0.5).describe("α"),
  quantile: z.number().min(0).max(1).multipleOf(0.001).default(0.7).describe("q, to a thousandth"),
  cap: z
    .boolean()
    .default(false)
    .describe("whether o_k is at most 5 ÷ clients; the server then keeps updates until the end"),
  nonPositive: z
    .enum(["shift", "plain"])
    .default("shift")
    .describe("what a score that is not positive does: all are measured from the smallest, or α is 0 in this round"),
  detector: z.enum(["energy", "softmax", "logit", "gen", "ash"]).default("energy").describe("what s is"),
  temperature: z.number().positive().default(1).describe("T of the energy"),
  granularity: z.enum(["sequence", "token"]).default("sequence").describe("what is scored and weighed"),
  schedule: z
    .enum(["sigmoid-normalised", "sigmoid", "cosine", "linear", "quadratic", "exponential", "constant", "off"])
    .default("sigmoid-normalised")
    .describe("of λ; constant keeps it at the amplitude, off at 1"),
  amplitude: z.number().min(0).default(2).describe("a; the authors take 50 over 1,000 rounds"),
  horizon: z.int().min(1).default(10).describe("T_c, in rounds"),
};

export type FloodOptions = z.output<z.ZodObject<typeof floodFields>>;

interface Sum<Host> {
  readonly host: Host;
  /** Σ S_k·Δ_k and Σ Δ_k over those that count for a group; Σ S_k and their number. */
  readonly scored: Float64Array;
  readonly plain: Float64Array;
  readonly scores: Float64Array;
  readonly counted: Uint32Array;
  readonly trained: Uint8Array;
  /** Where scores have a cap, which is known in the end. */
  readonly kept: Update[];
  least: number;
}

export function flooded<Host>(host: Strategy<Host>, options: FloodOptions): Strategy<Sum<Host>> {
  const { alpha, cap, detector, schedule } = options;
  if (alpha > 0 && host.folding === "all") {
    throw new ScenarioError(
      `strategy.flood.alpha is ${alpha}, expected 0 around ${host.name}: its second mean would count whom ${host.name} leaves out`,
    );
  }
  if (alpha > 0 && host.sums === "products") {
    throw new ScenarioError(
      `strategy.flood.alpha is ${alpha}, expected 0 around ${host.name}: its second mean is one of deltas, and that sums products`,
    );
  }
  if (alpha > 0 && host.sums === "bounded") {
    throw new ScenarioError(
      `strategy.flood.alpha is ${alpha}, expected 0 around ${host.name}: its second mean would show of a client what that bounds`,
    );
  }
  if (schedule !== "off" && host.ownObjective === true) {
    throw new ScenarioError(
      `strategy.flood.schedule is "${schedule}", expected "off" around ${host.name}: its objective is not made of the loss that examples are weighed in`,
    );
  }
  return {
    ...host,
    name: `${host.name}+flood(α=${alpha})`,
    spec: host.spec && { ...host.spec },
    ...(detector === "ash" && { needs: [...(host.needs ?? []), "readout" as const] }),
    ...(alpha > 0 && cap && { folding: "all" as const }),
    plan(client, server, setting) {
      const plan = host.plan?.(client, server, setting) ?? usual(client, setting);
      const { down = 4 * setting.layout.size, up = 4 * setting.layout.size } = plan.bytes ?? {};
      return {
        ...plan,
        ...(schedule !== "off" && { inputs: { ...plan.inputs, floodLambda: lambdaOf(options, client.round - 1) } }),
        bytes: { down: down + (schedule === "off" ? 0 : 8), up: up + 8 },
      };
    },
    steps(kind, setting) {
      const steps = host.steps?.(kind, setting) ?? {};
      const probes = inOrder(steps.after);
      // The host's last pass finds both.
      const [others, last] = [probes.slice(0, -1), probes.at(-1)];
      const scored: Probe = (at) => {
        const { scores, present } = scoresOf(at, options);
        return {
          ...last?.(at),
          floodScore: reduceSum(mul(scores, present), [0], true),
          floodItems: reduceSum(present, [0], true),
        };
      };
      return {
        ...steps,
        merges: false,
        ...(schedule !== "off" && {
          given: { ...steps.given, floodLambda: "scalar" as const },
          objective(at: StepContext) {
            const loss = at.mean(mul(at.pass.losses, weightsOf(at, options)));
            return steps.objective?.({ ...at, loss }) ?? loss;
          },
        }),
        after: [...others, scored],
      };
    },
    reply(trained, plan, client, setting) {
      const reply = host.reply?.(trained, plan, client, setting) ?? {};
      const { floodScore, floodItems } = trained.found;
      return { ...reply, sent: { ...reply.sent, floodScore: floodScore![0]! / floodItems![0]! } };
    },
    begin: (server, setting) => ({
      host: host.begin(server, setting),
      scored: new Float64Array(setting.layout.size),
      plain: new Float64Array(setting.layout.size),
      scores: new Float64Array(setting.layout.groups.length),
      counted: new Uint32Array(setting.layout.groups.length),
      trained: new Uint8Array(setting.layout.groups.length),
      kept: [],
      least: Infinity,
    }),
    fold(sum, update, setting, at) {
      host.fold(sum.host, update, setting, at);
      if (alpha === 0) return;
      const score = update.sent.floodScore as number;
      const counts = (group: number) => host.weight(update, group, setting.layout) > 0;
      foldScore(sum, update, score, setting.layout, counts);
      if (cap) sum.kept.push(update);
      else foldScored(sum, update, setting.layout, (group) => (counts(group) ? score : 0));
    },
    async finish(sum, server, setting, at) {
      const next = await host.finish(sum.host, server, setting, at);
      if (alpha === 0 || next === server) return next;
      if (sum.least <= 0 && options.nonPositive === "plain") return next;
      // Scores that are not all positive are measured from the smallest.
      const shift = sum.least > 0 ? 0 : 1e-6 - sum.least;
      const { layout } = setting;
      const totals = sum.scores.map((scores, group) => scores + shift * sum.counted[group]!);
      const masses = cap ? foldCapped(sum, shift, totals, layout, host) : null;
      const parameters = next.parameters.slice();
      for (const [group, { ranges }] of layout.groups.entries()) {
        const total = totals[group]!;
        if (sum.trained[group] === 0 || total === 0) continue;
        const own = alpha * (masses === null ? 1 : masses[group]! / total);
        for (const { start, end } of ranges) {
          for (let i = start; i < end; i++) {
            const pull = (sum.scored[i]! + (masses === null ? shift * sum.plain[i]! : 0)) / total;
            // The sign of a zero stays.
            if (pull === 0 && next.parameters[i] === server.parameters[i]) continue;
            parameters[i] = (next.parameters[i]! + own * server.parameters[i]! + alpha * pull) / (1 + own);
          }
        }
      }
      return { ...next, parameters };
    },
  };
}

function foldScore<Host>(
  sum: Sum<Host>,
  update: Update,
  score: number,
  { groups }: ParameterLayout,
  counts: (group: number) => boolean,
): void {
  sum.least = Math.min(sum.least, score);
  for (const group of groups.keys()) {
    if (!counts(group)) continue;
    sum.scores[group]! += score;
    sum.counted[group]!++;
    if (hasTrained(update, group)) sum.trained[group] = 1;
  }
}

function foldScored<Host>(
  sum: Sum<Host>,
  update: Update,
  { groups }: ParameterLayout,
  scoreIn: (group: number) => number,
): void {
  const { values, base, discount, clip = 1 } = update;
  const factor = discount * clip;
  for (const [group, { ranges }] of groups.entries()) {
    const score = scoreIn(group);
    if (score === 0 || !hasTrained(update, group)) continue;
    for (const { start, end } of ranges) {
      for (let i = start; i < end; i++) {
        const change = factor * (values[i]! - base[i]!);
        sum.plain[i]! += change;
        sum.scored[i]! += score * change;
      }
    }
  }
}

/** @returns Σ of capped scores, of each group */
function foldCapped<Host>(
  sum: Sum<Host>,
  shift: number,
  totals: Float64Array,
  layout: ParameterLayout,
  host: Strategy<Host>,
): Float64Array {
  const masses = new Float64Array(totals.length);
  for (const update of sum.kept) {
    const score = (update.sent.floodScore as number) + shift;
    const capped = totals.map((total, group) =>
      host.weight(update, group, layout) > 0 ? Math.min(score, (5 * total) / sum.counted[group]!) : 0,
    );
    for (const [group, own] of capped.entries()) masses[group]! += own;
    foldScored(sum, update, layout, (group) => capped[group]!);
  }
  return masses;
}

/** @internal λ of a round, counted from 0. */
export function lambdaOf({ schedule, amplitude: a, horizon: T }: FloodOptions, round: number): number {
  if (schedule === "off" || round <= 0) return 1;
  if (schedule === "constant") return a;
  // The schedule at r is what the round after r trains with.
  const r = Math.min(round - 1, T);
  const u = r / T;
  const sigma = (x: number) => 1 / (1 + Math.exp(-x));
  switch (schedule) {
    case "sigmoid-normalised":
      return (2 * a * (sigma(10 * (u - 0.5)) - sigma(-5))) / (sigma(5) - sigma(-5));
    case "sigmoid":
      return (2 * a * (sigma(10 * (r - T / 2)) - sigma(-5 * T))) / (sigma(5 * T) - sigma(-5 * T));
    case "cosine":
      return a * (1 - Math.cos(Math.PI * u));
    case "linear":
      return 2 * a * u;
    case "quadratic":
      return 2 * a * u * u;
    case "exponential":
      return (2 * a * (1 - Math.exp(-5 * r))) / (1 - Math.exp(-5 * T));
  }
}

/** w of every target: λ where its sequence, or the target itself, is flagged. */
function weightsOf(at: StepContext, options: FloodOptions): Tensor {
  const { scores, present } = scoresOf(at, options);
  const flagged = flagsOf(detach(scores), present, options.quantile);
  const weights = addScalar(mul(flagged, addScalar(at.given.floodLambda!, -1)), 1);
  if (options.granularity === "token") return weights;
  const rows = present.shape[0] as number;
  const targets = at.pass.losses.shape;
  return reshape(gatherRows(reshape(weights, [rows, 1]), at.pass.example()), targets);
}

/**
 * 1 for what lies below the order statistic ⌊q·(n − 1)⌋ of the n items that are present. An item does if at most so many
 * are no larger than it is, itself included; so nothing is sorted, and ties at the threshold are not flagged.
 */
function flagsOf(scores: Tensor, present: Tensor, quantile: number): Tensor {
  const [items] = scores.shape;
  const column = reshape(scores, [items!, 1]);
  const row = reshape(scores, [1, items!]);
  const notLarger = mul(addScalar(scale(less(column, row), -1), 1), reshape(present, [1, items!]));
  const rank = reduceSum(notLarger, [1]);
  const last = addScalar(reduceSum(present, [0], true), -1);
  const index = integerDivide(cast(scale(last, Math.round(1_000 * quantile)), "int64"), 1_000);
  return mul(less(rank, addScalar(cast(index, "float32"), 0.5)), present);
}

/** One score for each row of the batch or each target, and which of them are there. */
function scoresOf({ pass }: StepContext, options: FloodOptions): { readonly scores: Tensor; readonly present: Tensor } {
  const perTarget = detectorOf(pass, options);
  if (options.granularity === "token") return { scores: perTarget, present: onesOf(perTarget) };
  const [targets] = perTarget.shape;
  const present = pass.present();
  const rows = present.shape[0] as number;
  const column = reshape(perTarget, [targets!, 1]);
  const sums = scatterAddRows(column, pass.example(), rows);
  const counts = scatterAddRows(onesOf(column), pass.example(), rows);
  // A row without targets has a sum of 0; what it is divided by does not matter.
  const means = div(sums, add(counts, scale(addScalar(reshape(present, [rows, 1]), -1), -1)));
  return { scores: reshape(means, [rows]), present };
}

function detectorOf(pass: Pass, { detector, temperature }: FloodOptions): Tensor {
  const { logits } = pass;
  const axis = [logits.shape.length - 1];
  switch (detector) {
    case "logit":
      return reduceMax(logits, axis);
    case "softmax":
      return reduceMax(softmax(logits), axis);
    case "gen": {
      const { values } = topK(softmax(logits), Math.min(10, logits.shape.at(-1) as number));
      const power = (p: Tensor) => exp(scale(log(addScalar(p, 1e-12)), 0.1));
      return scale(reduceSum(mul(power(values), power(addScalar(scale(values, -1), 1))), axis), -1);
    }
    case "ash":
      return energyOf(pass.readout!(shaped), temperature);
    case "energy":
      return energyOf(logits, temperature);
  }
}

function energyOf(logits: Tensor, temperature: number): Tensor {
  const axis = [logits.shape.length - 1];
  const top = reduceMax(logits, axis, true);
  const sums = reduceSum(exp(scale(sub(logits, top), 1 / temperature)), axis);
  return add(scale(log(sums), temperature), reduceMax(logits, axis));
}

/** ASH-P: of each row the twentieth that is largest, and zeros elsewhere. @param x `[rows, …]` */
function shaped(x: Tensor): Tensor {
  const size = x.shape.slice(1).reduce<number>((product, dim) => product * (dim as number), 1);
  const flat = reshape(x, [x.shape[0]!, size]);
  const { values } = topK(flat, Math.max(1, size - Math.round(0.95 * size)));
  const least = scale(reduceMax(scale(values, -1), [1], true), -1);
  return reshape(mul(flat, addScalar(scale(less(flat, least), -1), 1)), x.shape);
}
