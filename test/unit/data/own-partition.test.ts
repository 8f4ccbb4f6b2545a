/** Data and partitions of the scenario's author: columns, lists, functions, arrays, names of fields. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { examplesOf, type Partition } from "../../../src/data/deal.ts";
import { byColumn, byIndices, notesOnPartition, partition, partitionBy } from "../../../src/data/partition.ts";
import { file, instructions, loadData, records } from "../../../src/data/source.ts";
import { loadTable } from "../../../src/data/tables/source.ts";
import { folderOfFile } from "../../support/folders.ts";

const folder = folderOfFile();
const options = { seed: 1, maxTokens: 64 };
const rng = new Rng(1);

/** Twelve examples of four writers; numbers of their writers are numbers. */
const written = Array.from({ length: 12 }, (_, at) => ({
  question: `question ${at}`,
  answer: `answer ${at}`,
  topic: at % 2 === 0 ? "even" : "odd",
  writer: [2, 10, 1, 7][at % 4]!,
}));
const fields = { instruction: "question", output: "answer", category: "topic" };
const path = join(folder, "written.jsonl");
writeFileSync(path, written.map((one) => JSON.stringify(one)).join("\n"));
const data = await loadData(file(path, { fields }), { ...options, column: "writer" });
const all = Uint32Array.from({ length: 12 }, (_, at) => at);
const lists = (dealt: Partition): number[][] =>
  Array.from({ length: dealt.clients }, (_, client) => [...examplesOf(dealt, client)].sort((a, b) => a - b));

test("fields have the names that the author gives them, in a file and in an array", async () => {
  const plain = written.map(({ question, answer, topic }) => ({
    instruction: question,
    output: answer,
    category: topic,
  }));
  const usual = await loadData(records(plain), options);
  for (const own of [data, await loadData(records(written, { fields }), options)]) {
    assert.deepEqual([...own.tokens], [...usual.tokens]);
    assert.deepEqual([own.categoryNames, [...own.category]], [["even", "odd"], [...usual.category]]);
  }
  const wrong = loadData(records(written, { fields: { ...fields, instruction: "query" } }), options);
  await assert.rejects(wrong, {
    message: /data\.source\.records\[0\]: expected a JSON object with "query" and "answer"/,
  });
});

test("a client holds a value of the column, in ascending order of numbers", () => {
  assert.deepEqual(data.ownerNames, ["1", "2", "7", "10"]);
  assert.deepEqual(lists(partition(data, all, byColumn("writer"), 4, rng)), [
    [2, 6, 10],
    [0, 4, 8],
    [3, 7, 11],
    [1, 5, 9],
  ]);
});

test("fewer clients hold several values each, more clients share them, and nothing is lost", () => {
  assert.deepEqual(lists(partition(data, all, byColumn("writer"), 2, rng)), [
    [2, 3, 6, 7, 10, 11],
    [0, 1, 4, 5, 8, 9],
  ]);
  const shared = lists(partition(data, all, byColumn("writer"), 8, rng));
  assert.deepEqual(
    shared.flat().sort((a, b) => a - b),
    [...all],
  );
  for (const [client, list] of shared.entries()) assert.ok(list.every((e) => data.owner![e] === client % 4));
});

test("a column that a record lacks, or that a source cannot have, is named", async () => {
  const without = loadData(records([...written, { question: "q", answer: "a" }], { fields }), {
    ...options,
    column: "writer",
  });
  await assert.rejects(without, {
    message: /records\[12\]: expected "writer", the column that data\.partition goes by/,
  });
  const generated = await loadData(instructions({ examples: 12 }), { ...options, column: "writer" });
  assert.throws(() => partition(generated, all, byColumn("writer"), 2, rng), {
    message: /data\.partition is byColumn\("writer"\), but data\.source has no columns/,
  });
});

test("a column of a table is no feature", () => {
  const rows = [
    { site: "north", age: 3, class: "a" },
    { site: "south", age: 5, class: "b" },
    { site: "north", age: 4, class: "b" },
  ];
  const { features, owner, ownerNames, labels } = loadTable(records(rows), "site");
  assert.deepEqual(
    features.map(({ name }) => name),
    ["age"],
  );
  assert.deepEqual(
    [ownerNames, [...owner!], [...labels]],
    [
      ["north", "south"],
      [0, 1, 0],
      [0, 1, 1],
    ],
  );
  assert.throws(() => loadTable(records([...rows, { site: "west", class: "a" }])), {
    message: /data\.source\.records\[3\]: age is missing, expected a number or a text/,
  });
});

test("given lists are dealt as they are, but for what is held out", () => {
  const training = all.filter((e) => e !== 4);
  const spec = byIndices([[4, 0, 9], [], [1, 3]]);
  assert.deepEqual(lists(partition(data, training, spec, 3, rng)), [[0, 9], [], [1, 3]]);
  assert.deepEqual(notesOnPartition(data, training, spec), [
    "1 of 5 examples of data.partition are held out, and go to no client",
    "7 of 11 examples that may be trained on go to no client",
  ]);
});

test("lists with a number too much, twice or out of range are refused", () => {
  const deal = (clients: number[][]) => partition(data, all, byIndices(clients), 2, rng);
  assert.throws(() => deal([[0]]), {
    message: /data\.partition\.clients: expected a list for each of 2 clients, got 1/,
  });
  assert.throws(() => deal([[0], [0]]), { message: /clients\[1\] has 0, which client 0 holds already/ });
  assert.throws(() => deal([[12], []]), { message: /clients\[0\] has 12, but examples are numbered 0 to 11/ });
});

test("a function deals what may be trained on, with draws that are the same in every run", () => {
  const training = all.filter((e) => e !== 4);
  const spec = partitionBy(({ examples, clients, draws }) => {
    const dealt = Array.from({ length: clients }, (): number[] => []);
    for (const { index, category } of examples)
      dealt[category === "even" ? 0 : 1 + draws.below(clients - 1)]!.push(index);
    return dealt;
  });
  const first = lists(partition(data, training, spec, 3, rng));
  assert.deepEqual(first[0], [0, 2, 6, 8, 10]);
  assert.deepEqual(
    [...first[1]!, ...first[2]!].sort((a, b) => a - b),
    [1, 3, 5, 7, 9, 11],
  );
  assert.deepEqual(lists(partition(data, training, spec, 3, new Rng(1))), first);
  assert.notDeepEqual(lists(partition(data, training, spec, 3, new Rng(2))), first);
  const greedy = partitionBy(() => [[4], [], []]);
  assert.throws(() => partition(data, training, greedy, 3, rng), {
    message: /what data\.partition\.deal returns\[0\] has 4, which is held out/,
  });
  const silent = partitionBy(() => undefined as never);
  assert.throws(() => partition(data, training, silent, 3, rng), { message: /expected a list for each of 3 clients/ });
});
