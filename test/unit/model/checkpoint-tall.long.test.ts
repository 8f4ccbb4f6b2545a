/** Large matrices: those of more than 64 MB are converted in strips and written in panels. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadCheckpoint } from "../../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile, prepareBaseWeights } from "../../../src/model/formats/prepare-weights.ts";
import { writeSafetensors } from "../../../src/model/formats/safetensors-writer.ts";
import { writeCheckpoint } from "../../../src/model/formats/write-checkpoint.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { prepared, randomTensors, smallConfig } from "../../support/model-folder.ts";

/** A model with an embedding of this many rows and a head, whose numbers ascend: to draw as many takes seconds. */
function writeTall(folder: string, rows: number, tied = false) {
  const config = { ...smallConfig, vocab_size: rows, num_hidden_layers: 1, tie_word_embeddings: tied };
  const embed = new Float32Array(rows * 8).map((_, i) => i);
  const head = tied ? embed : embed.map((value) => value + 1);
  const source = randomTensors({ ...config, vocab_size: 1 });
  source.set("model.embed_tokens.weight", { shape: [rows, 8], values: embed });
  if (!tied) source.set("lm_head.weight", { shape: [rows, 8], values: head });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  const tensors = [...source].map(([name, tensor]) => ({ name, ...tensor }));
  writeSafetensors(join(folder, "model.safetensors"), tensors);
  return { embed, head };
}

test("a matrix larger than the scratch is transposed in strips", async (context) => {
  const folder = temporaryFolder(context);
  const model = join(folder, "model");
  // The head has 2²⁴ + 136 elements, a few rows more than the scratch holds; no number up to 16 divides its columns.
  const rows = 2_097_169;
  const { embed } = writeTall(model, rows, true);
  const weights = await prepared(model, join(folder, "cache"));
  const file = new BaseWeightsFile(weights);
  const head = new Float32Array(rows * 8);
  file.read("head", head);
  file.close();
  for (let i = 0; i < 8; i++) {
    for (const o of [0, 1, 1000, rows - 2, rows - 1]) assert.equal(head[i * rows + o], embed[o * 8 + i]);
  }
});

test("a head of more than 64 MB is in panels, and comes back as it was", async (context) => {
  const folder = temporaryFolder(context);
  const model = join(folder, "model");
  // Three times 699,051 tokens; 2²⁴ + 8 elements.
  const rows = 2_097_153;
  const { head } = writeTall(model, rows);
  const weights = await prepared(model, join(folder, "cache"));
  const file = new BaseWeightsFile(weights);
  for (const panel of [0, 1, 2]) {
    const values = new Float32Array((rows / 3) * 8);
    file.read(`head.${panel}`, values);
    for (let i = 0; i < 8; i++) {
      for (const o of [0, 1, 1000, rows / 3 - 1]) {
        assert.equal(values[(i * rows) / 3 + o], head[((panel * rows) / 3 + o) * 8 + i]);
      }
    }
  }
  writeCheckpoint(join(folder, "copy"), file);
  file.close();
  const copy = loadCheckpoint(join(folder, "copy"));
  const got = new Float32Array(head.length);
  copy.weights.readFloats("lm_head.weight", got);
  copy.close();
  assert.ok(Buffer.from(got.buffer).equals(Buffer.from(head.buffer)));
});

test("an aborted conversion leaves nothing, and the next one works", async (context) => {
  const folder = temporaryFolder(context);
  const cache = join(folder, "cache");
  // Large enough that the conversion looks at the signal before it ends.
  writeTall(join(folder, "model"), 600_000);
  const checkpoint = loadCheckpoint(join(folder, "model"));
  const abort = new AbortController();
  let reports = 0;
  const options = { signal: abort.signal, onProgress: () => reports++ === 0 && abort.abort(new Error("enough")) };
  await assert.rejects(prepareBaseWeights(checkpoint, cache, options), /enough/);
  assert.deepEqual(readdirSync(cache), []);
  const weights = await prepareBaseWeights(checkpoint, cache);
  assert.deepEqual(readdirSync(cache), [weights.digest]);
  checkpoint.close();
});
