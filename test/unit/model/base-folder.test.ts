import assert from "node:assert/strict";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { makeFolder } from "../../../src/base/disk.ts";
import { writeBaseFolder } from "../../../src/model/formats/base-folder.ts";
import { loadCheckpoint } from "../../../src/model/formats/checkpoint.ts";
import { BaseWeightsFile } from "../../../src/model/formats/prepare-weights.ts";
import { openModel } from "../../../src/tasks/llm/load-model.ts";
import { folderOfFile } from "../../support/folders.ts";
import { readAll } from "../../support/small-model.ts";
import { tinyModel } from "../../support/tiny-model.ts";

const folder = folderOfFile();
const model = tinyModel(folder);
const cache = join(folder, "cache");

async function quantised(name: string): Promise<string> {
  const to = join(folder, name);
  makeFolder(to);
  const checkpoint = loadCheckpoint(model);
  await writeBaseFolder(checkpoint, to, "int4");
  checkpoint.close();
  return to;
}

test("a quantised folder is the model in that form: the same bytes and digest as a conversion of the model", async () => {
  const to = await quantised("whole");
  assert.deepEqual(readdirSync(to), ["config.json", "weights.bin", "weights.json"]);
  const [kept, made] = [await openModel(to).weights(cache), await openModel(model, "int4").weights(cache)];
  assert.equal(kept.digest, made.digest);
  assert.equal(await openModel(to, "int4").digest(cache), made.digest);
  assert.deepEqual(readFileSync(kept.path), readFileSync(made.path));
  const [a, b] = [kept, made].map((weights) => {
    const file = new BaseWeightsFile(weights);
    const tensors = readAll(file);
    file.close();
    return tensors;
  });
  assert.deepEqual(a, b);
});

test("a folder of another form, block, version or model is refused by name, and so is a damaged one", async () => {
  const to = await quantised("changed");
  const path = join(to, "weights.json");
  const text = readFileSync(path, "utf8");
  const refused = async (expected: RegExp, form?: "int8") =>
    assert.rejects(async () => openModel(to, form).weights(cache), expected);
  await refused(/holds weights in int4, but base is int8/, "int8");
  for (const [from, into, expected] of [
    ['"block":32', '"block":64', /weights\.json: blocks of 64 rows, expected 32/],
    [
      "base weights 1",
      "base weights 2",
      /weights\.json: format is "flame-sim base weights 2", expected "flame-sim base weights 1"/,
    ],
    ['"type":"int4"', '"type":"nf4"', /weights\.json: tensors.*type/],
    ['"layers":2', '"layers":3', /weights\.json is of another model than .*config\.json/],
    ['"offset":0,', '"offset":4096,', /tensors do not lie where this version has them/],
  ] as const) {
    assert.ok(text.includes(from), from);
    writeFileSync(path, text.replace(from, into));
    await refused(expected);
  }
  writeFileSync(path, text);
  const weights = join(to, "weights.bin");
  const bytes = readFileSync(weights);
  bytes[4_100]! ^= 1;
  writeFileSync(weights, bytes);
  await refused(/weights\.bin is not what weights\.json says/);
  truncateSync(weights, 5_000);
  await refused(/weights\.bin has 5000 bytes, expected \d+; damaged\?/);
});
