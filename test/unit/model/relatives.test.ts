/** What OLMoE's relatives say in their files that OLMoE does not, and what is refused of them. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { adapterLayout } from "../../../src/model/adapter.ts";
import { sparseLayers } from "../../../src/model/config.ts";
import { exportPeft, importPeft } from "../../../src/model/formats/adapters/peft.ts";
import { parseHuggingFaceConfig, readHuggingFaceConfig } from "../../../src/model/formats/hf-config.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { relativeFolder } from "../../support/golden.ts";

const fieldsOf = (type: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(relativeFolder(type), "config.json"), "utf8"));

const parse = (type: string, change: Record<string, unknown> = {}) =>
  parseHuggingFaceConfig({ ...fieldsOf(type), ...change }, "config.json").model;

function refused(type: string, change: Record<string, unknown>, reason: RegExp) {
  assert.throws(
    () => parse(type, change),
    (error) => error instanceof InputError && error.message.startsWith("config.json: ") && reason.test(error.message),
    JSON.stringify(change),
  );
}

test("Qwen's layers have experts at every so manieth place, unless they are named as dense", () => {
  const dense = (change: Record<string, unknown>) => parse("qwen3_moe", change).dense?.layers;
  assert.deepEqual(dense({ num_hidden_layers: 6, decoder_sparse_step: 3, mlp_only_layers: [] }), [0, 1, 3, 4]);
  assert.deepEqual(dense({ num_hidden_layers: 6, decoder_sparse_step: 2, mlp_only_layers: [3, 9] }), [0, 2, 3, 4]);
  assert.equal(dense({ decoder_sparse_step: 1, mlp_only_layers: null }), undefined);
  const model = parse("qwen3_moe", { num_hidden_layers: 6, decoder_sparse_step: 2, mlp_only_layers: [3] });
  assert.deepEqual(sparseLayers(model), [1, 5]);
  assert.equal(adapterLayout(model, { rank: 1, alpha: 1 }).layers, 2);
  refused("qwen3_moe", { decoder_sparse_step: 9 }, /no layer has experts/);
});

test("what is missing of a relative is a mistake, and what would change its mathematics is refused", () => {
  refused("qwen2_moe", { moe_intermediate_size: undefined }, /moe_intermediate_size is missing/);
  refused("qwen2_moe", { shared_expert_intermediate_size: undefined }, /shared_expert_intermediate_size is missing/);
  refused("qwen2_moe", { layer_types: ["full_attention", "sliding_attention"] }, /layer_types has "sliding_attention"/);
  refused("qwen3_moe", { use_sliding_window: true, sliding_window: 4096 }, /sliding_window is 4096/);
  refused("qwen3_moe", { head_dim: 7 }, /head_dim is 7, expected an even number/);
  refused("mixtral", { sliding_window: 4096 }, /sliding_window is 4096/);
  refused("granitemoe", { logits_scaling: 0 }, /logits_scaling/);
  refused("granitemoe", { model_type: "granitemoehybrid" }, /expected "olmoe", .* or "qwen3_moe": Granite 4 has Mamba/);
});

test("a file that is silent has the defaults of its own architecture", () => {
  const silent = { rope_parameters: undefined, rms_norm_eps: undefined, max_position_embeddings: undefined };
  const defaults = (type: string) => {
    const { ropeTheta, normEpsilon, maxTokens } = parse(type, silent);
    return [ropeTheta, normEpsilon, maxTokens];
  };
  assert.deepEqual(defaults("mixtral"), [1e6, 1e-5, 131_072]);
  assert.deepEqual(defaults("qwen2_moe"), [10_000, 1e-6, 32_768]);
  assert.deepEqual(defaults("granitemoe"), [10_000, 1e-6, 2048]);
  assert.equal(parse("qwen2_moe", { qkv_bias: undefined }).attentionBias, "qkv");
});

test("an adapter of experts together is read only where gate and up have ranks of their own", (t) => {
  const folder = temporaryFolder(t);
  const { model } = readHuggingFaceConfig(join(relativeFolder("granitemoe"), "config.json"));
  const layout = adapterLayout(model, { rank: 2, alpha: 4 });
  const adapter = Float32Array.from({ length: layout.size }, (_, i) => i + 1);
  exportPeft(folder, layout, adapter, { baseModelName: "granite", rescaler: [1, 1] });
  assert.deepEqual(importPeft(folder, model).adapter, adapter);

  const config = join(folder, "adapter_config.json");
  const written = JSON.parse(readFileSync(config, "utf8"));
  const said = (change: Record<string, unknown>, reason: RegExp) => {
    writeFileSync(config, JSON.stringify({ ...written, ...change }));
    assert.throws(() => importPeft(folder, model), reason);
  };
  said({ rank_pattern: {} }, /rank_pattern is .*, expected \{"\.\*\\\\\.gate_up_proj":4\}/);
  said({ target_modules: ["q_proj"] }, /target_modules is .*, expected \[\]/);
  writeFileSync(config, JSON.stringify(written));

  const file = join(folder, "adapter_model.safetensors");
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  const name = "base_model.model.model.layers.0.block_sparse_moe.experts.base_layer.lora_B.weight";
  // The last column of the first row: up's last rank, where only gate's are.
  const { shape, data_offsets } = header[name] as { shape: [number, number]; data_offsets: [number, number] };
  bytes.writeFloatLE(0.5, 8 + length + data_offsets[0] + 4 * (shape[1] - 1));
  writeFileSync(file, bytes);
  assert.throws(() => importPeft(folder, model), /has 0.5 at \[0, 23\], expected 0, for gate and up/);
});
