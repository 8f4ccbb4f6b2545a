import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { idsOf } from "../../../src/data/batches.ts";
import { byteTokenizer } from "../../../src/data/tokenizer.ts";
import {
  chooseToken,
  type GenerateOptions,
  generate,
  type LogitsSource,
  TextStream,
} from "../../../src/tasks/llm/generate.ts";
import type { LogitsJob } from "../../../src/tasks/task-engine.ts";

const greedy = { temperature: 0, topP: 1 };
const never = (): number => assert.fail("nothing is left to chance");
/** Logits of these probabilities. */
const of = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log);

test("greedy decoding takes the likeliest token, the lower id of equals, and draws nothing", () => {
  assert.equal(chooseToken(of(0.2, 0.5, 0.3), greedy, never), 1);
  assert.equal(chooseToken(Float32Array.of(1, 3, 3, 2), greedy, never), 1);
});

test("at temperature 1 each token is drawn with its own probability", () => {
  // Likeliest first: 0.5 of token 2, then 0.3 of token 0, then 0.2 of token 1.
  const drawn = [0, 0.49, 0.51, 0.79, 0.81, 0.999].map((u) =>
    chooseToken(of(0.3, 0.2, 0.5), { temperature: 1, topP: 1 }, () => u),
  );
  assert.deepEqual(drawn, [2, 2, 0, 0, 1, 1]);
});

test("a low temperature sharpens the distribution: probabilities go to the power 1 ÷ temperature", () => {
  // 2 : 1 becomes 4 : 1.
  const sampling = { temperature: 0.5, topP: 1 };
  assert.equal(
    chooseToken(of(2 / 3, 1 / 3), sampling, () => 0.79),
    0,
  );
  assert.equal(
    chooseToken(of(2 / 3, 1 / 3), sampling, () => 0.81),
    1,
  );
});

test("a nucleus keeps the fewest tokens that make up its share, and their proportions", () => {
  const draw = (topP: number, u: number) => chooseToken(of(0.6, 0.3, 0.1), { temperature: 1, topP }, () => u);
  assert.deepEqual(
    [0, 0.5, 0.999].map((u) => draw(0.5, u)),
    [0, 0, 0],
  );
  // 0.6 alone is less than 0.8; with 0.3 the border lies at 0.6 ÷ 0.9.
  assert.deepEqual(
    [0.66, 0.67, 0.999].map((u) => draw(0.8, u)),
    [0, 1, 1],
  );
});

/** Says that the token after n is n + 1, and keeps what it was asked. */
function counting(vocabulary: number): LogitsSource & { readonly jobs: LogitsJob[] } {
  const jobs: LogitsJob[] = [];
  return {
    jobs,
    async logits(job) {
      jobs.push(job);
      const logits = new Float32Array(vocabulary);
      logits[idsOf(job.batch)[job.batch.lossPositions[0]!]! + 1] = 5;
      return logits;
    },
  };
}

const model = { parameters: new Float32Array(1), personal: new Float32Array(1), variant: { topK: 2 } };
const options: GenerateOptions = {
  maxTokens: 10,
  contextTokens: 256,
  vocabulary: 300,
  end: new Set([7]),
  sampling: greedy,
  draws: new Rng(1).at("test generation"),
};

async function collect(source: LogitsSource, prompt: number[], more: Partial<GenerateOptions> = {}) {
  const answer = generate(source, model, prompt, { ...options, ...more });
  const tokens: number[] = [];
  let next = await answer.next();
  for (; next.done !== true; next = await answer.next()) tokens.push(next.value);
  return { tokens, ending: next.value };
}

test("an answer ends before the end token, at its longest, or where the model reads no further", async () => {
  assert.deepEqual(await collect(counting(300), [3]), { tokens: [4, 5, 6], ending: "end" });
  assert.deepEqual(await collect(counting(300), [3], { maxTokens: 2 }), { tokens: [4, 5], ending: "maxTokens" });
  // The fifth token is written, but no sixth, for which five tokens would have to be read.
  assert.deepEqual(await collect(counting(300), [9, 10], { contextTokens: 4 }), {
    tokens: [11, 12, 13],
    ending: "context",
  });
});

test("each token is asked for at the end of the text so far, in rows of few lengths", async () => {
  const source = counting(300);
  await collect(source, [20, 30], { maxTokens: 70, contextTokens: 100 });
  for (const [written, { batch, variant }] of source.jobs.entries()) {
    assert.equal(variant.topK, 2);
    assert.deepEqual([...batch.lengths], [2 + written]);
    assert.deepEqual([...batch.lossPositions], [1 + written]);
    assert.deepEqual([...idsOf(batch).subarray(0, 2)], [20, 30]);
  }
  assert.deepEqual([...new Set(source.jobs.map(({ batch }) => batch.length))], [64, 100]);
});

test("rows that only fill up the embedding table are never written", async () => {
  const { tokens } = await collect(counting(300), [41], { vocabulary: 42, maxTokens: 1 });
  assert.deepEqual(tokens, [0]);
});

test("sampled text depends on the seed and on nothing else", async () => {
  const flat: LogitsSource = { logits: async () => new Float32Array(300) };
  const sampled = async (seed: number) => {
    const draws = new Rng(seed).at("test generation");
    return (await collect(flat, [1], { sampling: { temperature: 1, topP: 1 }, draws, end: new Set() })).tokens;
  };
  assert.deepEqual(await sampled(1), await sampled(1));
  assert.notDeepEqual(await sampled(1), await sampled(2));
});

test("a character of several bytes is shown when its last byte has come", () => {
  const stream = new TextStream((ids) => byteTokenizer.decode(ids));
  const shown = [...byteTokenizer.encode("aé€")].map((id) => stream.push(id));
  assert.deepEqual(shown, ["a", "", "é", "", "", "€"]);
  assert.equal(stream.push(0xe2), "");
  assert.equal(stream.end(), "\uFFFD");
  assert.equal(stream.text, "aé€\uFFFD");
});
