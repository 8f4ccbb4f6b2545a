/**
 * What malicious and faulty clients do to their updates before they send them. Everything else about them is honest:
 * their timing, their losses, their activation counts.
 *
 *   sign-flip    Δ ← −factor · Δ            noise        Δ ← Δ + N(0, (factor · rms Δ)²)
 *   scaling      Δ ← factor · Δ             non-finite   one value is NaN
 *   label-flip   learns wrong answers: each token t of a response becomes p − 1 − t, where p is the padding token
 *   stale        learns from the model of `lag` invitations ago, with the rescaler that came with it, and sends that Δ
 *                as one from today's model. The server takes it for fresh, so no discount for staleness meets it. This
 *                is how Xie et al. (FedAsync, 2019) stress staleness, but in the client: a cache that is never emptied.
 *                Until it has had so many invitations it goes on from its first model
 */
import * as z from "zod";
import { unreachable } from "../src/base/errors.ts";
import { whole } from "../src/base/fields.ts";
import type { Draws } from "../src/base/random.ts";
import type { Batch, BatchData } from "../src/data/batches.ts";

export const attackSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.enum(["sign-flip", "scaling", "noise"]), factor: z.number() }),
  z.strictObject({ type: z.enum(["non-finite", "label-flip"]) }),
  z.strictObject({ type: z.literal("stale"), lag: whole }),
]);
export type Attack = Readonly<z.output<typeof attackSchema>>;

export function attacked<Sent extends { readonly values: Float32Array }>(
  honest: Sent,
  base: Float32Array,
  attack: Attack,
  draws: Draws,
): Sent {
  const { values } = honest;
  switch (attack.type) {
    case "sign-flip":
      return { ...honest, values: moved(values, base, (delta) => -attack.factor * delta) };
    case "scaling":
      return { ...honest, values: moved(values, base, (delta) => attack.factor * delta) };
    case "noise": {
      const deviation = attack.factor * rootMeanSquare(values, base);
      return { ...honest, values: moved(values, base, (delta) => delta + deviation * draws.normal()) };
    }
    case "non-finite": {
      const broken = values.slice();
      broken[draws.below(broken.length)] = Number.NaN;
      return { ...honest, values: broken };
    }
    case "label-flip":
    case "stale":
      return honest;
    default:
      return unreachable(attack);
  }
}

/** The same batches with wrong answers to learn. */
export function flippedLabels(batches: readonly Batch[], data: BatchData): Batch[] {
  const last = "pad" in data ? data.pad - 1 : data.categoryNames.length - 1;
  return batches.map((batch) => ({
    ...batch,
    targets: batch.targets.map((target) => (target <= last ? last - target : target)),
  }));
}

/** What was learned from an old model, as if it had been learned from `base`. */
export function dated<Sent extends { readonly values: Float32Array }>(
  sent: Sent,
  old: Float32Array,
  base: Float32Array,
): Sent {
  return { ...sent, values: sent.values.map((value, i) => base[i]! + (value - old[i]!)) };
}

function moved(values: Float32Array, base: Float32Array, change: (delta: number) => number): Float32Array {
  return values.map((value, i) => base[i]! + change(value - base[i]!));
}

function rootMeanSquare(values: Float32Array, base: Float32Array): number {
  let square = 0;
  for (let i = 0; i < values.length; i++) square += (values[i]! - base[i]!) ** 2;
  return Math.sqrt(square / values.length);
}
