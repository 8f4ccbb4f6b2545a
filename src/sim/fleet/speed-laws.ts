/**
 * How fast the devices of a tier train, in tokens per second.
 *
 * A law is quoted at one number of experts per token; `devices.ts` converts it to the client's own budget, so that
 * compute time counts active experts only. Figures of phones: Yang et al., "Characterizing impacts of heterogeneity in
 * federated learning upon large-scale smartphone data" (FLASH), WWW 2021, https://arxiv.org/abs/2006.06983.
 */
import { unreachable } from "../../base/errors.ts";
import type { ClientId } from "../../base/ids.ts";
import { checkNotNegative, checkPositive, checkThat, type Problem, problem } from "../../base/problem.ts";
import type { Draws, Rng } from "../../base/random.ts";
import { checkLaw, drawFrom, type Law, pickByShare, positiveNormal } from "./laws.ts";

export type SpeedLaw =
  /** Tokens per second: the same for every device, or drawn once per device from a law. */
  | { readonly type: "tokens-per-second"; readonly law: Law }
  /** The same, for laws of the time a token takes; half-normal, exponential and Pareto stragglers are times. */
  | { readonly type: "seconds-per-token"; readonly law: Law }
  /** tokens/s = flops · utilisation ÷ flopsPerToken(k). */
  | { readonly type: "flops"; readonly flops: Law; readonly utilisation: number }
  /** The device of rank r (1 = fastest) has speed fastest · r^(−exponent); ranks are shuffled over the tier. */
  | { readonly type: "zipf"; readonly fastest: number; readonly exponent: number }
  /** Time per token is Pareto: P(T > t) = (1 ÷ (fastest · t))^alpha. */
  | { readonly type: "pareto"; readonly fastest: number; readonly alpha: number }
  /** A device class by share, then a normal time per batch inside the class. */
  | { readonly type: "classes"; readonly tokensPerBatch: number; readonly classes: readonly DeviceClass[] }
  /** `tokensPerSecond` of the client's record in the tier's device trace. */
  | { readonly type: "trace" }
  /** A user's own law. It must draw all its chance from `draws`. */
  | { readonly type: "function"; readonly of: (client: ClientId, draws: Draws) => number };

export interface DeviceClass {
  readonly name: string;
  /** Relative; shares need not sum to 1. */
  readonly share: number;
  /** Seconds per batch. */
  readonly mean: number;
  readonly sd: number;
}

/** Phones of unknown model, low : mid : high, as FLASH draws them. */
const flashShares = [18_820, 16_428, 159] as const;

const flashSeconds = {
  "reddit-lstm": [2.596, 0.336, 0.916, 0.021, 0.528, 0.049],
  "celeba-cnn": [5.392, 0.983, 1.355, 0.055, 0.561, 0.02],
  "femnist-cnn": [1.642, 0.1, 0.588, 0.024, 0.179, 0.002],
  "shakespeare-lstm": [28.621, 1.721, 13.579, 0.105, 10.681, 0.126],
} as const;

export type FlashTask = keyof typeof flashSeconds;

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

export function checkSpeedLaw(path: string, law: SpeedLaw): Problem[] {
  switch (law.type) {
    case "tokens-per-second":
    case "seconds-per-token":
      return checkLaw(`${path}.law`, law.law);
    case "flops":
      return [
        ...checkLaw(`${path}.flops`, law.flops),
        ...checkThat(
          law.utilisation > 0 && law.utilisation <= 1,
          `${path}.utilisation`,
          "a share in (0, 1]",
          law.utilisation,
        ),
      ];
    case "zipf":
      return [...checkPositive(`${path}.fastest`, law.fastest), ...checkNotNegative(`${path}.exponent`, law.exponent)];
    case "pareto":
      return [...checkPositive(`${path}.fastest`, law.fastest), ...checkPositive(`${path}.alpha`, law.alpha)];
    case "classes":
      return [
        ...checkPositive(`${path}.tokensPerBatch`, law.tokensPerBatch),
        ...checkThat(
          law.classes.some(({ share }) => share > 0),
          `${path}.classes`,
          "at least one class with a share above 0",
          law.classes,
        ),
        ...law.classes.flatMap(({ share, mean, sd }, i) => [
          ...checkNotNegative(`${path}.classes[${i}].share`, share),
          ...checkPositive(`${path}.classes[${i}].mean`, mean),
          ...checkNotNegative(`${path}.classes[${i}].sd`, sd),
        ]),
      ];
    case "trace":
      return [];
    case "function":
      return checkThat(typeof law.of === "function", `${path}.of`, "a function (client, draws) => tokens/s", law.of);
    default:
      return [problem(path, "a speed law", law)];
  }
}
