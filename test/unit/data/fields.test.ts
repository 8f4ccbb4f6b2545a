import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { digestOfFile } from "../../../src/base/open.ts";
import { evaluationBatches } from "../../../src/data/batches.ts";
import { file, loadData } from "../../../src/data/source.ts";
import { headings } from "../../../src/data/template.ts";
import { type Loss, notesOn, type TokenizedData } from "../../../src/data/tokenized.ts";
import { byteTokenizer } from "../../../src/data/tokenizer.ts";
import { temporaryFolder } from "../../support/folders.ts";

const options = { seed: 1, maxTokens: 4_096, template: headings() };

async function read(
  t: TestContext,
  records: readonly object[],
  { loss, maxTokens = 4_096 }: { loss?: Loss; maxTokens?: number } = {},
): Promise<TokenizedData> {
  const path = join(temporaryFolder(t), "data.jsonl");
  writeFileSync(path, records.map((record) => JSON.stringify(record)).join("\n"));
  return loadData(file(path, loss === undefined ? {} : { loss }), { ...options, maxTokens });
}

const textOf = (data: TokenizedData, e = 0): string =>
  byteTokenizer.decode(data.tokens.slice(data.offsets[e], data.offsets[e + 1]));

/** The text that carries loss, with "|" for the end token. */
function learned(data: TokenizedData, e = 0): string {
  const length = data.offsets[e + 1]! - data.offsets[e]!;
  const [batch] = evaluationBatches(data, Uint32Array.of(e), { batchSize: 1, length });
  return Array.from(batch!.targets, (id) => (id === data.end ? "|" : String.fromCharCode(id))).join("");
}

const conversation = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "One?" },
  { role: "assistant", content: "1" },
  { role: "user", content: "Two?" },
  { role: "assistant", content: "2" },
];

const spoken = "### Instruction:\nBe brief.\n\nOne?\n\n### Response:\n1### Instruction:\nTwo?\n\n### Response:\n2";

test("a blank or null field does not hide its other spelling", async (t) => {
  const data = await read(t, [
    { instruction: "a", input: "", output: "b", context: "", response: "", category: "" },
    { instruction: "a", input: "", output: null, context: "c", response: "d" },
    { instruction: "a", input: "c", output: "d", context: null, response: "  " },
    { instruction: null, prompt: "a", answer: "d", completion: "d" },
  ]);
  const responses = [0, 1, 2, 3].map((e) => learned(data, e));
  assert.deepEqual(responses, ["b|", "d|", "d|", "d|"]);
  assert.equal(textOf(data, 1), textOf(data, 2));
  assert.deepEqual(notesOn(data), []);
});

test("two spellings with different texts are refused: one of them would be lost", async (t) => {
  await assert.rejects(
    read(t, [{ instruction: "a", response: "b", output: "c" }]),
    /data\.jsonl line 1: "response" and "output" are two names of one field, but their texts differ/,
  );
});

test("blank and null responses are passed over and counted; a missing one is refused", async (t) => {
  const good = { instruction: "a", output: "b" };
  const data = await read(t, [good, { ...good, output: null }, { ...good, output: " \n" }, good]);
  assert.equal(data.examples, 2);
  assert.deepEqual(notesOn(data), ["passed over, the response is blank or null: 2 times, first in data.jsonl line 2"]);
  await assert.rejects(read(t, [good, { instruction: "a" }]), /line 2: expected .* got an object with "instruction"$/);
  await assert.rejects(read(t, [{ ...good, output: null }]), /found none \(passed over, the response is blank/);
});

test("a column that looks like content and is not read is spoken of once", async (t) => {
  const record = { instruction: "a", output: "b", id: 7, source: "wiki", date: "2024-01-01 10:00" };
  const data = await read(t, [
    record,
    { ...record, text: "Below is an instruction that describes a task." },
    { ...record, text: "Below is another instruction of this kind." },
    { ...record, tools: [{ description: "adds two numbers that are given" }] },
  ]);
  assert.deepEqual(notesOn(data), [
    'not read: "text": 2 times, first in data.jsonl line 2',
    'not read: "tools": data.jsonl line 4',
  ]);
});

test("Alpaca's system and history, OpenAI's messages and ShareGPT's conversations are the same conversation", async (t) => {
  const data = await read(t, [
    { instruction: "Two?", input: "", output: "2", system: "Be brief.", history: [["One?", "1"]] },
    { messages: conversation },
    { messages: conversation.map(({ role, content }) => ({ role, content: [{ type: "text", text: content }] })) },
    {
      system: "Be brief.",
      conversations: conversation
        .slice(1)
        .map(({ role, content }) => ({ from: role === "user" ? "human" : "gpt", value: content })),
    },
  ]);
  for (let e = 0; e < 4; e++) {
    assert.equal(textOf(data, e), spoken);
    assert.equal(learned(data, e), "2|");
    assert.equal(data.questionHash[e], data.questionHash[0]);
  }
  assert.deepEqual(notesOn(data), []);
});

test("the loss is on the last answer of a conversation, or on every one", async (t) => {
  const records = [{ messages: conversation }, { question: "Three?", answer: "3" }];
  const [last, every] = [await read(t, records), await read(t, records, { loss: "every" })];
  assert.deepEqual([learned(last), learned(every)], ["2|", "1|2|"]);
  assert.deepEqual([learned(last, 1), learned(every, 1)], ["3|", "3|"]);
  assert.deepEqual(every.tokens, last.tokens);
  assert.equal(last.quiet, null);
  const single = await read(t, records.slice(1), { loss: "every" });
  assert.deepEqual(single.responseStart, (await read(t, records.slice(1))).responseStart);
  assert.equal(single.quiet, null);
});

test("an answer of weight 0 carries no loss, and what follows the last other one is left out", async (t) => {
  const turn = (name: string, weight?: number) => [
    { role: "user", content: `${name}?` },
    { role: "assistant", content: name, ...(weight === undefined ? {} : { weight }) },
  ];
  const records = [
    { messages: [...turn("a"), ...turn("b", 0), ...turn("c", 1)] },
    { messages: [...turn("a", 0), ...turn("b"), ...turn("c", 0)] },
    { messages: [...turn("a", 0), ...turn("b", 0)] },
  ];
  const [last, every] = [await read(t, records), await read(t, records, { loss: "every" })];
  assert.deepEqual([learned(last), learned(last, 1)], ["c|", "b|"]);
  assert.deepEqual([learned(every), learned(every, 1)], ["a|c|", "b|"]);
  assert.match(textOf(last, 1), /a\?[\s\S]*b\?[\s\S]*b$/);
  assert.equal(last.examples, 2);
  assert.deepEqual(notesOn(last), ["passed over, every answer has weight 0: data.jsonl line 3"]);
  for (const weight of [0.5, 2, -1, "1", true]) {
    const messages = [turn("a")[0], { role: "assistant", content: "a", weight }];
    await assert.rejects(read(t, [{ messages }]), /"messages"\[1\]: expected "weight" to be 0 or 1, got the/);
  }
});

test("a long conversation loses its oldest exchanges, keeps its system text, and is counted", async (t) => {
  const whole = (await read(t, [{ messages: conversation }])).offsets[1]!;
  for (const loss of ["last", "every"] as const) {
    const exact = await read(t, [{ messages: conversation }], { loss, maxTokens: whole });
    assert.deepEqual([textOf(exact), exact.truncated], [spoken, 0]);
    const cut = await read(t, [{ messages: conversation }], { loss, maxTokens: whole - 1 });
    assert.deepEqual(
      [textOf(cut), learned(cut), cut.truncated],
      ["### Instruction:\nBe brief.\n\nTwo?\n\n### Response:\n2", "2|", 1],
    );
  }
  await assert.rejects(read(t, [{ messages: conversation }], { maxTokens: 46 }), /all 1 examples were left out/);
});

test("what is odd in a conversation is left out or passed over with a word, or refused by its place", async (t) => {
  const [system, one, first, two, second] = conversation as [object, object, object, object, object];
  const data = await read(t, [
    { messages: [system, first, one, first] },
    { messages: [one, first, two] },
    { messages: [one, one, first] },
    { messages: [one, first, two, { role: "tool", content: "3" }, second] },
    { messages: [one, { role: "assistant", content: null }] },
    { messages: [] },
    { messages: [one, one] },
    { messages: [one] },
    { messages: [system] },
    { messages: [{ ...one, weight: 1 }, first], prompt: "One?" },
  ]);
  assert.equal(data.examples, 3);
  assert.deepEqual(notesOn(data), [
    "left out, an answer at the beginning of a conversation: data.jsonl line 1",
    "left out, a question at the end of a conversation: data.jsonl line 2",
    "passed over, user and assistant do not take turns: 6 times, first in data.jsonl line 3",
    "passed over, a message is blank or null: data.jsonl line 5",
    'not read: "prompt": data.jsonl line 10',
    'not read: "weight" of no answer: data.jsonl line 10: "messages"[0]',
  ]);
  await assert.rejects(read(t, [{ messages: "hello" }]), /line 1: expected "messages" to be a list of messages/);
  await assert.rejects(
    read(t, [{ messages: [one, 5] }]),
    /line 1: "messages"\[1\]: expected a message, got the number/,
  );
  await assert.rejects(read(t, [{ messages: [{ text: "a" }] }]), /"messages"\[0\]: expected "role" and "content"/);
  await assert.rejects(
    read(t, [{ instruction: "a", output: "b", history: [["q", null]] }]),
    /line 1: expected "history"\[0\] to be \[instruction, response\]/,
  );
});

test("a file of ever new fields is told in few notes that leave none out", async (t) => {
  const text = "words that look like content of a record";
  const records = Array.from({ length: 50 }, (_, at) => ({ instruction: "a", output: "b", [`field ${at}`]: text }));
  const notes = notesOn(await read(t, records));
  assert.equal(notes.length, 21);
  assert.match(notes[20]!, /^not read or passed over for more reasons than are listed: 30 times, first in .* line 21$/);
});

test("nesting without bound in an unread field is no more than unread", async (t) => {
  const path = join(temporaryFolder(t), "deep.jsonl");
  const deep = `${"[".repeat(200_000)}${"]".repeat(200_000)}`;
  writeFileSync(path, `{"instruction": "a", "output": "b", "extra": ${deep}}`);
  assert.equal((await loadData(file(path), options)).examples, 1);
});

test("packed files are unpacked as they are read, and their digest is that of the file on disk", async (t) => {
  const folder = temporaryFolder(t);
  // Several of the 64 kB pieces in which a file is read.
  const records = Array.from({ length: 4_000 }, (_, at) => ({ instruction: `say ${at}`, output: `${at}` }));
  const lines = records.map((record) => JSON.stringify(record)).join("\n");
  const half = lines.indexOf("\n", lines.length / 2) + 1;
  for (const [name, bytes] of [
    ["data.jsonl.gz", gzipSync(lines)],
    ["data.json.gz", gzipSync(JSON.stringify(records))],
    ["members.gz", Buffer.concat([gzipSync(lines.slice(0, half)), gzipSync(lines.slice(half))])],
    ["without-a-name.jsonl", gzipSync(lines)],
  ] as const) {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    const data = await loadData(file(path), options);
    assert.deepEqual([data.examples, data.digest], [records.length, digestOfFile(path)], name);
  }
  const path = join(folder, "cut.jsonl.gz");
  writeFileSync(path, gzipSync(lines).subarray(0, -1_000));
  await assert.rejects(
    loadData(file(path), options),
    /^InputError: cannot read .*cut\.jsonl\.gz: unexpected end of file/,
  );
  writeFileSync(path, Buffer.concat([gzipSync(lines), Buffer.from("and more")]));
  await assert.rejects(loadData(file(path), options), /^InputError: cannot read .*cut\.jsonl\.gz: /);
});
