/**
 * Hugging Face tokenizers from a folder with `tokenizer.json` and, when there is one, `tokenizer_config.json`.
 *
 * The library turns added tokens in any text into their ids, so data that spells out `<|endoftext|>` would end a
 * response early. Here such text is cut in two inside the spelling, and both parts are encoded on their own. That is for
 * special tokens alone: the others, such as runs of spaces, are part of the text a model was pre-trained on.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { createContext, Script } from "node:vm";
import { Tokenizer as HuggingFace } from "@huggingface/tokenizers";
import * as z from "zod";
import { InputError, messageOf } from "../base/errors.ts";
import { parseAs } from "../base/json.ts";
import { printable, quoted, readInput } from "../base/text.ts";
import { formatTime } from "../base/units.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The largest published tokenizers take about 35 MB. */
const MOST_BYTES = 128 * 2 ** 20;

/** Published vocabularies end at a few hundred thousand; a table for each id has to fit into memory. */
const tokenId = z
  .int()
  .min(0)
  .lt(2 ** 24);

const tokenizerSchema = z.looseObject({
  model: z.looseObject({
    vocab: z.union([z.record(z.string(), tokenId), z.array(z.unknown()).max(2 ** 24)]),
  }),
  added_tokens: z
    .array(z.looseObject({ id: tokenId, content: z.string().min(1).max(1_000), special: z.boolean().optional() }))
    .max(2 ** 16)
    .nullish(),
});

/** Real milliseconds that a text may take, and each of its characters besides. */
const usualPatience = 5_000;
const perCharacter = 0.01;

const tokenName = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();

const configSchema = z.looseObject({ eos_token: tokenName, pad_token: tokenName });

/** @param patience real milliseconds that a text may take, besides what its length allows */
export async function loadHuggingFaceTokenizer(folder: string, patience = usualPatience): Promise<Tokenizer> {
  const path = join(folder, "tokenizer.json");
  const hash = createHash("sha256");
  const read = <Value>(schema: z.ZodType<Value>, file: string): Value => {
    const text = readInput(file, MOST_BYTES);
    // The length keeps one file's end apart from the next one's beginning.
    hash.update(`${text.length}\0`).update(text);
    return parseAs(schema, text, file);
  };
  const description = read(tokenizerSchema, path);
  const configPath = join(folder, "tokenizer_config.json");
  const config = existsSync(configPath) ? read(configSchema, configPath) : {};
  const usable = <Value>(make: () => Value): Value => {
    try {
      return make();
    } catch (cause) {
      throw new InputError(`${path}: not a tokenizer this program can use: ${messageOf(cause)}`, { cause });
    }
  };
  const libraryWith = (tokens: typeof description.added_tokens): HuggingFace =>
    usable(() => new HuggingFace({ ...description, added_tokens: tokens }, config));
  const tokens = description.added_tokens ?? [];
  const whole = libraryWith(description.added_tokens);
  const added = new Map(tokens.map(({ content, id }) => [content, id]));
  const idOf = (name: string | undefined): number | undefined =>
    name === undefined ? undefined : (added.get(name) ?? whole.token_to_id(name));
  const end = [nameOf(config.eos_token), "<|endoftext|>", "</s>", "<|im_end|>"]
    .map(idOf)
    .find((id) => id !== undefined);
  if (end === undefined) {
    throw new InputError(`${configPath}: expected "eos_token" to name a token of tokenizer.json, found no end token`);
  }
  let largest = end;
  for (const id of [...whole.get_vocab(true).values(), ...added.values()]) largest = Math.max(largest, id);
  const pad = idOf(nameOf(config.pad_token)) ?? end;
  const kept = new Set([end, pad, ...tokens.filter(({ special }) => special).map(({ id }) => id)]);
  const specials = new Map([...added].filter(([, id]) => kept.has(id)));
  // As the library's `encode_special_tokens`: it does not know the special tokens, so their names are text like any other.
  const plain = libraryWith(tokens.filter(({ id }) => !kept.has(id)));
  const patterns = usable(() => patternsIn(description));
  /** What other people's patterns and replacements do to a text takes a time that nobody knows. */
  const watched = <Value>(text: string, work: () => Value): Value => {
    try {
      const most = Math.ceil(patience + perCharacter * text.length);
      return patterns.length === 0 ? work() : within(most, work, () => tooLong(path, patterns, text, most));
    } catch (cause) {
      if (cause instanceof InputError) throw cause;
      throw new InputError(`${path} fails on a text of ${text.length} characters: ${messageOf(cause)}`, { cause });
    }
  };
  const encode = (text: string): number[] => watched(text, () => plain.encode(text, { add_special_tokens: false }).ids);
  return {
    name: path,
    digest: hash.digest("hex"),
    vocabulary: largest + 1,
    // Padding carries no loss and no position looks at it, so the end token can stand in.
    pad,
    end,
    specials,
    encode(text) {
      const ids = text === "" ? [] : encode(text);
      // A vocabulary may hold the name of a special token as a word.
      if (ids.some((id) => kept.has(id)))
        return Int32Array.from(withoutSpellings(text, [...specials.keys()]).flatMap(encode));
      return Int32Array.from(ids);
    },
    decode: (ids) =>
      ids.length === 0
        ? ""
        : watched("", () =>
            whole.decode(Array.from(ids), { skip_special_tokens: true, clean_up_tokenization_spaces: false }),
          ),
  };
}

/** Where a tokenizer says what is searched for in a text: regular expressions, and plain texts of replacements. */
function patternsIn(description: unknown): { readonly Regex?: unknown; readonly String?: unknown }[] {
  if (typeof description !== "object" || description === null) return [];
  return Object.entries(description).flatMap(([key, value]) => {
    // Vocabularies and merges are large, and have none.
    if (key === "model" || key === "added_tokens") return [];
    return [...(key === "pattern" && value !== null ? [value] : []), ...patternsIn(value)];
  });
}

/** Names the pattern to blame, where one alone takes too long. */
function tooLong(path: string, patterns: ReturnType<typeof patternsIn>, text: string, most: number): InputError {
  const limit = `for more than ${formatTime(most)} on a text of ${text.length} characters`;
  for (const { Regex: pattern } of patterns) {
    if (typeof pattern !== "string") continue;
    const blamed = new InputError(`${path}: its pattern ${quoted(printable(pattern))} searches ${limit}`);
    try {
      within(
        Math.ceil(most / 10),
        () => text.replace(new RegExp(pattern, "gu"), ""),
        () => blamed,
      );
    } catch (error) {
      // The library reads some patterns that JavaScript alone does not.
      if (error === blamed) return blamed;
    }
  }
  return new InputError(`${path}: its patterns and replacements keep the program busy ${limit}`);
}

/** Cuts `text` after the first character of every special token spelled out in it. */
function withoutSpellings(text: string, spellings: readonly string[]): string[] {
  const cuts = new Set<number>();
  for (const spelling of spellings) {
    // One character cannot be cut; such tokens are ordinary text in every known vocabulary.
    if (spelling.length < 2) continue;
    for (let at = text.indexOf(spelling); at >= 0; at = text.indexOf(spelling, at + 1)) cuts.add(at + 1);
  }
  const borders = [0, ...[...cuts].sort((a, b) => a - b), text.length];
  return borders.slice(1).map((to, at) => text.slice(borders[at], to));
}

const nameOf = (token: z.infer<typeof tokenName>): string | undefined =>
  typeof token === "string" ? token : (token?.content ?? undefined);

const place: { work: (() => unknown) | null } = { work: null };
createContext(place);
const script = new Script("work()");

/**
 * Work on this thread that may take for ever: V8 breaks it off when its time is up, even inside a regular expression. Being
 * watched costs about a tenth of a millisecond.
 *
 * @throws what `late` makes when the work is not done after `most` real milliseconds
 */
function within<Value>(most: number, work: () => Value, late: () => Error): Value {
  let found: { readonly value: Value } | undefined;
  place.work = () => {
    found = { value: work() };
  };
  try {
    script.runInContext(place, { timeout: most });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") throw late();
    throw cause;
  } finally {
    place.work = null;
  }
  return found!.value;
}
