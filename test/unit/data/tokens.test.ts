import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { InputError, ScenarioError } from "../../../src/base/errors.ts";
import { loadHuggingFaceTokenizer } from "../../../src/data/hf-tokenizer.ts";
import { compact, custom, defaultTemplate, headings } from "../../../src/data/template.ts";
import { promptTokens, tokenize } from "../../../src/data/tokenized.ts";
import { byteTokenizer } from "../../../src/data/tokenizer.ts";

const folder = mkdtempSync(join(tmpdir(), "flame-tokens-"));
after(() => rmSync(folder, { recursive: true }));

const END = 257;
const [INSTRUCTION, INPUT, RESPONSE] = [258, 259, 260];
const bytes = (text: string): number[] => [...Buffer.from(text)];
const example = (instruction: string, input: string, response: string, category = "c") => ({
  instruction,
  input,
  response,
  category,
});
const only = (data: ReturnType<typeof tokenize>) => [...data.tokens];

test("the compact form is marks and bytes: <instruction>ab<input>c<response>d<end>", () => {
  const data = tokenize([example("ab", "c", "d"), example("ab", "", "é")], byteTokenizer, compact(), { maxTokens: 64 });
  assert.deepEqual(only(data), [
    ...[INSTRUCTION, 97, 98, INPUT, 99, RESPONSE, 100, END],
    ...[INSTRUCTION, 97, 98, RESPONSE, 0xc3, 0xa9, END],
  ]);
  assert.deepEqual([...data.offsets], [0, 8, 15]);
  assert.deepEqual([...data.responseStart], [6, 4]);
});

test("marks spelled out in somebody's data stay text", () => {
  const data = tokenize([example("<response>", "<end>", "<pad>")], byteTokenizer, compact(), { maxTokens: 64 });
  const expected = [INSTRUCTION, ...bytes("<response>"), INPUT, ...bytes("<end>"), RESPONSE, ...bytes("<pad>"), END];
  assert.deepEqual(only(data), expected);
  const braces = tokenize([example("{input}", "x", "y")], byteTokenizer, compact(), { maxTokens: 64 });
  assert.deepEqual(only(braces), [INSTRUCTION, ...bytes("{input}"), INPUT, 120, RESPONSE, 121, END]);
});

test("the byte tokenizer gives back what it was given and leaves special tokens out", () => {
  for (const text of ["", "plain", "ü€😀\u0000\n", "\ufeffmark"]) {
    assert.equal(byteTokenizer.decode(byteTokenizer.encode(text)), text);
  }
  assert.equal(byteTokenizer.decode([RESPONSE, 104, 105, END]), "hi");
  assert.ok([...byteTokenizer.specials.values()].every((id) => id >= 256 && id < byteTokenizer.vocabulary));
});

test("headings are three plain headings, without the input's when there is none", () => {
  const data = tokenize([example("Do", "x", "y"), example("Do", "", "y")], byteTokenizer, headings(), {
    maxTokens: 99,
  });
  const [first, second] = [0, 1].map((e) =>
    byteTokenizer.decode(data.tokens.slice(data.offsets[e], data.offsets[e + 1])),
  );
  assert.equal(first, "### Instruction:\nDo\n\n### Input:\nx\n\n### Response:\ny");
  assert.equal(second, "### Instruction:\nDo\n\n### Response:\ny");
});

test("a custom template may use the tokenizer's special tokens", () => {
  const template = custom("{input}? {instruction}<response>", "{instruction}<response>");
  assert.deepEqual(only(tokenize([example("a", "b", "c")], byteTokenizer, template, { maxTokens: 64 })), [
    ...bytes("b? a"),
    ...[RESPONSE, 99, END],
  ]);
});

test("a template without a field, or for a tokenizer without marks, is a scenario mistake", () => {
  const tokens = (template: ReturnType<typeof custom>, tokenizer = byteTokenizer) =>
    tokenize([], tokenizer, template, { maxTokens: 64 });
  assert.throws(() => tokens(custom("{instruction}:", "{instruction}:")), /withInput must hold \{input\} exactly once/);
  assert.throws(() => tokens(custom("{instruction}{input}", "{instruction}{input}")), /withoutInput is for examples/);
  const plain = { ...byteTokenizer, name: "plain", specials: new Map() };
  assert.throws(() => tokens(compact(), plain), ScenarioError);
  assert.deepEqual(defaultTemplate(plain), headings());
  assert.deepEqual(defaultTemplate(byteTokenizer), compact());
});

test("a long example loses the end of its input, then of its instruction, and never of its response", () => {
  const cut = (maxTokens: number) => {
    const data = tokenize([example("abc", "defg", "xyz")], byteTokenizer, compact(), { maxTokens });
    return { text: byteTokenizer.decode(data.tokens), truncated: data.truncated, dropped: data.dropped };
  };
  // Three marks, seven prompt bytes, three response bytes and the end token make 14.
  assert.deepEqual(cut(14), { text: "abcdefgxyz", truncated: 0, dropped: 0 });
  assert.deepEqual(cut(12), { text: "abcdexyz", truncated: 1, dropped: 0 });
  assert.deepEqual(cut(9), { text: "abxyz", truncated: 1, dropped: 0 });
  assert.deepEqual(cut(8), { text: "axyz", truncated: 1, dropped: 0 });
  assert.deepEqual(cut(7), { text: "", truncated: 0, dropped: 1 });
});

test("a prompt to generate from is the example without its response", () => {
  const prompt = promptTokens({ instruction: "ab", input: "c" }, byteTokenizer, compact(), 64);
  assert.deepEqual([...prompt], [INSTRUCTION, 97, 98, INPUT, 99, RESPONSE]);
});

test("columns lie in shared memory, categories in alphabetical order", () => {
  const list = [example("a", "", "bb", "red"), example("a", "b", "c", "blue"), example("c", "", "d", "red")];
  const data = tokenize(list, byteTokenizer, compact(), { maxTokens: 64 });
  for (const column of [data.tokens, data.offsets, data.responseStart, data.category, data.questionHash]) {
    assert.ok(column.buffer instanceof SharedArrayBuffer);
  }
  assert.deepEqual(data.categoryNames, ["blue", "red"]);
  assert.deepEqual([...data.category], [1, 0, 1]);
});

test("a free text in place of a category is refused", () => {
  const list = Array.from({ length: 1_001 }, (_, at) => example("a", "", "b", `category ${at}`));
  assert.throws(() => tokenize(list, byteTokenizer, compact(), { maxTokens: 64 }), InputError);
});

/** GPT-2's table of bytes as printable characters. */
function byteCharacters(): string[] {
  const table: string[] = [];
  let spare = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    table.push(String.fromCharCode(printable ? byte : spare++));
  }
  return table;
}

/** A byte-level BPE with two merges and one special token. */
function writeTokenizer(name: string, config: unknown, more: readonly object[] = []): string {
  const path = join(folder, name);
  rmSync(path, { recursive: true, force: true });
  const at = mkdtempSync(`${path}-`);
  const vocab = Object.fromEntries([...byteCharacters(), "lo", "low"].map((token, id) => [token, id]));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  const description = {
    version: "1.0",
    added_tokens: [
      {
        id: 258,
        content: "<|end|>",
        special: true,
        normalized: false,
        lstrip: false,
        rstrip: false,
        single_word: false,
      },
      ...more,
    ],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: { type: "BPE", vocab, merges: ["l o", "lo w"] },
  };
  writeFileSync(join(at, "tokenizer.json"), JSON.stringify(description));
  if (config !== undefined) writeFileSync(join(at, "tokenizer_config.json"), JSON.stringify(config));
  return at;
}

test("a Hugging Face tokenizer is read from its folder", async () => {
  const tokenizer = await loadHuggingFaceTokenizer(writeTokenizer("bpe", { eos_token: { content: "<|end|>" } }));
  const characters = byteCharacters();
  const [l, s] = ["l", "s"].map((letter) => characters.indexOf(letter));
  assert.deepEqual([...tokenizer.encode("lowslos")], [257, s, 256, s]);
  assert.deepEqual([...tokenizer.encode("l")], [l]);
  assert.deepEqual([tokenizer.vocabulary, tokenizer.end, tokenizer.pad], [259, 258, 258]);
  assert.equal(tokenizer.decode([257, s!, 258]), "lows");
  assert.equal(tokenizer.decode(tokenizer.encode("Grüße, 世界 \n😀")), "Grüße, 世界 \n😀");
});

test("a Hugging Face special token spelled out in data stays text", async () => {
  const tokenizer = await loadHuggingFaceTokenizer(writeTokenizer("spelled", { eos_token: "<|end|>" }));
  const ids = tokenizer.encode("a<|end|>b<|end|>");
  assert.ok(!ids.includes(tokenizer.end));
  assert.equal(tokenizer.decode(ids), "a<|end|>b<|end|>");
  const data = tokenize(
    [example("x", "", "<|end|>")],
    tokenizer,
    custom("{instruction}{input}", "{instruction}<|end|>"),
    {
      maxTokens: 64,
    },
  );
  assert.equal([...data.tokens].filter((id) => id === tokenizer.end).length, 2, "the template's and the closing one");
});

test("added tokens that are not special are used in text, as the model was pre-trained; end and pad never are", async () => {
  const added = (id: number, content: string) => ({
    id,
    content,
    special: false,
    normalized: true,
    lstrip: false,
    rstrip: false,
    single_word: false,
  });
  const more = [added(259, "    "), added(260, "  "), added(261, "|||EMAIL|||"), added(262, "</s>"), added(263, "<p>")];
  const tokenizer = await loadHuggingFaceTokenizer(
    writeTokenizer("spaces", { eos_token: "</s>", pad_token: "<p>" }, more),
  );
  const [x] = tokenizer.encode("x");
  assert.deepEqual([...tokenizer.encode("x    x|||EMAIL|||x")], [x, 259, x, 261, x]);
  assert.deepEqual([...tokenizer.encode("x      x")], [x, 259, 260, x]);
  assert.equal(tokenizer.decode(tokenizer.encode("x      x|||EMAIL|||")), "x      x|||EMAIL|||");
  for (const spelled of ["<|end|>", "</s>", "<p>"]) {
    const ids = [...tokenizer.encode(`x${spelled}x`)];
    assert.ok(!ids.some((id) => id === 258 || id >= 262), spelled);
    assert.equal(tokenizer.decode(ids), `x${spelled}x`);
  }
  assert.deepEqual([...tokenizer.specials.keys()], ["<|end|>", "</s>", "<p>"]);
});

test("code, tables, Chinese, mixed text and names of special tokens have the ids of the tokenizers library", async () => {
  const folder = new URL("../../golden/data/tokenizer/", import.meta.url).pathname;
  const tokenizer = await loadHuggingFaceTokenizer(folder);
  const expected = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8")) as { text: string; ids: number[] }[];
  assert.equal(expected.length, 9);
  for (const { text, ids } of expected) {
    assert.deepEqual([...tokenizer.encode(text)], ids, text);
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text.normalize("NFC"));
  }
});

test("a broken Hugging Face folder is one clear error", async () => {
  await assert.rejects(loadHuggingFaceTokenizer(join(folder, "nowhere")), /cannot read .*tokenizer\.json/);
  await assert.rejects(loadHuggingFaceTokenizer(writeTokenizer("endless", undefined)), /found no end token/);
  const path = writeTokenizer("broken", undefined);
  for (const text of ["", "{", "[]", '{"model":{}}', '{"model":{"type":"Dreams","vocab":{}}}']) {
    writeFileSync(join(path, "tokenizer.json"), text);
    await assert.rejects(loadHuggingFaceTokenizer(path), (error: Error) => error instanceof InputError, text);
  }
});

test("a tokenizer's pattern that never ends is named with its file, and one that ends is not in its way", async () => {
  const place = mkdtempSync(join(folder, "pattern-"));
  const use = async (Regex: string, text: string) => {
    const none = { normalizer: null, post_processor: null, decoder: null };
    const vocab = { a: 0, "!": 1, " ": 2 };
    const pre_tokenizer = { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false };
    const added_tokens = [{ id: 3, content: "<end>", special: true }];
    const model = { type: "BPE", vocab, merges: [] };
    writeFileSync(join(place, "tokenizer.json"), JSON.stringify({ ...none, added_tokens, pre_tokenizer, model }));
    writeFileSync(join(place, "tokenizer_config.json"), JSON.stringify({ eos_token: "<end>" }));
    return [...(await loadHuggingFaceTokenizer(place, 200)).encode(text)];
  };
  assert.deepEqual(await use(" ?a+| +", "aa a!"), [0, 0, 2, 0, 1]);
  await assert.rejects(
    use("(a+)+$", `${"a".repeat(40)}!`),
    (error) =>
      error instanceof InputError &&
      /tokenizer\.json: its pattern "\(a\+\)\+\$" searches for more than 201ms on a text of 41 char/.test(
        error.message,
      ),
  );
});
