/** What a run leaves behind, read back by the commands: evaluated, exported, merged, generated from. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { minutes } from "../../src/base/units.ts";
import { fftMoe, flexlora, shefl, trivial } from "../../src/fl/strategies/registry.ts";
import { readLines } from "../../src/folder/line-file.ts";
import { filesIn } from "../../src/folder/run-folder.ts";
import type { RoundMetrics } from "../../src/records/metrics.ts";
import { run } from "../../src/run/run.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { relativeError } from "../support/golden.ts";
import { needs } from "../support/needs.ts";
import { interruptAfter } from "../support/run-folders.ts";
import { training } from "../support/scenarios.ts";
import { trainedRun } from "../support/trained-run.ts";

/** A Python with torch, transformers and PEFT; see test/support/peft-check.py. */
const python = process.env.FLAME_PEFT_PYTHON || undefined;

const folder = folderOfFile();
let plain = "";
let scaled = "";
let model = "";

const lora = { rank: 2, alpha: 4, targets: "experts-and-attention" } as const;

/** Those of `training`, for scenarios that change one field of them. */
const rounds = { cohort: 8, deadline: minutes(1), minUpdates: 2 };

before(async () => {
  plain = join(folder, "plain");
  ({ out: scaled, model } = await trainedRun());
  await run(training(model, { lora, rescaler: { learn: false } }), { out: plain, workers: 1 });
});

async function flame(...words: string[]): Promise<string> {
  const { code, out, err } = await runFlame(...words);
  assert.equal(code, 0, err);
  return out;
}

async function refused(...words: string[]): Promise<string> {
  const { code, err } = await runFlame(...words);
  assert.equal(code, 2, err);
  return err;
}

const evaluationsOf = async (...words: string[]) => JSON.parse(await flame("eval", ...words, "--json")).evaluations;

/** Logits that `flame eval` writes, flat. */
async function logitsOf(k: number, ...words: string[]): Promise<{ path: string; values: Float32Array }> {
  const path = join(folder, `logits-${words.join("-").replaceAll(/\W+/g, "-").slice(-80)}-${k}.json`);
  await flame("eval", ...words, "--budget", String(k), "--logits", path);
  return { path, values: Float32Array.from(JSON.parse(readFileSync(path, "utf8")).logits.flat(2)) };
}

const rowsOf = (path: string) => readLines<RoundMetrics>(join(path, "metrics.jsonl"));

test("evaluating a run gives the numbers the run gave, at the end and after an earlier round", async () => {
  const rows = rowsOf(scaled);
  const last = await evaluationsOf("--adapter", scaled, "--budget", "4,2,1");
  const second = await evaluationsOf("--adapter", scaled, "--budget", "4,2,1", "--round", "2");
  for (const [found, row] of [
    [last, rows.at(-1)!],
    [second, rows[2]!],
  ] as const) {
    for (const [at, { budget, loss, exactMatch, accuracy }] of row.evaluations.entries()) {
      assert.equal(found[at].budget, budget);
      // Other lengths of rows are other orders of float32 sums.
      assert.ok(Math.abs(found[at].loss - loss) < 1e-5, `k=${budget}: loss ${found[at].loss}, the run's ${loss}`);
      assert.equal(found[at].exactMatch, exactMatch);
      assert.equal(found[at].accuracy, accuracy);
    }
  }
  assert.notEqual(last[0].loss, second[0].loss);
});

for (const strategy of [flexlora(), trivial({ experts: "all" }), shefl({ members: 2 }), fftMoe({ experts: 4 })]) {
  test(`evaluating a run of ${strategy.name} gives what it evaluated: the model of each budget`, async () => {
    const out = join(folder, strategy.name);
    await run(training(model, { strategy, rounds: { ...rounds, count: 1 } }), { out, workers: 1 });
    const last = rowsOf(out).at(-1)!;
    const budgets = last.evaluations.map(({ budget }) => budget);
    const found = await evaluationsOf("--adapter", out, "--budget", budgets.join(","));
    for (const [at, { budget, loss }] of last.evaluations.entries()) {
      assert.equal(found[at].budget, budget);
      // Other lengths of rows are other orders of float32 sums.
      assert.ok(Math.abs(found[at].loss - loss) < 1e-5, `k = ${budget}: loss ${found[at].loss}, the run's ${loss}`);
    }
  });
}

test("the adapter after round 2 of three is the one that a run of two rounds ends with", async () => {
  const short = join(folder, "short");
  await run(training(model, { lora, rescaler: { learn: false }, rounds: { ...rounds, count: 2 } }), {
    out: short,
    workers: 1,
  });
  await flame("export", short, "--to", join(folder, "of-short"));
  await flame("export", plain, "--to", join(folder, "of-round-2"), "--round", "2");
  const weights = (name: string) => readFileSync(join(folder, name, "adapter_model.safetensors"));
  assert.ok(weights("of-short").equals(weights("of-round-2")));
  await flame("export", plain, "--to", join(folder, "of-round-3"));
  assert.ok(!weights("of-short").equals(weights("of-round-3")));
});

test("an exported adapter gives the logits of the run it came from", async () => {
  const to = join(folder, "peft");
  assert.match(await flame("export", plain, "--to", to), /adapter of round 3, rank 2, alpha 4/);
  const words = ["--model", model, "--data", "generated", "--examples", "8"];
  for (const k of [4, 1]) {
    const { values } = await logitsOf(k, "--adapter", plain, ...words);
    assert.deepEqual((await logitsOf(k, "--adapter", to, ...words)).values, values);
    assert.ok(relativeError((await logitsOf(k, ...words)).values, values) > 1e-3, "the adapter changes the logits");
  }
});

test("a rescaler that learned stays out of an adapter, and goes into a merged model", async () => {
  const mine = join(folder, "mine");
  mkdirSync(mine);
  for (const to of [join(folder, "not-made"), mine]) {
    assert.match(await refused("export", scaled, "--to", to), /rescaler other than 1.*--merge/);
  }
  assert.deepEqual(readdirSync(mine), [], "an empty folder that was there still is");
  for (const k of [4, 2, 1]) {
    const to = join(folder, `merged-${k}`);
    await flame("export", scaled, "--to", to, "--merge", "--budget", String(k));
    assert.equal(JSON.parse(readFileSync(join(to, "config.json"), "utf8")).num_experts_per_tok, k);
    const words = ["--data", "generated", "--examples", "8"];
    const merged = await logitsOf(k, "--model", to, ...words);
    const apart = await logitsOf(k, "--adapter", scaled, ...words);
    const error = relativeError(merged.values, apart.values);
    assert.ok(error < 1e-5, `k = ${k}: relative error ${error}`);
  }
});

test("PEFT and transformers compute the same logits from what was exported", {
  skip: python === undefined && needs.peft,
}, async () => {
  const check = (logits: string, ...words: string[]) =>
    execFileSync(python!, [join(import.meta.dirname, "../support/peft-check.py"), logits, ...words], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  const adapter = join(folder, "for-peft");
  await flame("export", plain, "--to", adapter);
  const merged = join(folder, "for-transformers");
  await flame("export", scaled, "--to", merged, "--merge", "--budget", "2");
  const ofAdapter = await logitsOf(2, "--adapter", plain);
  assert.match(check(ofAdapter.path, "--model", model, "--adapter", adapter), /^ok: /m);
  const ofMerged = await logitsOf(2, "--adapter", scaled);
  const { budget: _, ...asConfigured } = JSON.parse(readFileSync(ofMerged.path, "utf8"));
  writeFileSync(ofMerged.path, JSON.stringify(asConfigured));
  assert.match(check(ofMerged.path, "--model", merged), /^ok: /m);
});

test("an export never overwrites, and what is not there is named", async () => {
  assert.match(await refused("export", plain, "--to", model), /already holds config\.json/);
  assert.match(await refused("export", plain, "--to", join(model, "config.json")), /is a file, expected a folder/);
  assert.match(await refused("export", model, "--to", join(folder, "x")), /is not a run folder/);
  assert.match(
    await refused("export", plain, "--to", join(folder, "x"), "--round", "9"),
    /holds no adapter of round 9, expected one of 1, 2, 3;/,
  );
  assert.match(await refused("export", plain, "--to", join(folder, "x"), "--budget", "5"), /the model has 4 experts/);
  assert.match(await refused("eval", "--adapter", model), /adapter_config\.json/);
  assert.match(await refused("eval", "--round", "1"), /--adapter is not the folder of a run/);
});

test("an unfinished run is exported from its newest checkpoint", async () => {
  const stopped = join(folder, "stopped");
  const scenario = training(model, { rescaler: { learn: false } });
  const result = await run(scenario, { out: stopped, workers: 1, signal: interruptAfter(60) });
  assert.equal(result.state, "interrupted");
  const out = await flame("export", stopped, "--to", join(folder, "of-stopped"));
  const newest = filesIn(join(stopped, "checkpoints"), ".ckpt").at(-1)!;
  assert.match(out, new RegExp(`adapter of round ${Number.parseInt(newest, 10)},`));
});

test("an answer is the same every time, and sampled ones differ by seed", async () => {
  const words = [
    "generate",
    "--adapter",
    plain,
    "--prompt",
    "Sort the letters.",
    "--input",
    "cab",
    "--max-tokens",
    "6",
  ];
  const answer = async (...more: string[]) => JSON.parse(await flame(...words, ...more, "--json"));
  const greedy = await answer();
  assert.deepEqual(await answer(), greedy);
  assert.equal(greedy.round, 3);
  assert.ok(greedy.tokens <= 6);
  const sampled = await answer("--temperature", "1", "--seed", "5");
  assert.deepEqual(await answer("--temperature", "1", "--seed", "5"), sampled);
  assert.notEqual((await answer("--temperature", "1", "--seed", "6")).text, sampled.text);
  assert.equal(await flame(...words), `${greedy.text}\n`);
});

test("greedy decoding writes exactly the answers that count as an exact match", async () => {
  // One question, repeated until the tiny model knows its answer by heart.
  const data = join(folder, "one.jsonl");
  const question = { instruction: "Say it.", input: "", output: "ok" };
  const others = Array.from({ length: 9 }, (_, n) => ({ instruction: `Say ${n}.`, input: "", output: "ok" }));
  writeFileSync(data, [question, ...others].map((row) => JSON.stringify(row)).join("\n"));
  const out = join(folder, "by-heart");
  await run(
    training(model, {
      data: { source: { type: "file", path: data }, partition: { type: "iid" }, heldOut: 1 },
      fleet: [{ name: "one", clients: 1, budget: 4, tokensPerSecond: 1e4, uplink: 1e6 }],
      rounds: { count: 2, cohort: 1 },
      training: { epochs: 20, batchSize: 8, learningRate: 2e-2 },
    }),
    { out, workers: 1 },
  );
  const one = join(folder, "question.jsonl");
  writeFileSync(one, JSON.stringify(question));
  const [{ exactMatch }] = await evaluationsOf("--adapter", out, "--data", one, "--budget", "4");
  assert.equal(exactMatch, 1);
  const answer = JSON.parse(await flame("generate", "--adapter", out, "--prompt", "Say it.", "--json"));
  assert.deepEqual({ text: answer.text, ending: answer.ending }, { text: "ok", ending: "end" });
});

test("token ids come from a file where a model has no tokenizer, and mistakes in it are named", async () => {
  const at = (name: string, content: unknown) => {
    const path = join(folder, name);
    writeFileSync(path, JSON.stringify(content));
    return path;
  };
  const good = at("tokens.json", {
    ids: [
      [5, 6, 7, 256],
      [8, 9, 1, 2],
    ],
    lengths: [3, 4],
  });
  const [{ examples, responseTokens }] = await evaluationsOf("--model", model, "--tokens", good, "--budget", "2");
  assert.deepEqual({ examples, responseTokens }, { examples: 2, responseTokens: 5 });
  for (const [content, complaint] of [
    [{ ids: [[5, 300]] }, /token 300, but the model has 264/],
    [{ ids: [[5, 6], [7]] }, /1 entries in row 1, expected 2/],
    [{ ids: [[5, 6]], lengths: [3] }, /row 0 has 3 real tokens of 2/],
    [{ ids: [[5, 6]], attention_mask: [[0, 1]] }, /padding on the right only/],
    [{ ids: [[5, 6]], labels: [[-100, -100]] }, /no token carries loss/],
    [{ tokens: [] }, /expected "ids"/],
  ] as const) {
    assert.match(await refused("eval", "--model", model, "--tokens", at("bad.json", content)), complaint);
  }
  mkdirSync(join(folder, "bare"), { recursive: true });
  const config = JSON.parse(readFileSync(join(model, "config.json"), "utf8"));
  writeFileSync(join(folder, "bare", "config.json"), JSON.stringify({ ...config, vocab_size: 96 }));
  assert.match(await refused("eval", "--model", join(folder, "bare")), /expected the model's tokenizer\.json/);
});
