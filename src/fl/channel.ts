/**
 * A fading multiple-access channel: all clients send at once, and what the server hears is already the sum.
 *
 *   b_k = c·w_k·√v_k ÷ h_k,   c = min over active of √P·|h_k| ÷ (w_k·√v_k)
 *   heard: Σ w_k·Δ_k + Re(noise) ÷ c                                 noise ~ CN(0, σ²), P ÷ σ² = SNR
 *
 * h_k ~ CN(0, 1) anew each round, times a path loss of its own with shadowing, known to client and server. Transceiver
 * after Hamidi et al., "Over-the-Air Fair Federated Learning via Multi-Objective Optimization", 2025,
 * https://arxiv.org/abs/2501.03392; derived.
 */
import * as z from "zod";
import type { ClientId } from "../base/ids.ts";
import type { ParameterLayout, Range } from "../tasks/layout.ts";
import type { KeyedDraws, Setting } from "../tasks/task.ts";
import type { At } from "./strategy.ts";

export const channelFields = {
  snr: z.number().min(-50).max(100).default(20).describe("SNR in dB"),
  noiseless: z.boolean().default(false).describe("an infinite SNR, which JSON cannot hold"),
  shadowing: z.number().min(0).max(40).default(0).describe("standard deviation of the path loss in dB; 0 for none"),
  minGain: z
    .number()
    .min(0)
    .default(0)
    .describe("clients with a weaker |h_k| stay silent, and the others make up for them"),
  phaseError: z
    .number()
    .min(0)
    .max(Math.PI)
    .default(0)
    .describe("largest phase error in radians; multiplies a contribution by its cosine"),
  paired: z
    .boolean()
    .default(false)
    .describe("two parameters to a symbol, in its real and imaginary part: half the channel uses, the same noise"),
  dropAfterScheduling: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe("probability that a client whose weight is settled does not transmit; nobody notices"),
};

export type ChannelOptions = z.output<z.ZodObject<typeof channelFields>>;

/**
 * Bytes ahead of the slot: so many numbers of a client's own, and of each group mean and variance; back comes what each
 * group is multiplied by.
 */
export const controlLink = ({ groups }: ParameterLayout, own: number) => ({
  up: 8 * (own + 2 * groups.length),
  down: 8 * groups.length,
});

/** Symbols that an update takes, of all clients together. */
export const usesOf = ({ size }: ParameterLayout, { paired }: Pick<ChannelOptions, "paired">): number =>
  Math.ceil(size / (paired ? 2 : 1));

export interface Link {
  /** |h_k| */
  readonly gain: number;
  /** What arrives of the contribution: the cosine of the phase error, 0 for a client that says nothing. */
  readonly share: number;
}

/** The channel of a client in this round; the same whoever else takes part. */
export function linkOf(client: ClientId, setting: Setting, { draws }: At, options: ChannelOptions): Link {
  const { shadowing, phaseError, dropAfterScheduling } = options;
  const fading = draws(`fading ${client}`);
  const loss = 10 ** ((shadowing * setting.draws(`shadowing ${client}`).normal()) / 20);
  const gain = loss * Math.sqrt((fading.normal() ** 2 + fading.normal() ** 2) / 2);
  const phase = phaseError * (2 * fading.uniform() - 1);
  return { gain, share: fading.uniform() < dropAfterScheduling ? 0 : Math.cos(phase) };
}

/** c for P = 1: the largest for which no client exceeds its power; Infinity when nobody has anything to send. */
export const scaleOf = (weights: ArrayLike<number>, variances: readonly number[], gains: readonly number[]): number =>
  bottleneckOf(weights, variances, gains).scale;

/** That, and where the client stands whose power it is that sets it; −1 where there is none. */
export function bottleneckOf(
  weights: ArrayLike<number>,
  variances: readonly number[],
  gains: readonly number[],
): { readonly scale: number; readonly at: number } {
  let found = { scale: Number.POSITIVE_INFINITY, at: -1 };
  for (const [at, variance] of variances.entries()) {
    if (!(weights[at]! > 0 && variance > 0)) continue;
    const scale = gains[at]! / (weights[at]! * Math.sqrt(variance));
    if (scale < found.scale) found = { scale, at };
  }
  return found;
}

/** Half of the noise's power lies in the real part. */
export function addNoise(
  values: Float64Array | Float32Array,
  ranges: readonly Range[],
  scale: number,
  { noiseless, snr }: ChannelOptions,
  draws: KeyedDraws,
): void {
  if (noiseless || scale === Infinity) return;
  const deviation = Math.sqrt(10 ** (-snr / 10) / 2) / scale;
  const noise = draws(`noise ${ranges[0]!.start}`);
  for (const { start, end } of ranges) {
    for (let i = start; i < end; i++) values[i] = values[i]! + deviation * noise.normal();
  }
}

/** Mean and population variance of the entries of a group. */
export function momentsOf(
  valueAt: (i: number) => number,
  ranges: readonly Range[],
): { readonly mean: number; readonly variance: number } {
  let count = 0;
  let mean = 0;
  let squares = 0;
  for (const { start, end } of ranges) {
    for (let i = start; i < end; i++) {
      const value = valueAt(i);
      const off = value - mean;
      mean += off / ++count;
      squares += off * (value - mean);
    }
  }
  return { mean, variance: count === 0 ? 0 : squares / count };
}
