import assert from "node:assert/strict";
import { test } from "node:test";
import { loraFormFor } from "../../src/engine/lora-form.ts";
import { embeddedConfig } from "../../src/engine/pretrainer.ts";

const lora = (rank: number) => ({ rank, alpha: 16 });
const step = (tokens: number, topK = 8) => ({ rows: tokens / 64, length: 64, topK });

test("only a model whose experts are small gets a second copy of them", () => {
  // 16 experts of 3 · 128 · 64 numbers are 1.6 MB a layer; 64 of 3 · 2048 · 1024 would be 1.6 GB.
  const forModel = (changes: object) => loraFormFor({ ...embeddedConfig, ...changes }, lora(64), step(1024));
  assert.equal(forModel({}), "merged");
  assert.equal(forModel({ width: 256, expertWidth: 128 }), "factored");
  assert.equal(forModel({ width: 2048, expertWidth: 1024, experts: 64 }), "factored");
});

test("a copy of the experts pays when rank and tokens per expert are high", () => {
  assert.equal(loraFormFor(embeddedConfig, lora(8), step(512)), "factored");
  assert.equal(loraFormFor(embeddedConfig, lora(32), step(512)), "merged");
  assert.equal(loraFormFor(embeddedConfig, lora(16), step(64, 1)), "factored");
  assert.equal(loraFormFor(embeddedConfig, lora(16), step(1024)), "merged");
});
