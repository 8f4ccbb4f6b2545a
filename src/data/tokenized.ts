/**
 * Examples as columns of token ids in shared memory, so that every worker reads them without a copy.
 *
 * Example e is `tokens[offsets[e]] … tokens[offsets[e + 1] - 1]`: prompt, response, end token. Earlier exchanges of a
 * conversation stand before it in the same form. An example that is too long loses its earlier exchanges, oldest first,
 * then the end of its input, then of its instruction; its response stays whole or the example is dropped.
 */
import { InputError, invariant } from "../base/errors.ts";
import { type Example, type Exchange, type Question, questionHash } from "./example.ts";
import { type Examples, owners } from "./examples.ts";
import { type PromptEncoder, type PromptTemplate, promptEncoder, type Segment } from "./template.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface TokenizedData extends Examples {
  /** All examples one after the other; `Uint16Array` for vocabularies up to 65,536. */
  readonly tokens: Uint16Array | Int32Array;
  /** `[examples + 1]`. */
  readonly offsets: Uint32Array;
  /** Tokens in front of the first response token that carries loss, `[examples]`, each ≥ 1. */
  readonly responseStart: Uint32Array;
  /** 1 for every token behind that which carries no loss, as long as `tokens`; null where there are none. */
  readonly quiet: Uint8Array | null;
  readonly pad: number;
  readonly end: number;
  /** Longest example allowed. */
  readonly maxTokens: number;
  /** Examples whose prompt was cut to fit. */
  readonly truncated: number;
  /** Examples left out: the response did not fit, or left no room for the question. */
  readonly dropped: number;
}

export interface TokenizeOptions {
  /** Longest example in tokens, end token included. */
  readonly maxTokens: number;
  /** Which responses of a conversation carry loss; the last one unless given. */
  readonly loss?: Loss;
}

export type Loss = "last" | "every";

export function tokenize(
  examples: Iterable<Example>,
  tokenizer: Tokenizer,
  template: PromptTemplate,
  options: TokenizeOptions,
): TokenizedData {
  const columns = new ExampleColumns(tokenizer, template, options);
  for (const example of examples) columns.add(example);
  return columns.finish();
}

/** As {@link tokenize}, for sources too large to hold as text. */
export async function tokenizeStream(
  examples: AsyncIterable<Example>,
  tokenizer: Tokenizer,
  template: PromptTemplate,
  options: TokenizeOptions,
): Promise<TokenizedData> {
  const columns = new ExampleColumns(tokenizer, template, options);
  for await (const example of examples) columns.add(example);
  return columns.finish();
}

/** The prompt alone, to generate from: `<instruction>…<response>`. Cut to `maxTokens` like a training example. */
export function promptTokens(
  { instruction, input }: Pick<Question, "instruction" | "input">,
  tokenizer: Tokenizer,
  template: PromptTemplate,
  maxTokens: number,
): Int32Array {
  const segments = promptEncoder(template, tokenizer)(instruction, input);
  const fitted = fit(segments, maxTokens);
  if (fitted === null) throw new InputError(`the prompt does not fit in ${maxTokens} tokens`);
  return joined(fitted);
}

/** What a user of the examples should know: what of the file is in none of them, which were cut or left out. */
export function notesOn({ notes, truncated, dropped, examples }: TokenizedData): string[] {
  const said = [...notes];
  if (truncated > 0) said.push(`${truncated} of ${examples} examples had to be cut to fit; see data.maxTokens`);
  if (dropped > 0) said.push(`${dropped} examples were left out: their responses are too long; see data.maxTokens`);
  return said;
}

/** A column is one buffer, and offsets into it have 32 bits. */
const MOST_TOKENS = 2 ** 31 - 1;

/** Partitions keep a number per category and client; a longer list is free text and no category. */
const MOST_CATEGORIES = 1_000;

/** Grows while examples come in; `finish` moves everything to shared memory. */
class ExampleColumns {
  readonly #tokenizer: Tokenizer;
  readonly #encode: PromptEncoder;
  readonly #maxTokens: number;
  readonly #loss: Loss;
  #tokens = new Int32Array(1 << 16);
  #length = 0;
  readonly #offsets: number[] = [0];
  readonly #responseStart: number[] = [];
  readonly #category: number[] = [];
  readonly #categories = new Map<string, number>();
  readonly #hashes: number[] = [];
  /** As many as there are examples, or none. */
  readonly #owners: string[] = [];
  /** First and last token + 1 of what carries no loss behind a response that does. */
  readonly #quiet: [from: number, to: number][] = [];
  #truncated = 0;
  #dropped = 0;

  constructor(tokenizer: Tokenizer, template: PromptTemplate, { maxTokens, loss = "last" }: TokenizeOptions) {
    invariant(Number.isInteger(maxTokens) && maxTokens > 0, () => `maxTokens is ${maxTokens}, expected an integer > 0`);
    this.#tokenizer = tokenizer;
    this.#encode = promptEncoder(template, tokenizer);
    this.#maxTokens = maxTokens;
    this.#loss = loss;
  }

  add(example: Example): void {
    const { instruction, input, system = "", history = [] } = example;
    const response = this.#tokenizer.encode(example.response);
    const room = this.#maxTokens - response.length - 1;
    const earlier = history.map((exchange) => this.#exchange(exchange, ""));
    let question = this.#encode(instruction, input, system);
    const lengths = earlier.map((ids) => ids.prompt.length + ids.response.length);
    let before = lengths.reduce((sum, length) => sum + length, 0);
    const whole = question.reduce((sum, { ids }) => sum + ids.length, 0);
    let left = 0;
    while (left < earlier.length && before + whole > room) before -= lengths[left++]!;
    const kept = earlier.slice(left);
    if (kept.length > 0 && system !== "") {
      // The system text stands in the first exchange that is left, with as many tokens wherever that is.
      before -= kept[0]!.prompt.length;
      kept[0] = this.#exchange(history[left]!, system);
      before += kept[0].prompt.length;
      question = this.#encode(instruction, input);
    }
    const fitted = fit(question, room - before);
    if (fitted === null || (kept[0]?.prompt.length ?? fitted.reduce((sum, { length }) => sum + length, 0)) === 0) {
      this.#dropped++;
      return;
    }
    if (left > 0 || fitted.some((ids, at) => ids.length < question[at]!.ids.length)) this.#truncated++;
    const start = this.#length;
    let responseStart = 0;
    for (const [at, { prompt, response }] of kept.entries()) {
      const isLearned = this.#loss === "every" && history[left + at]!.quiet === undefined;
      this.#unlearned(isLearned ? [prompt] : [prompt, response], responseStart > 0);
      if (!isLearned) continue;
      if (responseStart === 0) responseStart = this.#length - start;
      this.#append(response);
    }
    this.#unlearned(fitted, responseStart > 0);
    this.#responseStart.push(responseStart > 0 ? responseStart : this.#length - start);
    this.#append(response);
    this.#append([this.#tokenizer.end]);
    this.#offsets.push(this.#length);
    this.#category.push(this.#categoryRow(example.category));
    this.#hashes.push(questionHash(example));
    if (example.owner !== undefined) this.#owners.push(example.owner);
  }

  /** An earlier exchange; its response is closed by the end token. */
  #exchange({ instruction, response }: Exchange, system: string): { prompt: Int32Array; response: Int32Array } {
    return {
      prompt: joined(this.#encode(instruction, "", system).map(({ ids }) => ids)),
      response: joined([this.#tokenizer.encode(response), Int32Array.of(this.#tokenizer.end)]),
    };
  }

  /** @param quiet true when tokens before it carry loss */
  #unlearned(parts: readonly Int32Array[], quiet: boolean): void {
    const from = this.#length;
    for (const ids of parts) this.#append(ids);
    if (quiet) this.#quiet.push([from, this.#length]);
  }

  finish(): TokenizedData {
    const examples = this.#responseStart.length;
    const tokens =
      this.#tokenizer.vocabulary <= 65_536
        ? new Uint16Array(new SharedArrayBuffer(2 * this.#length))
        : new Int32Array(new SharedArrayBuffer(4 * this.#length));
    tokens.set(this.#tokens.subarray(0, this.#length));
    const categoryNames = [...this.#categories.keys()].sort();
    const rows = new Map(categoryNames.map((name, row) => [this.#categories.get(name)!, row]));
    const category = new Uint16Array(new SharedArrayBuffer(2 * examples));
    for (let e = 0; e < examples; e++) category[e] = rows.get(this.#category[e]!)!;
    const questionHash = new Float64Array(new SharedArrayBuffer(8 * examples));
    questionHash.set(this.#hashes);
    return {
      examples,
      tokens,
      offsets: sharedUint32(this.#offsets),
      responseStart: sharedUint32(this.#responseStart),
      quiet: this.#quietTokens(),
      category,
      categoryNames,
      ...(this.#owners.length > 0 && owners(this.#owners)),
      questionHash,
      pad: this.#tokenizer.pad,
      end: this.#tokenizer.end,
      maxTokens: this.#maxTokens,
      truncated: this.#truncated,
      dropped: this.#dropped,
      digest: null,
      notes: [],
    };
  }

  #quietTokens(): Uint8Array | null {
    if (this.#quiet.length === 0) return null;
    const column = new Uint8Array(new SharedArrayBuffer(this.#length));
    for (const [from, to] of this.#quiet) column.fill(1, from, to);
    return column;
  }

  #append(ids: ArrayLike<number>): void {
    if (this.#length + ids.length > MOST_TOKENS)
      throw new InputError(`expected at most ${MOST_TOKENS} tokens, got more`);
    if (this.#length + ids.length > this.#tokens.length) {
      const grown = new Int32Array(Math.min(2 * this.#tokens.length + ids.length, MOST_TOKENS));
      grown.set(this.#tokens.subarray(0, this.#length));
      this.#tokens = grown;
    }
    this.#tokens.set(ids, this.#length);
    this.#length += ids.length;
  }

  #categoryRow(name: string): number {
    const known = this.#categories.get(name);
    if (known !== undefined) return known;
    const row = this.#categories.size;
    if (row === MOST_CATEGORIES) {
      throw new InputError(`data: expected at most ${MOST_CATEGORIES} different values of "category", got more`);
    }
    this.#categories.set(name, row);
    return row;
  }
}

/**
 * Cuts the fields until the prompt has at most `room` tokens: the input first, then the instruction, each from its
 * end. Null when the fixed parts and one token of the instruction do not fit.
 */
function fit(segments: readonly Segment[], room: number): Int32Array[] | null {
  let excess = segments.reduce((sum, { ids }) => sum + ids.length, 0) - room;
  const kept = segments.map(({ ids }) => ids);
  for (const [field, least] of [
    ["input", 0],
    ["instruction", 1],
  ] as const) {
    for (const [at, segment] of segments.entries()) {
      if (excess <= 0 || segment.field !== field) continue;
      const length = Math.max(Math.min(least, segment.ids.length), segment.ids.length - excess);
      excess -= segment.ids.length - length;
      kept[at] = segment.ids.subarray(0, length);
    }
  }
  return excess > 0 ? null : kept;
}

function joined(parts: readonly Int32Array[]): Int32Array {
  const whole = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function sharedUint32(values: readonly number[]): Uint32Array {
  const column = new Uint32Array(new SharedArrayBuffer(4 * values.length));
  column.set(values);
  return column;
}
