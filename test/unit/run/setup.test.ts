import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { checkResult } from "../../../actors/check-result.ts";
import { InputError } from "../../../src/base/errors.ts";
import { alone } from "../../../src/engine/merge-limit.ts";
import { openSetup } from "../../../src/run/pools/setup.ts";
import { fetchWeights, partsOf } from "../../../src/run/pools/weights.ts";
import { encode } from "../../../src/runtime/messages/codec.ts";
import { temporaryFolder } from "../../support/folders.ts";

test("a setup that is none is refused", async () => {
  const nowhere = async () => "nowhere";
  const refused = (value: unknown) => assert.rejects(openSetup(encode(value), nowhere), InputError);
  await refused({});
  await refused({
    engine: "auto",
    merge: alone,
    task: { type: "llm", options: {}, shape: {} },
    weights: null,
    setup: {},
  });
  await refused({
    engine: "onnx",
    merge: alone,
    task: { type: "toString", options: {}, shape: {} },
    weights: null,
    setup: {},
  });
  const file = { folder: "../../etc", parts: [] };
  const task = { type: "llm", options: {}, shape: {} };
  await refused({ engine: "onnx", merge: alone, task, weights: { file, tensors: [] }, setup: {} });
  await assert.rejects(openSetup(Buffer.from("garbage"), nowhere), InputError);
});

test("base weights are fetched once, a download that was cut off goes on, and what is damaged is fetched again", async (t) => {
  const folder = temporaryFolder(t);
  const cache = join(folder, "cache");
  const source = join(folder, "weights.bin");
  const bytes = Buffer.alloc(2 ** 25 + 2 ** 20, "one part and a bit");
  writeFileSync(source, bytes);
  const { parts, contents } = partsOf(source);
  assert.deepEqual(
    parts.parts.map(({ bytes }) => bytes),
    [2 ** 25, 2 ** 20],
  );
  const fetched: number[] = [];
  const fetch = async ({ digest, bytes: size }: { digest: string; bytes: number }) => {
    fetched.push(size);
    return contents.get(digest)!();
  };
  await assert.rejects(
    fetchWeights(parts, cache, async (part) => {
      if (part.bytes < 2 ** 25) throw new Error("cut off");
      return fetch(part);
    }),
    /cut off/,
  );
  // As if the process that was cut off had been another, which is gone: no process has this number.
  const [partial] = readdirSync(join(cache, "fetched"));
  assert.ok(partial!.endsWith(`.${hostname()}.${process.pid}.partial`));
  const path = await fetchWeights(parts, cache, fetch);
  assert.deepEqual(fetched, [2 ** 25, 2 ** 20]);
  assert.ok(readFileSync(path).equals(bytes));
  assert.equal(await fetchWeights(parts, cache, fetch), path);
  assert.equal(fetched.length, 2);
  truncateSync(path, 2 ** 25);
  assert.equal(await fetchWeights(parts, cache, fetch), path);
  assert.ok(existsSync(path) && readFileSync(path).equals(bytes));
});

test("a result of training has the parameters that were trained, and numbers where numbers are expected", () => {
  const adapter = { ref: "blob", digest: "0", bytes: 12 };
  const train = { work: "train", job: { adapter }, blobs: [] };
  const trained = {
    values: new Float32Array(3),
    personal: new Float32Array(0),
    counts: new Float64Array(1),
    units: 1,
    firstLoss: Number.NaN,
    meanLoss: Infinity,
    targets: 1,
    steps: 1,
    found: { norm: new Float64Array(1) },
  };
  checkResult(train, trained);
  checkResult({ ...train, work: "trainTogether", job: { jobs: [{ adapter }] } }, { results: [trained], problems: [] });
  for (const wrong of [
    { values: new Float32Array(4) },
    { values: [1, 2, 3] },
    { steps: -1 },
    { more: 1 },
    { found: { norm: 1 } },
  ]) {
    assert.throws(() => checkResult(train, { ...trained, ...wrong }), InputError);
  }
  assert.throws(() => checkResult({ ...train, work: "evaluate" }, trained), InputError);
});
