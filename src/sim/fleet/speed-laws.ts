/**
 * How fast the devices of a tier train, in tokens per second.
 *
 * A law is quoted at one number of experts per token; `devices.ts` converts it to the client's own budget, so that
 * compute time counts active experts only. Figures of phones: Yang et al., "Characterizing impacts of heterogeneity in
 * federated learning upon large-scale smartphone data" (FLASH), WWW 2021, https://arxiv.org/abs/2006.06983.
 */
import * as z from "zod";
import { unreachable } from "../../base/errors.ts";
import { notNegative, ownFunction, positive } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import type { Draws, Rng } from "../../base/random.ts";
import { drawFrom, lawSchema, pickByShare, positiveNormal } from "./laws.ts";

const deviceClass = z.strictObject({
  name: z.string().describe("what it is called; for readers"),
  share: notNegative.describe("how many devices are of it, relative to other classes; shares need not sum to 1"),
  mean: positive.describe("mean seconds of a batch"),
  sd: notNegative.describe("standard deviation of these"),
});

const fastest = positive.describe("tokens per second of the fastest device there can be");
const used = "a share in (0, 1]";

export const speedSchema = z.discriminatedUnion("type", [
  z
    .strictObject({ type: z.literal("tokens-per-second"), law: lawSchema.describe("of tokens per second") })
    .describe("tokens per second: the same for every device, or drawn once per device from a law"),
  z
    .strictObject({ type: z.literal("seconds-per-token"), law: lawSchema.describe("of seconds per token") })
    .describe("the same, for laws of the time a token takes; half-normal, exponential and Pareto stragglers are times"),
  z
    .strictObject({
      type: z.literal("flops"),
      flops: lawSchema.describe("what the device can do in a second, FLOP/s"),
      utilisation: z.number().gt(0, used).max(1, used).describe("share of them that training gets"),
    })
    .describe("tokens/s = flops · utilisation ÷ flopsPerToken(k)"),
  z
    .strictObject({ type: z.literal("zipf"), fastest, exponent: notNegative.describe("0 makes all devices equal") })
    .describe("the device of rank r (1 = fastest) has speed fastest · r^(−exponent); ranks are shuffled over the tier"),
  z
    .strictObject({ type: z.literal("pareto"), fastest, alpha: positive.describe("the smaller, the more stragglers") })
    .describe("time per token is Pareto: P(T > t) = (1 ÷ (fastest · t))^alpha"),
  z
    .strictObject({
      type: z.literal("classes"),
      tokensPerBatch: positive.describe("of the batches whose seconds are given"),
      classes: z
        .array(deviceClass)
        .min(1)
        .refine((classes) => classes.some(({ share }) => share > 0), "at least one class with a share above 0")
        .readonly()
        .describe("kinds of devices"),
    })
    .describe("a device class by share, then a normal time per batch inside the class"),
  z
    .strictObject({ type: z.literal("trace") })
    .describe("`tokensPerSecond` of the client's record in the tier's device trace"),
  z
    .strictObject({
      type: z.literal("function"),
      of: ownFunction<(client: ClientId, draws: Draws) => number>("a function (client, draws) => tokens/s").describe(
        "(client, draws) => tokens per second",
      ),
    })
    .describe("a law of your own. It must draw all its chance from `draws`"),
]);

export type SpeedLaw = Readonly<z.output<typeof speedSchema>>;

/** Phones of unknown model, low : mid : high, as FLASH draws them. */
const flashShares = [18_820, 16_428, 159] as const;

const flashSeconds = {
  "reddit-lstm": [2.596, 0.336, 0.916, 0.021, 0.528, 0.049],
  "celeba-cnn": [5.392, 0.983, 1.355, 0.055, 0.561, 0.02],
  "femnist-cnn": [1.642, 0.1, 0.588, 0.024, 0.179, 0.002],
  "shakespeare-lstm": [28.621, 1.721, 13.579, 0.105, 10.681, 0.126],
} as const;

type FlashTask = keyof typeof flashSeconds;

/** FLASH's measured low, mid and high phones (Nexus S, Redmi Note 7 Pro, Pixel 4) on one of its tasks. */
export function flashPhones(task: FlashTask, tokensPerBatch: number): SpeedLaw {
  const classes = ["low", "mid", "high"].map((name, i) => ({
    name,
    share: flashShares[i]!,
    mean: flashSeconds[task][2 * i]!,
    sd: flashSeconds[task][2 * i + 1]!,
  }));
  return { type: "classes", tokensPerBatch, classes };
}

/** Standard deviation of ln(speed) over the 333 phones of AI Benchmark that FLASH ships; `mild` is FedScale's 0.6. */
export const aiBenchmarkSigma = { mild: 0.6, cpu: 0.93, "cpu-quantised": 0.89, accelerators: 1.36 } as const;

/** Log-normal speeds as spread as phones on the market are. */
export const aiBenchmark = (
  median: number,
  spread: keyof typeof aiBenchmarkSigma = "cpu",
): Extract<SpeedLaw, { type: "tokens-per-second" }> => ({
  type: "tokens-per-second",
  law: { type: "log-normal", median, sigma: aiBenchmarkSigma[spread] },
});

/** What a speed law may look at besides its own numbers. */
export interface SpeedContext {
  readonly rng: Rng;
  /** Number of the tier; keys what belongs to a tier as a whole. */
  readonly tier: number;
  readonly first: number;
  readonly clients: number;
  /** Cost of one token at the number of experts the law is quoted at. */
  readonly flopsPerToken: number;
  /** Tokens per second of the client's record in the tier's trace. */
  readonly traced: (client: number) => number;
}

/** A function from client to tokens per second at the quoted number of experts. */
export function speedOf(law: SpeedLaw, context: SpeedContext): (client: number) => number {
  const lane = context.rng.at("device speed");
  switch (law.type) {
    case "tokens-per-second": {
      const { law: speed } = law;
      return typeof speed === "number" ? () => speed : (client) => drawFrom(speed, lane.at(client));
    }
    case "seconds-per-token":
      return (client) => 1 / drawFrom(law.law, lane.at(client));
    case "flops": {
      const tokensPerFlop = law.utilisation / context.flopsPerToken;
      const { flops } = law;
      if (typeof flops === "number") return () => flops * tokensPerFlop;
      return (client) => drawFrom(flops, lane.at(client)) * tokensPerFlop;
    }
    case "zipf": {
      const ranks = new Uint32Array(context.clients).map((_, i) => i + 1);
      context.rng.at("device rank").at(context.tier).shuffle(ranks);
      return (client) => law.fastest * ranks[client - context.first]! ** -law.exponent;
    }
    case "pareto":
      return (client) => law.fastest * (1 - lane.at(client).uniform()) ** (1 / law.alpha);
    case "classes": {
      const shares = law.classes.map(({ share }) => share);
      return (client) => {
        const draws = lane.at(client);
        const chosen = law.classes[pickByShare(shares, draws)]!;
        return law.tokensPerBatch / positiveNormal(chosen.mean, chosen.sd, draws);
      };
    }
    case "trace":
      return context.traced;
    case "function":
      return (client) => law.of(client as ClientId, lane.at(client));
    default:
      return unreachable(law);
  }
}
