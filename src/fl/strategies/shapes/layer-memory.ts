/**
 * What training the last layers of a chain takes, in words: numbers of a layer, of the optimizer and of activations.
 *
 *   M_train(q) = Σ_l≥q (2 + o)·P_l + b·A_l        weights and gradients, o words of the optimizer each; b rows
 *   M_fwd(q)   = max_l<q P_l + b·(a_l−1 + a_l)    the frozen layers pass by one at a time
 *
 * A cache of n·a_q−1 numbers, the last frozen output of every example, lies on disk or adds to both.
 */
import * as z from "zod";
import { byBudgetField } from "../ranks/ranks.ts";

export interface Layer {
  readonly parameters: number;
  /** Numbers of an example: kept for the backward pass, read and put out. */
  readonly saved: number;
  readonly input: number;
  readonly output: number;
}

export const memoryField = z.strictObject({
  shares: byBudgetField(z.number().gt(0).max(1)).describe(
    "of what training everything takes; the paper has 1, .4 and .15",
  ),
  batch: z.int().min(1).default(32).describe("b, rows of a batch"),
  optimizerWords: z.int().min(0).max(2).default(2).describe("o: SGD 0, momentum 1, Adam 2"),
  cache: z.enum(["disk", "memory"]).default("disk").describe("where outputs of the frozen layers lie"),
});

/** What a client's memory is reckoned with. */
interface Reckoning extends Pick<z.output<typeof memoryField>, "batch" | "optimizerWords"> {
  /** Examples whose cache lies in memory. */
  readonly cached: number;
}

/** Of training layers `first` to the last, from 0. */
export function wordsOf(layers: readonly Layer[], first: number, { batch, optimizerWords, cached }: Reckoning) {
  const cache = first === 0 ? 0 : cached * layers[first]!.input;
  const train = layers
    .slice(first)
    .reduce((sum, { parameters, saved }) => sum + (2 + optimizerWords) * parameters + batch * saved, cache);
  const forward = layers
    .slice(0, first)
    .reduce((most, { parameters, input, output }) => Math.max(most, cache + parameters + batch * (input + output)), 0);
  return { train, forward, need: Math.max(train, forward) };
}

/** The first layer from which on training fits, or null where not even the last one does. */
export function firstThatFits(layers: readonly Layer[], words: number, reckoning: Reckoning): number | null {
  const first = layers.findIndex((_, at) => wordsOf(layers, at, reckoning).need <= words);
  return first < 0 ? null : first;
}
