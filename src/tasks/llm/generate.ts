/**
 * Text from a model, token by token: greedy, or sampled from the nucleus of the distribution.
 *
 * Every token is a forward pass over the whole text so far, padded on the right to a few rounded lengths, so that few
 * programs are compiled; attention is causal and padding is routed nowhere, so what is padded does not matter.
 *
 * Nucleus sampling: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020,
 * https://arxiv.org/abs/1904.09751.
 */
import { invariant } from "../../base/errors.ts";
import type { Lane } from "../../base/random.ts";
import type { LogitsJob } from "../task-engine.ts";

/** What generation needs of an engine. */
export interface LogitsSource {
  /** @returns `[positions, vocabulary]` */
  logits(job: LogitsJob): Promise<Float32Array>;
}

/** @internal */
export interface Sampling {
  /** Divides the logits; 0 takes the likeliest token, always. */
  readonly temperature: number;
  /** Keeps the likeliest tokens that together have at least this probability, in (0, 1]. */
  readonly topP: number;
}

export interface GenerateOptions {
  /** Tokens to write at most. */
  readonly maxTokens: number;
  /** Longest text the model reads, prompt included. */
  readonly contextTokens: number;
  /** Tokens that are real: ids from here on only fill the embedding table up. */
  readonly vocabulary: number;
  /** Each of these ends the text, and is not part of it. */
  readonly end: ReadonlySet<number>;
  readonly sampling: Sampling;
  /** Token n of the answer is drawn at item n. */
  readonly draws: Lane;
}

/** Why a text ended: the model ended it, enough was written, or the model can read no more. */
export type Ending = "end" | "maxTokens" | "context";

/** Lengths of compiled programs are multiples of this. */
const lengthStep = 64;

/** Yields the tokens of the answer; returns why it ended. */
export async function* generate(
  source: LogitsSource,
  model: Omit<LogitsJob, "batch">,
  prompt: ArrayLike<number>,
  { maxTokens, contextTokens, vocabulary, end, sampling, draws }: GenerateOptions,
): AsyncGenerator<number, Ending> {
  invariant(prompt.length > 0, "a prompt has at least one token");
  const text = Array.from(prompt);
  for (let written = 0; written < maxTokens; written++) {
    if (text.length > contextTokens) return "context";
    const length = Math.min(contextTokens, Math.ceil(text.length / lengthStep) * lengthStep);
    const ids = new Int32Array(length);
    ids.set(text);
    // Where a prompt chooses ranks, what was written since is no part of it.
    const positions = model.variant.ranks === undefined ? 1 : 1 + written;
    const batch = {
      rows: 1,
      length,
      inputs: { ids },
      lengths: Int32Array.of(text.length),
      lossPositions: Int32Array.from({ length: positions }, (_, at) => text.length - positions + at),
      targets: new Int32Array(positions),
    };
    const logits = await source.logits({ ...model, batch });
    const last = logits.subarray(-logits.length / positions);
    const token = chooseToken(last.subarray(0, vocabulary), sampling, () => draws.at(written).uniform());
    if (end.has(token)) return "end";
    text.push(token);
    yield token;
  }
  return "maxTokens";
}

/**
 * Chooses one token. Ties go to the lower id.
 *
 * @param logits one per token
 * @param uniform in [0, 1); asked only when there is something to draw
 *
 * @internal
 */
export function chooseToken(logits: Float32Array, { temperature, topP }: Sampling, uniform: () => number): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[best]!) best = id;
  if (temperature === 0) return best;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - logits[best]!) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const byWeight = Array.from(weights.keys()).sort((a, b) => weights[b]! - weights[a]! || a - b);
  const nucleus: number[] = [];
  let kept = 0;
  for (const id of byWeight) {
    if (kept >= topP * total) break;
    nucleus.push(id);
    kept += weights[id]!;
  }
  let left = uniform() * kept;
  for (const id of nucleus) {
    left -= weights[id]!;
    if (left < 0) return id;
  }
  // Rounding may leave a hair of the last weight over.
  return nucleus.at(-1) ?? best;
}

/** Turns tokens into text as they come; what may still be the first bytes of a character waits for the rest. */
export class TextStream {
  readonly #decode: (ids: readonly number[]) => string;
  readonly #ids: number[] = [];
  #shown = 0;

  constructor(decode: (ids: readonly number[]) => string) {
    this.#decode = decode;
  }

  /** The text so far. */
  get text(): string {
    return this.#decode(this.#ids);
  }

  /** @returns the text that the token completes, often empty */
  push(token: number): string {
    this.#ids.push(token);
    const { text } = this;
    // Unfinished characters decode to replacement characters at the end.
    return this.#show(text.slice(0, /\uFFFD*$/.exec(text)!.index));
  }

  /** @returns what was held back */
  end(): string {
    return this.#show(this.text);
  }

  #show(text: string): string {
    const added = text.slice(this.#shown);
    this.#shown = Math.max(this.#shown, text.length);
    return added;
  }
}
