import assert from "node:assert/strict";
import { test } from "node:test";
import { embeddedConfig } from "../../../src/pretraining/pretrainer.ts";
import { loraFormFor } from "../../../src/tasks/llm/lora-form.ts";

test("only a model whose experts are small gets a second copy of them", () => {
  // 16 experts of 3 · 128 · 64 numbers are 1.6 MB a layer; 64 of 3 · 2048 · 1024 would be 1.6 GB.
  assert.equal(loraFormFor(embeddedConfig), "merged");
  assert.equal(loraFormFor({ ...embeddedConfig, width: 256, expertWidth: 128 }), "factored");
  assert.equal(loraFormFor({ ...embeddedConfig, width: 2048, expertWidth: 1024, experts: 64 }), "factored");
});
