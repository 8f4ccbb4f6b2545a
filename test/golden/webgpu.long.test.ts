/**
 * Training over WebGPU against the reference checkpoint. A software Vulkan does, and takes minutes over it, so that these
 * run only where they are asked for; the recipe is in `bench/README.md`.
 *
 *   FLAME_WEBGPU=1 VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json node --import tsx --test test/golden/webgpu.long.test.ts
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { providerFault } from "../../src/engine/gpu.ts";
import { isOutOfMemory } from "../../src/engine/merging.ts";
import type { TrainJob } from "../../src/tasks/training-engine.ts";
import { OnnxExecutor } from "../../src/tensor/executors/onnx.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { reduceSum } from "../../src/tensor/ops/arithmetic.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import { type Golden, loadGolden, optimizer, relativeError } from "../support/golden.ts";
import { LlmEngine } from "../support/llm-engine.ts";
import { needs } from "../support/needs.ts";

const absence = (): string | false => {
  if (process.env.FLAME_WEBGPU === undefined) return needs.webgpu;
  return providerFault("webgpu") ?? false;
};

describe("WebGPU", { skip: absence() }, () => {
  let golden: Golden;
  let engine: LlmEngine;
  before(async () => {
    golden = await loadGolden();
    const { weights, layout } = golden;
    engine = new LlmEngine(new OnnxExecutor({ provider: "webgpu" }), weights, layout.lora, {
      merge: { clients: 2 },
    });
  });
  after(() => engine.dispose());

  const jobFor = (topK: number): TrainJob => {
    const { batch, rescaler } = golden;
    return {
      parameters: golden.adapter("lora"),
      personal: rescaler,
      variant: { topK },
      batches: [batch, batch, batch],
      optimizer,
    };
  };

  for (const k of [8, 2]) {
    test(`with k = ${k}, logits are the reference's`, async () => {
      const { batch, rescaler, weights } = golden;
      const logits = await engine.logits({
        parameters: golden.adapter("lora"),
        personal: rescaler,
        variant: { topK: k },
        batch,
      });
      const { vocabulary } = weights.config;
      const reference = golden.read(`lora.logits.k${k}`);
      const rows = Array.from(batch.lossPositions, (p) => [
        ...reference.subarray(p * vocabulary, (p + 1) * vocabulary),
      ]);
      assert.ok(relativeError(logits, Float32Array.from(rows.flat())) <= 1e-5);
    });

    test(`with k = ${k}, three AdamW steps end at the reference's parameters`, async () => {
      const [result] = await engine.trainCohort([jobFor(k)]);
      assert.ok(relativeError(result!.parameters, golden.adapter(`after3.k${k}`)) <= 1e-4);
      assert.ok(relativeError(result!.personal, golden.read(`after3.k${k}.rescaler`)) <= 1e-4);
    });
  }

  test("a buffer that cannot be had is want of memory, and the device goes on", async () => {
    const graph = new Graph();
    const x = graph.input("x", "float32", [graph.symbol("rows"), 1]);
    const squares = matmul(x, x, { transposeB: true });
    const program = { name: "huge", inputs: { x }, outputs: { sum: reduceSum(squares, [0, 1], true) } };
    const executable = await new OnnxExecutor({ provider: "webgpu" }).compile(program, null);
    // 64 TB, and 1.6 GB: more than a shader may bind, and more than a software device gives.
    await assert.rejects(executable.run({ x: new Float32Array(4_000_000) }), isOutOfMemory);
    await executable.run({ x: new Float32Array(20_000) }).catch((error) => assert.ok(isOutOfMemory(error), error));
    assert.deepEqual((await executable.run({ x: Float32Array.of(1, 2) })).sum, Float32Array.of(9));
    executable.dispose();
  });

  test("two clients in one call get what each gets alone on the CPU", async () => {
    const { weights, layout } = golden;
    const other = { ...jobFor(8), adapter: golden.adapter("lora").map((x) => 1.5 * x), batches: [golden.batch] };
    const jobs = [jobFor(8), other];
    const cpu = new LlmEngine(new OnnxExecutor(), weights, layout.lora);
    const [merged, alone] = [await engine.trainCohort(jobs), await cpu.trainCohort(jobs)];
    cpu.dispose();
    for (const [client, { parameters: adapter, personal: rescaler, losses, counts: activations }] of merged.entries()) {
      assert.ok(relativeError(adapter, alone[client]!.parameters) <= 1e-5, `adapter of client ${client}`);
      assert.ok(relativeError(rescaler, alone[client]!.personal) <= 1e-5, `rescaler of client ${client}`);
      assert.ok(relativeError(losses, alone[client]!.losses) <= 1e-5, `losses of client ${client}`);
      assert.deepEqual(activations, alone[client]!.counts, `activations of client ${client}`);
    }
  });
});
