import assert from "node:assert/strict";
import { test } from "node:test";
import { ScenarioError } from "../../../src/base/errors.ts";
import { Rng } from "../../../src/base/random.ts";
import { type Batch, evaluationBatches, idsOf, packedBatch, trainBatches } from "../../../src/data/batches.ts";
import { apportion, examplesOf, type Partition, sizesOf } from "../../../src/data/deal.ts";
import {
  byCategory,
  byQuantity,
  contiguous,
  dirichlet,
  iid,
  notesOnPartition,
  type PartitionSpec,
  partition,
  partitionSchema,
  partitionSizes,
  shards,
} from "../../../src/data/partition.ts";
import { split } from "../../../src/data/split.ts";
import { compact } from "../../../src/data/template.ts";
import { type TokenizedData, tokenize } from "../../../src/data/tokenized.ts";
import { byteTokenizer } from "../../../src/data/tokenizer.ts";

/** `perCategory` examples in each of `categories` categories. */
function sample(categories: number, perCategory: number): TokenizedData {
  const examples = Array.from({ length: categories * perCategory }, (_, at) => ({
    instruction: `question ${at}`,
    input: "",
    response: "yes",
    category: `c${at % categories}`,
  }));
  return tokenize(examples, byteTokenizer, compact(), { maxTokens: 64 });
}

const data = sample(8, 250);
const everything = Uint32Array.from({ length: data.examples }, (_, e) => e);
const deal = (spec: PartitionSpec, clients: number, seed = 1): Partition =>
  partition(data, everything, spec, clients, new Rng(seed));
const sizes = (dealt: Partition): number[] => [...sizesOf(data, dealt).examples];
/** Distinct categories of each client. */
const variety = (dealt: Partition): number[] =>
  Array.from(
    { length: dealt.clients },
    (_, c) => new Set(Array.from(examplesOf(dealt, c), (e) => data.category[e])).size,
  );
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

test("an iid partition gives every client as much and nearly every category", () => {
  const dealt = deal(iid(), 30);
  assert.deepEqual(new Set(sizes(dealt)), new Set([66, 67]));
  assert.ok(variety(dealt).every((categories) => categories === 8));
});

test("a small Dirichlet alpha leaves a client few categories, a large one all", () => {
  // The largest category's share of a client: 1/8 when even; most of it when alpha is small.
  const skew = (alpha: number) => {
    const dealt = deal(dirichlet({ alpha, minimum: 1, shortage: "fill" }), 20);
    return mean(
      Array.from({ length: 20 }, (_, c) => {
        const counts = new Uint32Array(8);
        for (const e of examplesOf(dealt, c)) counts[data.category[e]!]!++;
        return Math.max(...counts) / examplesOf(dealt, c).length;
      }),
    );
  };
  assert.ok(skew(0.05) > 0.7, `${skew(0.05)}`);
  assert.ok(skew(1) > 0.25 && skew(1) < 0.5, `${skew(1)}`);
  assert.ok(skew(1_000) < 0.2, `${skew(1_000)}`);
});

test("Dirichlet shares have the law's variance", () => {
  // Var of one share of Dir(α·1_N) is (1/N)(1 − 1/N)/(Nα + 1). 200 seeds × 10 clients of one category; the estimate's
  // own relative error is about √(κ/2000) < 0.1 for this mildly skewed law, so 0.25 is generous and still tells α/2.
  const one = sample(1, 2_000);
  const indices = Uint32Array.from({ length: 2_000 }, (_, e) => e);
  const alpha = 1;
  let sum = 0;
  for (let seed = 0; seed < 200; seed++) {
    const dealt = partition(one, indices, dirichlet({ alpha, minimum: 0 }), 10, new Rng(seed));
    for (let c = 0; c < 10; c++) sum += (examplesOf(dealt, c).length / 2_000 - 0.1) ** 2;
  }
  const expected = (0.1 * 0.9) / (10 * alpha + 1);
  assert.ok(Math.abs(sum / 2_000 / expected - 1) < 0.25, `${sum / 2_000} against ${expected}`);
});

test("a Dirichlet partition is drawn again until everybody has the minimum", () => {
  for (let seed = 0; seed < 20; seed++)
    assert.ok(Math.min(...sizes(deal(dirichlet({ alpha: 0.5, minimum: 20 }), 16, seed))) >= 20);
});

test("a minimum that Dirichlet draws never meet is a mistake that names what was tried", () => {
  assert.throws(
    () => deal(dirichlet({ alpha: 0.01, minimum: 60 }), 30),
    (error: Error) =>
      error instanceof ScenarioError &&
      /alpha 0\.01.*2000.*30 clients.*fewer than 60 \(at best \d+\)/.test(error.message),
  );
});

test('shortage "fill" gives the poor what the richest have, and keeps every example', () => {
  const dealt = deal(dirichlet({ alpha: 0.01, minimum: 60, shortage: "fill" }), 30);
  assert.ok(Math.min(...sizes(dealt)) >= 60);
  assert.deepEqual(dealt.indices.slice().sort(), everything);
});

test("sizes by Zipf's law fall as 1 / rank", () => {
  const ordered = sizes(deal(byQuantity({ zipf: 1 }), 10)).sort((a, b) => b - a);
  // 2000 examples, 1 each; 1990 more by 1/(rank · H_10), H_10 = 2.929.
  const expected = Array.from({ length: 10 }, (_, rank) => 1 + 1_990 / ((rank + 1) * 2.929));
  for (const [rank, size] of ordered.entries()) assert.ok(Math.abs(size - expected[rank]!) < 2, `${ordered}`);
});

test("sizes by a log-normal law have the spread that was asked for", () => {
  const { examples } = partitionSizes(
    byQuantity({ sigma: 0.8 }),
    { clients: 4_000, examples: 4_000_000, tokensPerExample: 10 },
    new Rng(1),
  );
  const logs = Array.from(examples, Math.log);
  const middle = mean(logs);
  const spread = Math.sqrt(mean(logs.map((value) => (value - middle) ** 2)));
  // Standard error of a standard deviation from 4000 draws: 0.8/√8000 ≈ 0.009; five of those.
  assert.ok(Math.abs(spread - 0.8) < 0.045, `${spread}`);
});

test("by category a client holds one, the next in turn, and shares it evenly with those who have the same", () => {
  const dealt = deal(byCategory(), 16);
  const held = Array.from(
    { length: 16 },
    (_, client) => new Set([...examplesOf(dealt, client)].map((e) => data.category[e]!)),
  );
  for (const [client, categories] of held.entries()) {
    assert.equal(categories.size, 1);
    assert.deepEqual(categories, held[client % 8]);
  }
  assert.equal(new Set(held.slice(0, 8).flatMap((categories) => [...categories])).size, 8);
  for (let client = 0; client < 8; client++) {
    assert.ok(Math.abs(examplesOf(dealt, client).length - examplesOf(dealt, client + 8).length) <= 1);
  }
  assert.throws(() => deal(byCategory(), 7), /8 categories, a client each, but the fleet has 7/);
});

test("with shards a client holds exactly as many categories as it was given", () => {
  for (const categories of [1, 2, 5]) {
    const dealt = deal(shards({ categories }), 24);
    assert.deepEqual(new Set(variety(dealt)), new Set([categories]));
    assert.equal(dealt.indices.length, 2_000);
    assert.ok(
      Math.max(...sizes(dealt)) - Math.min(...sizes(dealt)) <= 10,
      "categories of one size, clients of one size",
    );
  }
});

test("more clients than examples is a mistake that names both numbers", () => {
  for (const spec of [iid(), dirichlet({ alpha: 1 }), byQuantity({ sigma: 1 }), shards({ categories: 2 })]) {
    assert.throws(
      () => deal(spec, 2_001),
      (error: Error) => error instanceof ScenarioError && /2001 clients.*2000 training examples/.test(error.message),
    );
  }
  assert.throws(() => deal(byQuantity({ sigma: 1, minimum: 5 }), 500), /500 clients with at least 5 examples each/);
  assert.throws(() => deal(shards({ categories: 9 }), 10), /categories 9.*8 categories/);
});

test("the same seed deals the same hand, another seed another", () => {
  for (const spec of [iid(), dirichlet({ alpha: 0.3 }), byQuantity({ sigma: 1 }), shards({ categories: 2 })]) {
    assert.deepEqual(deal(spec, 12), deal(spec, 12));
    assert.notDeepEqual(deal(spec, 12).indices, deal(spec, 12, 2).indices);
  }
});

test("what the factories make, the schema accepts as it is", () => {
  for (const spec of [iid(), dirichlet({ alpha: 0.3 }), byQuantity({ zipf: 1.1 }), shards({ categories: 2 })]) {
    assert.deepEqual(partitionSchema.parse(spec), spec);
  }
  for (const wrong of [
    dirichlet({ alpha: 0 }),
    byQuantity({}),
    byQuantity({ sigma: 1, zipf: 1 }),
    shards({ categories: 0.5 }),
  ]) {
    assert.equal(partitionSchema.safeParse(wrong).success, false, JSON.stringify(wrong));
  }
});

test("sizes alone, for a hundred thousand clients, add up and follow the mean length", () => {
  for (const spec of [iid(), dirichlet({ alpha: 0.3 }), byQuantity({ sigma: 1 }), shards({ categories: 2 })]) {
    const options = { clients: 100_000, examples: 5_000_000, tokensPerExample: 40 };
    const { examples, tokens } = partitionSizes(spec, options, new Rng(1));
    assert.equal(
      examples.reduce((a, b) => a + b, 0),
      5_000_000,
    );
    assert.ok(examples.every((count) => count >= 1));
    assert.ok(Math.abs(tokens.reduce((a, b) => a + b, 0) / 5_000_000 - 40) < 0.1);
  }
});

test("apportioned numbers add up and stay within one of their share", () => {
  assert.deepEqual([...apportion(Float64Array.of(1, 1, 1), 10, 0)], [3, 4, 3]);
  assert.deepEqual([...apportion(Float64Array.of(0, 1, 3), 10, 2)], [2, 3, 5]);
});

test("the held-out split follows the question: order and answers do not move it", () => {
  const examples = Array.from({ length: 1_000 }, (_, at) => ({
    instruction: `question ${at % 900}`,
    input: "",
    response: `answer ${at}`,
    category: "c",
  }));
  const questionsOf = (list: typeof examples) => {
    const columns = tokenize(list, byteTokenizer, compact(), { maxTokens: 64 });
    const { train, heldOut } = split(columns, { heldOut: 0.2 });
    const names = (indices: Uint32Array) => new Set(Array.from(indices, (e) => list[e]!.instruction));
    return { train: names(train), heldOut: names(heldOut), share: heldOut.length / 1_000 };
  };
  const straight = questionsOf(examples);
  assert.deepEqual(questionsOf([...examples].reverse()).heldOut, new Set([...straight.heldOut].reverse()));
  assert.ok([...straight.heldOut].every((question) => !straight.train.has(question)));
  // Binomial: 0.2 ± 3·√(0.2·0.8/900).
  assert.ok(Math.abs(straight.share - 0.2) < 0.04, `${straight.share}`);
});

test("a split by count holds out that many, and never everything", () => {
  assert.equal(split(data, { heldOut: 300 }).heldOut.length, 300);
  assert.equal(split(data, { heldOut: 1e-9 }).heldOut.length, 1);
  assert.throws(() => split(data, { heldOut: 2_000 }), /leaves none of 2000 examples/);
  assert.throws(() => split(data, { heldOut: 1.5 }), ScenarioError);
  assert.throws(() => split(sample(1, 1)), /has 1 examples, expected at least 2/);
});

/** Examples of questions that have so many answers each. */
const answers = (...sizes: number[]): TokenizedData =>
  tokenize(
    sizes.flatMap((size, question) =>
      Array.from({ length: size }, (_, at) => ({
        instruction: `question ${question}`,
        input: "",
        response: `answer ${at}`,
        category: "c",
      })),
    ),
    byteTokenizer,
    compact(),
    { maxTokens: 64 },
  );
const ones = (count: number): number[] => Array<number>(count).fill(1);

test("about the share that was asked for is held out, however many answers a question has", () => {
  const cases = [
    [180, ...ones(20)],
    [150, ...ones(50)],
    [...ones(190), 10],
    Array<number>(20).fill(10),
    [400, 400, ...ones(100)],
  ];
  for (const sizes of cases) {
    const columns = answers(...sizes);
    const wanted = columns.examples / 10;
    const { heldOut, train, notes } = split(columns, { heldOut: 0.1 });
    const off = Math.abs(heldOut.length - wanted);
    assert.ok(off <= (sizes.length > 190 ? 3 : 1) * Math.sqrt(wanted), `${heldOut.length} of ${columns.examples}`);
    const asked = (list: Uint32Array) => new Set(Array.from(list, (e) => columns.questionHash[e]));
    const both = asked(train);
    assert.ok([...asked(heldOut)].every((question) => !both.has(question)));
    assert.equal(notes.length, sizes.length > 190 ? 0 : 1);
  }
  assert.equal(split(answers(...Array<number>(50).fill(3)), { heldOut: 12 }).heldOut.length, 12);
});

test("a split that cannot hold out what was asked for says how many it holds out", () => {
  const { heldOut, notes } = split(answers(100, 60), { heldOut: 0.1 });
  assert.equal(heldOut.length, 60);
  assert.match(
    notes.join(),
    /^60 of 160 examples are held out, and data\.heldOut asks for 16: .* one question has 100$/,
  );
  assert.match(
    split(answers(190, ...ones(10)), { heldOut: 0.1 }).notes.join(),
    /^10 of 200 .* asks for 20: .* has 190$/,
  );
  assert.throws(() => split(answers(20), { heldOut: 0.1 }), /all 20 examples ask the same question/);
});

test("Dirichlet over a single category is said to be IID by label", () => {
  const one = sample(1, 20);
  const all = Uint32Array.from({ length: 20 }, (_, e) => e);
  assert.match(notesOnPartition(one, all, dirichlet({ alpha: 1 })).join(), /all examples have the category "c0".* IID/);
  assert.deepEqual(notesOnPartition(one, all, iid()), []);
  assert.deepEqual(notesOnPartition(data, everything, dirichlet({ alpha: 1 })), []);
});

test("evaluation examples are spread over categories in proportion", () => {
  const { heldOut, evaluation } = split(data, { heldOut: 400, evaluationExamples: 80 });
  assert.equal(evaluation.length, 80);
  const count = (list: Uint32Array, row: number) => list.filter((e) => data.category[e] === row).length;
  for (let row = 0; row < 8; row++) assert.ok(Math.abs(count(evaluation, row) - count(heldOut, row) / 5) < 1);
  assert.ok(evaluation.every((e) => heldOut.includes(e)));
});

const decode = (batch: Batch, row: number) =>
  byteTokenizer.decode(idsOf(batch).subarray(row * batch.length, row * batch.length + batch.lengths[row]!));

test("a batch carries loss on response and end token alone", () => {
  const columns = tokenize(
    [{ instruction: "ab", input: "", response: "xy", category: "c" }],
    byteTokenizer,
    compact(),
    {
      maxTokens: 16,
    },
  );
  const [batch] = evaluationBatches(columns, Uint32Array.of(0), { batchSize: 2, length: 8 });
  assert.deepEqual(batch, {
    rows: 2,
    length: 8,
    inputs: { ids: Int32Array.of(258, 97, 98, 260, 120, 121, 257, 256, ...Array<number>(8).fill(256)) },
    lengths: Int32Array.of(7, 0),
    // After <response>, x and y come x, y and <end>.
    lossPositions: Int32Array.of(3, 4, 5),
    targets: Int32Array.of(120, 121, 257),
  });
});

test("every epoch sees every example once, in an order of its own; empty rows fill the last batch", () => {
  const indices = Uint32Array.of(3, 1, 4, 15, 9, 2, 6);
  const options = { batchSize: 3, length: 64, epochs: 2, draws: new Rng(1).at("batches").at(0) };
  const batches = trainBatches(data, indices, options);
  assert.equal(batches.length, 6);
  const seen = batches.map((batch) => [0, 1, 2].map((row) => decode(batch, row)).filter((text) => text !== ""));
  const [first, second] = [seen.slice(0, 3).flat(), seen.slice(3).flat()];
  assert.deepEqual([...first].sort(), Array.from(indices, (e) => `question ${e}yes`).sort());
  assert.deepEqual([...second].sort(), [...first].sort());
  assert.notDeepEqual(second, first);
  assert.deepEqual(
    batches.map(({ lengths }) => [...lengths].filter((length) => length === 0).length),
    [0, 0, 2, 0, 0, 2],
  );
});

test("evaluation batches put like lengths together and round them up", () => {
  const examples = [5, 1, 3, 2, 4, 6].map((length) => ({
    instruction: "a".repeat(length),
    input: "",
    response: "b",
    category: "c",
  }));
  const columns = tokenize(examples, byteTokenizer, compact(), { maxTokens: 16 });
  const batches = evaluationBatches(columns, Uint32Array.of(0, 1, 2, 3, 4, 5), {
    batchSize: 2,
    length: 16,
    roundTo: 4,
  });
  assert.deepEqual(
    batches.map(({ lengths }) => [...lengths]),
    [
      [5, 6],
      [7, 8],
      [9, 10],
    ],
  );
  assert.deepEqual(
    batches.map(({ length }) => length),
    [8, 8, 12],
  );
});

test("an example longer than the rows is a bug and not cut", () => {
  assert.throws(() => evaluationBatches(data, Uint32Array.of(0), { batchSize: 1, length: 4 }), /rows of 4/);
});

test("packed rows have loss on every token, each predicted once", () => {
  const { inputs, targets, lossPositions } = packedBatch([1, 2, 3, 0, 5, 6, 7, 8], 2, 3);
  assert.deepEqual([...idsOf({ inputs })], [1, 2, 3, 5, 6, 7]);
  assert.deepEqual([...targets], [2, 3, 0, 6, 7, 8]);
  assert.deepEqual([...lossPositions], [0, 1, 2, 3, 4, 5]);
});

test("contiguous stretches follow one another in the order of the source", () => {
  const indices = Uint32Array.of(9, 2, 4, 5, 6, 7, 3);
  const dealt = partition(sample(2, 5), indices, contiguous(), 3, new Rng(1));
  const own = [0, 1, 2].map((client) => [...examplesOf(dealt, client)]);
  assert.deepEqual(own, [
    [2, 3],
    [4, 5, 6],
    [7, 9],
  ]);
});
