/** `flame pretrain` makes a model, and leaves one that is there alone. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { packageRoot } from "../../src/base/places.ts";
import { runFlame } from "../support/command-line.ts";
import { temporaryFolder } from "../support/folders.ts";

test("a model that is there is overwritten only when that is asked for; an interrupted one goes on", async (t) => {
  const folder = temporaryFolder(t);
  const to = join(folder, "mine");
  mkdirSync(to);
  writeFileSync(join(to, "config.json"), "dear to me");
  const pretrain = (...words: string[]) => runFlame("pretrain", "--to", to, "--steps", "1", ...words);
  const { code, err } = await pretrain();
  assert.equal(code, 2, err);
  assert.match(
    err,
    /--to .*mine already holds config\.json, expected a folder that is empty.*--force to make the model/,
  );
  assert.equal(readFileSync(join(to, "config.json"), "utf8"), "dear to me");

  // A state belongs to a pre-training that goes on: what is wrong with this one is that it is none.
  writeFileSync(join(to, "pretraining.safetensors"), "not a state");
  const resumed = await pretrain();
  assert.equal(resumed.code, 2, resumed.err);
  assert.match(resumed.err, /pretraining\.safetensors/);
  assert.doesNotMatch(resumed.err, /already holds/);

  const other = join(folder, "other");
  mkdirSync(other);
  writeFileSync(join(other, "config.json"), "old");
  const forced = await runFlame("pretrain", "--to", other, "--steps", "1", "--force");
  assert.equal(forced.code, 0, forced.err);
  assert.match(readFileSync(join(other, "config.json"), "utf8"), /olmoe/i);
});

test("the dense base model is made like the embedded one, as a mixture of one expert", async (t) => {
  const to = join(temporaryFolder(t), "dense");
  const { code, err } = await runFlame("pretrain", "--dense", "--to", to, "--steps", "1");
  assert.equal(code, 0, err);
  const made = JSON.parse(readFileSync(join(to, "config.json"), "utf8"));
  assert.deepEqual(made, JSON.parse(readFileSync(join(packageRoot(), "assets/dense/config.json"), "utf8")));
  assert.equal(made.num_experts, 1);
});
