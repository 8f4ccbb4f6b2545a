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
import { Tokenizer as HuggingFace } from "@huggingface/tokenizers";
import { z } from "zod";
import { InputError, messageOf } from "../base/errors.ts";
import { parseAs } from "../base/json.ts";
import { readInput } from "../base/text.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The largest published tokenizers take about 35 MB. */
const MOST_BYTES = 128 * 2 ** 20;

const tokenizerSchema = z.looseObject({
  model: z.looseObject({ vocab: z.union([z.record(z.string(), z.number()), z.array(z.unknown())]) }),
  added_tokens: z
    .array(z.looseObject({ id: z.number().int().min(0), content: z.string().min(1), special: z.boolean().optional() }))
    .nullish(),
});

const tokenName = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();

const configSchema = z.looseObject({ eos_token: tokenName, pad_token: tokenName });

export async function loadHuggingFaceTokenizer(folder: string): Promise<Tokenizer> {
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
  const libraryWith = (tokens: typeof description.added_tokens): HuggingFace => {
    try {
      return new HuggingFace({ ...description, added_tokens: tokens }, config);
    } catch (cause) {
      throw new InputError(`${path}: not a tokenizer this program can use: ${messageOf(cause)}`, { cause });
    }
  };
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
  const encode = (text: string): number[] => plain.encode(text, { add_special_tokens: false }).ids;
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
        : whole.decode(Array.from(ids), { skip_special_tokens: true, clean_up_tokenization_spaces: false }),
  };
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
