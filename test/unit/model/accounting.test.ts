/** The figures of OLMoE-1B-7B and of FLAME at its size, from the configuration alone. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  activeParameters,
  adaptedFlops,
  attentionScoreFlops,
  countLora,
  countParameters,
  forwardFlops,
  loraFlops,
  roundBytes,
  trainingFlops,
  trainingMemory,
} from "../../../src/model/accounting.ts";
import { adapterLayout } from "../../../src/model/adapter.ts";
import { type ModelConfig, plainSettings } from "../../../src/model/config.ts";
import { parseHuggingFaceConfig } from "../../../src/model/formats/hf-config.ts";
import { huggingFaceShapes } from "../../../src/model/formats/weight-table.ts";
import { sizeOf } from "../../../src/tensor/graph/shape.ts";

const olmoe: ModelConfig = {
  vocabulary: 50_304,
  layers: 16,
  width: 2048,
  heads: 16,
  keyValueHeads: 16,
  experts: 64,
  expertWidth: 1024,
  topK: 8,
  maxTokens: 4096,
  ...plainSettings,
};

/** To the digits that are printed, which count down from the first. */
const assertPrinted = (value: number, unit: number, printed: string) =>
  assert.equal((value / unit).toFixed(printed.split(".")[1]?.length ?? 0), printed);

test("OLMoE-1B-7B has 6,919,161,856 parameters in 3,219 tensors", () => {
  assert.deepEqual(countParameters(olmoe), {
    embedding: 103_022_592,
    head: 103_022_592,
    finalNorm: 2048,
    attention: 16_777_216,
    norms: 8192,
    router: 131_072,
    expert: 6_291_456,
    shared: 0,
    dense: 0,
    layer: 419_569_664,
    total: 6_919_161_856,
  });
  assert.equal(huggingFaceShapes(olmoe).size, 3219);
  assertPrinted(countParameters(olmoe).total * 2, 1e9, "13.84");
});

test("its active parameters fall with the budget", () => {
  const active = [8, 4, 2, 1].map((k) => activeParameters(olmoe, k));
  assert.deepEqual(active, [1_282_017_280, 879_364_096, 678_037_504, 577_374_208]);
  assert.equal(activeParameters(olmoe, 64), countParameters(olmoe).total);
});

test("its forward pass costs 2.358, 1.552, 1.150 and 0.948 GFLOP a token at k = 8, 4, 2, 1", () => {
  for (const [k, adds, flop, sequence] of [
    [8, "1.179", "2.358", "301.8"],
    [4, "0.776", "1.552", "198.7"],
    [2, "0.575", "1.150", "147.2"],
    [1, "0.474", "0.948", "121.4"],
  ] as const) {
    assertPrinted(forwardFlops(olmoe, k) / 2, 1e9, adds);
    assertPrinted(forwardFlops(olmoe, k), 1e9, flop);
    assertPrinted(forwardFlops(olmoe, k) * 128, 1e9, sequence);
  }
  // Attention scores of one sequence of 128 tokens, the causal half not skipped.
  assertPrinted(attentionScoreFlops(olmoe, 128) * 128, 1e9, "2.1");
});

test("FLAME's reported difference between k = 8 and k = 1 is 128 tokens with LoRA of rank 16 or 17", () => {
  const cost = (k: number, rank: number) => 128 * (forwardFlops(olmoe, k) + loraFlops(olmoe, k, rank));
  assertPrinted(cost(8, 16) - cost(1, 16), 1e9, "184.6");
  assertPrinted(cost(8, 17) - cost(1, 17), 1e9, "184.9");
});

test("its LoRA has 9216·r numbers per expert, 302 MB in bfloat16 at rank 16", () => {
  assert.deepEqual(countLora(olmoe, 1), { expert: 9216, experts: 9_437_184, attention: 16 * 4 * 4096, router: 33_792 });
  assert.equal(countLora(olmoe, 1).attention, 262_144);
  const withAttention = adapterLayout(olmoe, { rank: 4, alpha: 4, targets: "experts-and-attention" });
  assert.equal(withAttention.size, 4 * (9_437_184 + 262_144));
  assertPrinted(countLora(olmoe, 8).experts, 1e6, "75.5");
  assertPrinted(countLora(olmoe, 20).experts, 1e6, "188.7");
  const lora = { rank: 16, alpha: 32 };
  assertPrinted(roundBytes(adapterLayout(olmoe, lora), 2).download, 1e6, "302");
  const { download, upload } = roundBytes(adapterLayout(olmoe, lora), 4);
  assert.equal(download, 4 * 16 * 9_437_184);
  assert.equal(upload - download, 4 * (16 * 64 + 2));
});

test("the counts are those of the tensors, whatever the switches", () => {
  for (const change of [
    {},
    { keyValueHeads: 4 },
    { tiedEmbeddings: true },
    { attentionBias: true, keyValueHeads: 2 },
  ]) {
    const config = { ...olmoe, layers: 3, ...change };
    const stored = [...huggingFaceShapes(config).values()].reduce((sum, shape) => sum + sizeOf(shape), 0);
    assert.equal(countParameters(config).total, stored);
    // A matrix of w weights is w multiply-adds a token, at k of M experts.
    const matrices = [...huggingFaceShapes(config)].filter(
      ([name, shape]) => shape.length === 2 && !name.includes("embed"),
    );
    const dense = matrices
      .filter(([name]) => !name.includes("experts"))
      .reduce((sum, [, shape]) => sum + sizeOf(shape), 0);
    const experts = matrices
      .filter(([name]) => name.includes("experts"))
      .reduce((sum, [, shape]) => sum + sizeOf(shape), 0);
    const head = config.tiedEmbeddings ? config.vocabulary * config.width : 0;
    assert.equal(forwardFlops(config, 2), 2 * (dense + head + (experts * 2) / config.experts));
  }
});

test("a budget lowers work and activations, not weights", () => {
  const lora = { rank: 16, alpha: 32 };
  const at = (k: number) => trainingMemory(olmoe, lora, { k, tokens: 512, bytesPerWeight: 2 });
  assert.equal(at(1).weights, at(8).weights);
  assert.equal(at(8).weights, 2 * 6_919_161_856);
  // Per token: 16 layers, 7 experts, gate, up, product, output and three LoRA middles.
  assert.equal(at(8).activations - at(1).activations, 4 * 512 * 16 * 7 * (3 * 1024 + 2048 + 48));
  const { total, ...parts } = at(4);
  assert.equal(
    Object.values(parts).reduce((a, b) => a + b),
    total,
  );
  assert.equal(trainingFlops(olmoe, 4, 16), 2 * forwardFlops(olmoe, 4) + 3 * loraFlops(olmoe, 4, 16));
});

test("the paper's drop from 342.8 to 158.0 GFLOP is 128 tokens' experts and their LoRA of rank 16, beside 36 GFLOP at any k", () => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/paper.md"), "utf8");
  // The paper gives two; the others lie on their line.
  for (const [k, paper] of [
    [8, 342.8],
    [4, 237.2],
    [2, 184.4],
    [1, 158],
  ] as const) {
    const [base, adapted] = [forwardFlops(olmoe, k), adaptedFlops(olmoe, k, 16)].map((flops) => (128 * flops) / 1e9);
    assert.ok(Math.abs(paper - adapted! - 36.1) < 0.11, `k = ${k}: ${paper} against ${adapted}`);
    const row = [k, ...[base!, adapted!, paper, paper - adapted!].map((value) => value.toFixed(1))];
    assert.ok(page.includes(`| ${row.join(" | ")} |`), `docs/paper.md has no row | ${row.join(" | ")} |`);
  }
});

test("relatives have the parameters that are published of them", () => {
  const published = (own: Record<string, unknown>) => parseHuggingFaceConfig(own, "config.json").model;
  const mixtral = published({
    model_type: "mixtral",
    ...{ vocab_size: 32_000, hidden_size: 4096, intermediate_size: 14_336, num_hidden_layers: 32 },
    ...{ num_attention_heads: 32, num_key_value_heads: 8, num_local_experts: 8 },
  });
  assert.equal(countParameters(mixtral).total, 46_702_792_704);
  assert.equal(activeParameters(mixtral, 2), 12_879_925_248);
  const qwen3 = published({
    model_type: "qwen3_moe",
    ...{ vocab_size: 151_936, hidden_size: 2048, intermediate_size: 6144, moe_intermediate_size: 768 },
    ...{ num_hidden_layers: 48, num_attention_heads: 32, num_key_value_heads: 4, head_dim: 128, num_experts: 128 },
  });
  assert.equal(countParameters(qwen3).total, 30_532_122_624);
  const qwen2 = published({
    model_type: "qwen2_moe",
    ...{ vocab_size: 151_936, hidden_size: 2048, intermediate_size: 5632, moe_intermediate_size: 1408 },
    ...{ shared_expert_intermediate_size: 5632, num_hidden_layers: 24, num_attention_heads: 16, num_experts: 60 },
  });
  assert.equal(countParameters(qwen2).total, 14_315_784_192);
});

test("a forward pass multiplies by every active number of a matrix once, whatever lies between the experts", () => {
  const dense = { layers: [0, 3], width: 4096 };
  const config: ModelConfig = { ...olmoe, qkNorm: "none", sharedWidth: 512, dense, headWidth: 96 };
  for (const k of [1, 8]) {
    // The embedding is looked up, and norms are no products.
    const { embedding, finalNorm, norms } = countParameters(config);
    const inMatrices = activeParameters(config, k) - embedding - finalNorm - config.layers * norms;
    assert.equal(forwardFlops(config, k), 2 * inMatrices);
  }
});
