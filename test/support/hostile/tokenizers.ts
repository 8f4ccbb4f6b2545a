/** Tokenizers that nobody trained: each is one that is sound, with one thing in it that is not. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { InputError, messageOf } from "../../../src/base/errors.ts";
import { loadHuggingFaceTokenizer } from "../../../src/data/hf-tokenizer.ts";

type Description = Record<string, unknown> & {
  model: Record<string, unknown>;
  added_tokens: Record<string, unknown>[];
};

const letters = [...Array.from({ length: 95 }, (_, at) => String.fromCharCode(32 + at)), "▁"];

const sound = (): Description => ({
  version: "1.0",
  added_tokens: [{ id: 200, content: "<|end|>", special: true, single_word: false, lstrip: false, rstrip: false }],
  normalizer: null,
  pre_tokenizer: { type: "Split", pattern: { Regex: " ?[^ ]+| +" }, behavior: "Isolated", invert: false },
  post_processor: null,
  decoder: null,
  model: {
    type: "BPE",
    vocab: Object.fromEntries([...letters, "ab"].map((letter, id) => [letter, id])),
    merges: [["a", "b"]],
  },
});

const split = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false });
const replaced = (pattern: object, content: string) => ({ type: "Replace", pattern, content });
const sequence = (normalizers: object[]) => ({ type: "Sequence", normalizers });
const token = (fields: object) => ({ id: 201, content: "<x>", special: true, ...fields });

/** What is wrong; a text takes the place of the whole file. */
export const hostileTokenizers: Readonly<Record<string, (tokenizer: Description) => object | string>> = {
  "(a+)+$ splits": (t) => ({ ...t, pre_tokenizer: split("(a+)+$") }),
  "(.*)*, splits": (t) => ({ ...t, pre_tokenizer: split("(.*.*)*,$") }),
  "(a|aa)+$ splits": (t) => ({ ...t, pre_tokenizer: split("(a|aa)+$") }),
  "a normalizer searches (a|a)*$": (t) => ({ ...t, normalizer: replaced({ Regex: "(a|a)*$" }, "b") }),
  "a normalizer searches with a lookahead": (t) => ({ ...t, normalizer: replaced({ Regex: "(?=(a+)+$)a" }, "b") }),
  "a decoder searches (a+)+$": (t) => ({ ...t, decoder: replaced({ Regex: "(a+)+$" }, "b") }),
  "replacements double the text 40 times": (t) => ({
    ...t,
    normalizer: sequence(Array.from({ length: 40 }, () => replaced({ String: "a" }, "aa"))),
  }),
  "10,000 normalizers": (t) => ({
    ...t,
    normalizer: sequence(Array.from({ length: 10_000 }, () => ({ type: "NFC" }))),
  }),
  "a pattern that is none": (t) => ({ ...t, pre_tokenizer: split("(") }),
  "a pattern that is a number": (t) => ({ ...t, pre_tokenizer: { ...split(""), pattern: { Regex: 7 } } }),
  "an added token of id 2^31": (t) => ({ ...t, added_tokens: [...t.added_tokens, token({ id: 2 ** 31 })] }),
  "an added token of id -1": (t) => ({ ...t, added_tokens: [...t.added_tokens, token({ id: -1 })] }),
  "an added token without a name": (t) => ({ ...t, added_tokens: [...t.added_tokens, token({ content: "" })] }),
  "an added token of a million letters": (t) => ({
    ...t,
    added_tokens: [...t.added_tokens, token({ content: "a".repeat(1e6) })],
  }),
  "a word of id 1e300": (t) => ({ ...t, model: { ...t.model, vocab: { a: 1e300 } } }),
  "a word of half an id": (t) => ({ ...t, model: { ...t.model, vocab: { a: 0.5 } } }),
  "no vocabulary": (t) => ({ ...t, model: { ...t.model, vocab: null } }),
  "an empty vocabulary": (t) => ({ ...t, model: { ...t.model, vocab: {}, merges: [] } }),
  "no model": (t) => ({ ...t, model: null }),
  "a model of an unknown type": (t) => ({ ...t, model: { ...t.model, type: "constructor" } }),
  "merges of words that are not there": (t) => ({ ...t, model: { ...t.model, merges: [["q", "zz"], "x"] } }),
  "merges that are no list": (t) => ({ ...t, model: { ...t.model, merges: { length: 1e9 } } }),
  "an unknown kind of splitting": (t) => ({ ...t, pre_tokenizer: { type: "__proto__" } }),
  "one name twice": (t) => JSON.stringify(t).replace('"version"', '"version":"2","version"'),
  "lists a hundred thousand deep": (t) =>
    JSON.stringify(t).replace('"decoder":null', `"decoder":${"[".repeat(1e5)}${"]".repeat(1e5)}`),
  "a file that is cut off": (t) => JSON.stringify(t).slice(0, 900),
};

const texts = [`${"a".repeat(40)}!`, `${"ab ".repeat(200)}é`, "<|end|>", "x".repeat(2_000)];

/** @returns how the program refused it, or null where it can be used; @throws any other error */
export async function useTokenizer(name: string, parent: string, patience: number): Promise<string | null> {
  const folder = join(parent, "tokenizer");
  mkdirSync(folder, { recursive: true });
  const made = hostileTokenizers[name]!(sound());
  writeFileSync(join(folder, "tokenizer.json"), typeof made === "string" ? made : JSON.stringify(made));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ eos_token: "<|end|>" }));
  try {
    const tokenizer = await loadHuggingFaceTokenizer(folder, patience);
    for (const text of texts) tokenizer.decode(tokenizer.encode(text));
    return null;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return messageOf(error);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
