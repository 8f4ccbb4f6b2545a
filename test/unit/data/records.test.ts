import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { InputError, ScenarioError } from "../../../src/base/errors.ts";
import type { Example } from "../../../src/data/example.ts";
import { parseExamples, READ_LIMITS, type ReadLimits, readExamples } from "../../../src/data/records.ts";
import { file, loadData } from "../../../src/data/source.ts";

const folder = mkdtempSync(join(tmpdir(), "flame-records-"));
after(() => rmSync(folder, { recursive: true }));

/** Parses text or bytes that arrive `size` bytes at a time. */
async function parse(
  content: string | Uint8Array,
  {
    name = "data.jsonl",
    size = 1 << 16,
    limits = READ_LIMITS,
  }: { name?: string; size?: number; limits?: ReadLimits } = {},
): Promise<Example[]> {
  const bytes = Buffer.from(content);
  const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
    bytes.subarray(at * size, (at + 1) * size),
  );
  const examples: Example[] = [];
  for await (const example of parseExamples(chunks, name, limits)) examples.push(example);
  return examples;
}

const fails = (content: string | Uint8Array, message: RegExp, options = {}) =>
  assert.rejects(parse(content, options), (error: Error) => {
    assert.ok(error instanceof InputError, `${error}`);
    assert.match(error.message, message);
    return true;
  });

const good = '{"instruction": "Say hi", "response": "hi"}';

test("Alpaca and Dolly names mean the same, in an array and in lines", async () => {
  const alpaca = { instruction: "Add", input: "1 and 2", output: "3" };
  const dolly = { instruction: "Add", context: "1 and 2", response: "3", category: "sums" };
  const expected = [
    { instruction: "Add", input: "1 and 2", response: "3", category: "uncategorised" },
    { instruction: "Add", input: "1 and 2", response: "3", category: "sums" },
  ];
  assert.deepEqual(await parse(JSON.stringify([alpaca, dolly])), expected);
  assert.deepEqual(await parse(JSON.stringify([alpaca, dolly], null, 2)), expected);
  assert.deepEqual(await parse(`${JSON.stringify(alpaca)}\n${JSON.stringify(dolly)}`), expected);
});

test("chunks may end anywhere, even inside a character", async () => {
  const record = {
    instruction: "Schön, 世界 😀 \u2028?",
    input: 'a "quoted" \\ \n text',
    response: "ü".repeat(300),
    extra: [1, { a: null }],
  };
  const expected = [record, record].map(({ instruction, input, response }) => ({
    instruction,
    input,
    response,
    category: "uncategorised",
  }));
  for (const text of [
    JSON.stringify([record, record]),
    JSON.stringify([record, record], null, 1),
    `${JSON.stringify(record)}\r\n\n${JSON.stringify(record)}\n`,
  ]) {
    for (const size of [1, 2, 3, 7, 64]) assert.deepEqual(await parse(text, { size }), expected);
  }
});

test("a byte-order mark is passed over, and UTF-16 is named", async () => {
  assert.equal((await parse(`\ufeff${good}`)).length, 1);
  assert.equal((await parse(`\ufeff[${good}]`)).length, 1);
  await fails(Buffer.from(`\ufeff${good}`, "utf16le"), /^data\.jsonl is text in UTF-16; save it as UTF-8$/);
});

test("bytes that are not UTF-8 are found on their line", async () => {
  const latin = Buffer.concat([
    Buffer.from(`${good}\n${good}\n{"instruction": "`),
    Buffer.of(0xe4),
    Buffer.from('"}\n'),
  ]);
  await fails(latin, /^data\.jsonl line 3: expected UTF-8/);
  await fails(
    Buffer.concat([Buffer.from(`[${good},\n"`), Buffer.of(0xff, 0x22)]),
    /^data\.json line 2: expected UTF-8/,
    { name: "data.json" },
  );
  await fails(Buffer.concat([Buffer.from(good), Buffer.of(0xc3)]), /^data\.jsonl line 1: expected UTF-8/);
});

test("a line that is not a record is named with what it is", async () => {
  const lines = `${good}\n`.repeat(16);
  await fails(
    `${lines}oops`,
    /^data\.jsonl line 17: expected a JSON object with "instruction" and "response", got "oops" \(/,
  );
  await fails(
    `${lines}[1]`,
    /^data\.jsonl line 17: expected a JSON object with "instruction" and "response", got an array$/,
  );
  await fails(`${lines}{"headline": "a", "story": "b"}`, /line 17: .*got an object with "headline", "story"$/);
  await fails(`${lines}{}`, /line 17: .*got an object without fields$/);
  await fails(`${lines}7`, /line 17: .*got the number "7"$/);
  await fails(
    `${lines}{"instruction": 5, "response": "b"}`,
    /line 17: expected "instruction" to be a string, got the number "5"$/,
  );
  await fails(
    `${lines}{"instruction": "a", "response": ["b"]}`,
    /line 17: expected "response" to be a string, got an array$/,
  );
  await fails(`${lines}{"instruction": " ", "response": "b"}`, /line 17: expected an instruction, got an empty one/);
});

test("an element that is not a record is named with its number and line", async () => {
  await fails(
    `[\n  ${good},\n  ${good},\n\n  {"instruction": "a"}\n]`,
    /^data\.json element 2 \(line 5\): expected .*got an object with "instruction"$/,
    { name: "data.json" },
  );
  await fails(`[${good}, null]`, /element 1 \(line 1\): .*got null$/);
  await fails(`[${good}, "text", 5]`, /element 1 \(line 1\): .*got the string "text"$/);
  await fails(`[${good},\n {"instruction": oops}]`, /^data\.jsonl line 2: not JSON in element 1: expected a value$/);
  await fails(`[${good}, ${good}, {"instruction": oops}, ${good}]`, /line 1: not JSON in element 2: /);
  await fails(`[${good}, ${good} ${good}]`, /line 1: not JSON in element 2: /);
  await fails(`[${good}]\n x`, /line 2: not JSON after the array/);
  await fails(`[${good},\n${good}`, /line 2: the file ends inside the array, after 2 whole elements$/);
  await fails(`[${good}, {"instruction": "a`, /the file ends inside the array, after 1 whole elements$/);
});

test("an empty file, a blank one, an empty array and plain text are told apart", async () => {
  await fails("", /^data\.jsonl is empty; expected a JSON array or JSON Lines/);
  await fails(" \n\t\n", /^data\.jsonl is empty/);
  await fails(" [ ] ", /^data\.jsonl: expected at least one example, got none/);
  await fails(
    "\n\nname,answer\n1,2\n",
    /^data\.jsonl line 3: expected "\[" of a JSON array or "\{" of JSON Lines, got "name,answer"$/,
  );
});

test("null is an absent field, and a blank response is passed over", async () => {
  const text = '{"instruction":"a","input":null,"output":"b","category":null}\n{"instruction":"a","output":" "}';
  assert.deepEqual(await parse(text), [{ instruction: "a", input: "", response: "b", category: "uncategorised" }]);
});

test("keys named after object internals change nothing", async () => {
  const nested =
    '{"__proto__": {"instruction": "x", "response": "y", "polluted": 1}, "constructor": {"prototype": {"polluted": 1}}';
  for (const text of [`${nested}}`, `[${nested}}]`])
    await fails(text, /got an object with "__proto__", "constructor"$/);
  const [example] = await parse(`[${nested}, "instruction": "a", "response": "b", "category": "__proto__"}]`);
  assert.deepEqual(example, { instruction: "a", input: "", response: "b", category: "__proto__" });
  assert.equal(({} as Record<string, unknown>).polluted, undefined);
});

test("a field that a record has twice is refused, in lines, in an array and inside of messages", async () => {
  const twice = '{"instruction": "a", "output": "b", "output": "c"}';
  await fails(`${good}\n${twice}`, /^data\.jsonl line 2: the name "output" occurs twice in one object$/);
  await fails(
    `[${good},\n${twice}]`,
    /^data\.jsonl element 1 \(line 2\): the name "output" occurs twice in one object$/,
  );
  const messages = '{"messages": [{"role": "user", "content": "a", "content": "b"}]}';
  for (const text of [messages, `[${messages}]`]) await fails(text, /the name "content" occurs twice/);
});

test("sizes, nesting and counts are bounded", async () => {
  const limits = { recordBytes: 1_000, depth: 4, records: 5 };
  const long = `{"instruction": "${"a".repeat(1_200)}", "response": "b"}`;
  await fails(`${good}\n${long}`, /line 2: expected at most 1000 bytes, got more/, { limits });
  await fails(`[${good},\n${long}]`, /element 1 \(line 2\): expected at most 1000 characters, got more/, {
    limits,
    size: 50,
  });
  const deep = `{"instruction": "a", "response": "b", "extra": [[[[1]]]]}`;
  await fails(`[${good}, ${deep}]`, /element 1 \(line 1\): expected at most 4 levels of nesting/, { limits });
  for (const text of [`${good}\n`.repeat(6), `[${Array(6).fill(good).join(",")}]`]) {
    await fails(text, /expected at most 5 records/, { limits });
  }
  await fails("[".repeat(100_000), /expected at most 64 levels of nesting/);
  await fails(`${'{"a":'.repeat(100_000)}`, /line 1: expected a JSON object/);
  await fails(" ".repeat(2_000), /more than 1000 bytes of white space/, { limits, size: 100 });
});

test("nothing from the file reaches the terminal as a control character", async () => {
  await fails('{"\\u001b[2J": 1}', /^[^\p{Cc}]*$/u);
  await fails('{"a": \u001b[2J', /^[^\p{Cc}]*$/u);
});

test("a file is found by path, by --data, and named when it cannot be read", async () => {
  const path = join(folder, "mine.jsonl");
  writeFileSync(path, `${good}\n${good}\n`);
  const options = { seed: 1, maxTokens: 64 };
  assert.equal((await loadData(file(path), options)).examples, 2);
  assert.equal((await loadData(file("/nowhere"), { ...options, path })).examples, 2);
  await assert.rejects(loadData(file(), options), ScenarioError);
  await assert.rejects(loadData(file(join(folder, "none")), options), /^InputError: cannot read .*none: ENOENT/);
  await assert.rejects(loadData(file(folder), options), /^InputError: .*: expected a file, got a folder/);
  await assert.rejects(loadData(file(path), { seed: 1, maxTokens: 4 }), /all 2 examples were left out/);
  writeFileSync(path, '{"instruction": "a", "output": ""}');
  await assert.rejects(loadData(file(path), options), /expected an example with a response, found none/);
});

test("instructions that people wrote are read", async () => {
  const dolly = join(import.meta.dirname, "../../golden/data/dolly-100.json");
  let records = 0;
  for await (const example of readExamples(dolly)) {
    assert.ok(example.instruction !== "" && example.category !== "uncategorised");
    records++;
  }
  assert.equal(records, 100);
  const data = await loadData(file(dolly), { seed: 1, maxTokens: 512 });
  assert.equal(data.examples + data.dropped, 100);
  assert.equal(data.categoryNames.length, 8);
});
