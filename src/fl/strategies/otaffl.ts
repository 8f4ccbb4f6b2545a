/** OTA-FFL: weights that lean towards the worst off, and a sum that happens in the air. */
import * as z from "zod";
import type { ParameterLayout, Range } from "../../tasks/layout.ts";
import type { Steps } from "../../tasks/steps.ts";
import type { Setting } from "../../tasks/task.ts";
import { gradients } from "../../tensor/autodiff.ts";
import { reduceSum, scale } from "../../tensor/ops/arithmetic.ts";
import { addDelta } from "../averaging.ts";
import {
  addNoise,
  bottleneckOf,
  type ChannelOptions,
  channelFields,
  controlLink,
  type Link,
  linkOf,
  momentsOf,
  usesOf,
} from "../channel.ts";
import { boxChebyshev, leastNorm } from "../fair-weights.ts";
import { usual } from "../plan.ts";
import { lossBefore, onesOf, receivedLoss } from "../probes.ts";
import type { At, ServerState } from "../strategy.ts";
import { hasTrained, type Trained, type Update } from "../update.ts";
import { defineStrategy } from "../wrappers/define-strategy.ts";

export const otaffl = defineStrategy({
  type: "otaffl",
  about: {
    adapts: "the weight of clients, fair inside a box; the channel of the uplink, simulated",
    formula: `
      λ = argmax Σ λ_k·f_k   over λ ≥ 0, Σ λ_k = 1, |λ_k − a_k| ≤ ε       a_k = n_k ÷ Σ n, f_k loss at the received model
      c = min over active of √P·|h_k| ÷ (λ_k·√v_k),   b_k = c·λ_k·√v_k ÷ h_k
      θ ← θ + Σ λ_k·Δ_k + Re(noise) ÷ c                                   noise ~ CN(0, σ²), P ÷ σ² = SNR
    `,
    notes: `
      Every client sends its normalised update at once over a fading channel that it and the server know; h_k ~ CN(0, 1)
      anew each round, times a path loss of its own with shadowing. The sum is unbiased unless minGain, phaseError or
      dropAfterScheduling is set. Bytes are those of a digital upload; over the air all clients together take as
      many channel uses as there are parameters, or half, which metrics have, and with it the client whose power sets the
      noise of most groups. The transceiver is derived.
    `,
    sends: "ahead of the update its loss on the received model, and mean and variance of each group",
    keeps: null,
    sources: [
      {
        by: "Hamidi et al.",
        title: "Over-the-Air Fair Federated Learning via Multi-Objective Optimization",
        year: 2025,
        url: "https://arxiv.org/abs/2501.03392",
      },
    ],
    certainty: "rebuilt: the weight rule, recalled with medium to low confidence",
    reduces: [
      { options: { epsilon: 0, noiseless: true }, to: { type: "fedavg" }, gives: ["values"] },
      { options: { weightRule: "examples", channel: "none" }, to: { type: "fedavg" }, gives: ["values"] },
    ],
  },
  options: {
    weightRule: z
      .enum(["boxChebyshev", "softmax", "mgda", "examples"])
      .default("boxChebyshev")
      .describe("how λ is found"),
    losses: z
      .enum(["received", "training"])
      .default("received")
      .describe(
        "f_k: a pass over all examples at the received model, or the mean over the local steps, which costs none",
      ),
    sends: z
      .enum(["update", "gradient"])
      .default("update")
      .describe(
        "g_k: what local steps made of the model, or one step of the learning rate down the slope over all examples",
      ),
    utopia: z
      .array(z.number().min(0))
      .exactOptional()
      .describe("z_k, the best loss that each client could reach alone, by number: f_k − z_k counts; 0 unless given"),
    epsilon: z.number().min(0).max(1).default(0.1).describe("ε, the furthest a weight may be from a_k"),
    temperature: z.number().positive().default(1).describe("of the rule softmax, in nats"),
    channel: z.enum(["air", "none"]).default("air").describe("how updates travel"),
    ...channelFields,
  },
  name: ({ weightRule, channel, epsilon }) => `otaffl(${weightRule},ε=${epsilon},${channel})`,
  make: (options) => ({
    folding: "all",
    weight: (update) => update.examples * update.discount,
    plan: (client, _server, setting) => ({
      ...usual(client, setting),
      // It takes one step, which moves nothing.
      ...(options.sends === "gradient" && { effort: 1e-6 }),
      ...(options.channel === "air"
        ? { preliminary: controlLink(setting.layout, 2) }
        : { bytes: { up: 4 * setting.layout.size + 8 } }),
    }),
    ...(options.sends === "gradient"
      ? { steps: () => slopeBefore }
      : options.losses === "received" && { steps: lossBefore }),
    reply: (trained, plan, _client, { rate, layout }) => ({
      sent: {
        loss: options.losses === "received" || options.sends === "gradient" ? receivedLoss(trained) : trained.meanLoss,
      },
      ...(options.sends === "gradient" && { values: stepped(trained, plan.learningRate ?? rate, layout) }),
    }),
    problems: ({ clients }) =>
      options.utopia === undefined || options.utopia.length === clients
        ? []
        : [
            {
              path: "utopia",
              text: `has ${options.utopia.length} losses, expected one for each of ${clients} clients`,
            },
          ],
    ...(options.channel === "air" && {
      report({ notes }: ServerState, _before: ServerState, { layout }: Setting) {
        const { bottleneck = null } = (notes ?? {}) as { readonly bottleneck?: number | null };
        return { channelUses: usesOf(layout, options), ...(bottleneck !== null && { bottleneck }) };
      },
    }),
    begin: (): Update[] => [],
    fold: (kept: Update[], update) => void kept.push(update),
    finish(kept: Update[], server, setting, at) {
      if (kept.length === 0) return server;
      const transmitted = (weights: Float64Array) => sumInAir(kept, weights, server, setting, at, options);
      if (options.weightRule !== "mgda") return transmitted(fairWeights(kept, options));
      const vectors = kept.map((update) => Float64Array.from(update.values, (_, i) => deltaOf(update, i)));
      return at
        .work("gram", { vectors })
        .then(({ products }) => transmitted(leastNorm(priorOf(kept), products, options.epsilon)));
    },
  }),
});

/** The slope of the loss over all examples, and that loss, at the model as it was received; which local steps leave as it is. */
const slopeBefore: Steps = {
  backward: 1,
  moves: ({ parameters }) => scale(onesOf(parameters), 0),
  before: ({ pass, parameters }) => ({
    slope: gradients(reduceSum(pass.losses, [0], true), [parameters])[0]!,
    loss: reduceSum(pass.losses, [0], true),
    targets: reduceSum(onesOf(pass.losses), [0], true),
  }),
};

function stepped({ base, trained, found }: Trained, rate: number, { groups }: ParameterLayout): Float32Array {
  const values = base.slice();
  for (const [group, { ranges }] of groups.entries()) {
    if (trained[group] === 0) continue;
    for (const { start, end } of ranges) {
      for (let i = start; i < end; i++) values[i] = base[i]! - (rate * found.slope![i]!) / found.targets![0]!;
    }
  }
  return values;
}

interface Options extends ChannelOptions {
  readonly weightRule: "boxChebyshev" | "softmax" | "mgda" | "examples";
  readonly channel: "air" | "none";
  readonly epsilon: number;
  readonly temperature: number;
  readonly utopia?: readonly number[];
}

/** a_k, in the order of the updates. */
function priorOf(kept: readonly Update[]): Float64Array {
  const all = kept.reduce((sum, { examples }) => sum + examples, 0);
  return Float64Array.from(kept, ({ examples }) => (all === 0 ? 1 / kept.length : examples / all));
}

/** λ of the rules that need losses alone; they sum to 1. */
function fairWeights(kept: readonly Update[], options: Options): Float64Array {
  const { weightRule, epsilon, temperature, utopia } = options;
  const losses = kept.map(({ sent, client }) => (sent.loss as number) - (utopia?.[client] ?? 0));
  if (weightRule === "boxChebyshev") return boxChebyshev(priorOf(kept), losses, epsilon);
  if (weightRule === "examples") return priorOf(kept);
  const top = Math.max(...losses);
  const shares = Float64Array.from(losses, (loss) => Math.exp((loss - top) / temperature));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}

function sumInAir(
  kept: readonly Update[],
  weights: Float64Array,
  server: ServerState,
  setting: Setting,
  at: At,
  options: Options,
): ServerState {
  const { layout } = setting;
  const delta = new Float64Array(layout.size);
  const links = kept.map(({ client }) => linkOf(client, setting, at, options));
  const bottlenecks = kept.map(() => 0);
  for (const { ranges } of layout.groups) {
    if (options.channel === "none") {
      sumOf(kept, weights, ranges, delta);
      continue;
    }
    const bottleneck = transmit(kept, weights, links, ranges, delta, at, options);
    if (bottleneck >= 0) bottlenecks[bottleneck]! += 1;
  }
  const parameters = server.parameters.slice();
  for (const [group, { ranges }] of layout.groups.entries()) {
    if (kept.some((update) => hasTrained(update, group))) addDelta(parameters, delta, ranges);
  }
  const most = Math.max(...bottlenecks);
  const bottleneck = most > 0 ? kept[bottlenecks.indexOf(most)]!.client : null;
  return { ...server, parameters, ...(options.channel === "air" && { notes: { bottleneck } }) };
}

const deltaOf = ({ values, base, discount, clip = 1 }: Update, i: number): number =>
  discount * clip * (values[i]! - base[i]!);

function sumOf(kept: readonly Update[], weights: Float64Array, ranges: readonly Range[], delta: Float64Array): void {
  for (const [at, update] of kept.entries()) {
    for (const { start, end } of ranges)
      for (let i = start; i < end; i++) delta[i]! += weights[at]! * deltaOf(update, i);
  }
}

/**
 * One group's entries over the air: the bottleneck's power sets the scale, and with it the noise.
 *
 * @returns where the bottleneck stands; −1 where nobody sends anything
 */
function transmit(
  kept: readonly Update[],
  fair: Float64Array,
  links: readonly Link[],
  ranges: readonly Range[],
  delta: Float64Array,
  { draws }: At,
  options: Options,
): number {
  const heard = links.map(({ gain }) => gain >= options.minGain);
  const total = fair.reduce((sum, weight, at) => sum + (heard[at] ? weight : 0), 0);
  const weights = fair.map((weight, at) => (heard[at] && total > 0 ? weight / total : 0));
  const moments = kept.map((update) => momentsOf((i) => deltaOf(update, i), ranges));
  const { scale, at: bottleneck } = bottleneckOf(
    weights,
    moments.map(({ variance }) => variance),
    links.map(({ gain }) => gain),
  );
  for (const [at, update] of kept.entries()) {
    const { mean } = moments[at]!;
    const { share } = links[at]!;
    for (const { start, end } of ranges) {
      for (let i = start; i < end; i++) {
        delta[i]! += weights[at]! * (mean + share * (deltaOf(update, i) - mean));
      }
    }
  }
  addNoise(delta, ranges, scale, options, draws);
  return bottleneck;
}
