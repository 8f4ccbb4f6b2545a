/** Tests of forward pass, loss, gradients, counts and AdamW against transformers 5.18 and PyTorch 2.13. */

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { LoraForm } from "../../src/model/adapted-experts.ts";
import type { BaseForm } from "../../src/model/base-weights.ts";
import { executors } from "./executors.ts";
import {
  adapterTensors,
  feeds,
  type Golden,
  goldenFolder,
  loadGolden,
  optimizer,
  relativeError,
  relativeFolder,
} from "./golden.ts";
import { LlmEngine } from "./llm-engine.ts";
import { evaluationOf, gradientStep, restingFeeds } from "./llm-programs.ts";

const forms: LoraForm[] = ["factored", "merged", "padded"];

export interface GoldenCase {
  /** Of an executor on this machine. */
  readonly name: string;
  readonly form: LoraForm;
  /** Experts per token. */
  readonly k: number;
}

/** What a newcomer waits for: the form of training, at one expert and at all of them on ONNX Runtime, at two elsewhere. */
export const isQuick = ({ name, form, k }: GoldenCase): boolean =>
  form === "factored" && (name.startsWith("ONNX") ? k === 1 || k === 8 : k === 2);

/** Architectures with a small model in `test/golden/data/relatives`, and their experts per token. */
export const relatives = { granitemoe: 4, mixtral: 2, qwen2_moe: 4, qwen3_moe: 4 };

/** The same tests of each relative of OLMoE. */
export function relativeTests(isChosen: (golden: GoldenCase) => boolean): void {
  for (const [type, topK] of Object.entries(relatives)) {
    goldenTests(isChosen, { what: `a small ${type}`, folder: relativeFolder(type), budgets: [1, topK] });
  }
}

interface GoldenModel {
  readonly what?: string;
  readonly folder?: string;
  readonly base?: BaseForm;
  readonly budgets?: readonly number[];
}

/** Three or four tests of each chosen case. */
export const goldenTests = (
  isChosen: (golden: GoldenCase) => boolean,
  { what = "the reference checkpoint", folder = goldenFolder, base = "f32", budgets = [1, 2, 4, 8] }: GoldenModel = {},
) =>
  describe(what, () => {
    let golden: Golden;
    before(async () => {
      golden = await loadGolden(folder, base);
    });

    for (const { name, create } of executors) {
      for (const form of forms) {
        for (const k of budgets) {
          if (!isChosen({ name, form, k })) continue;
          const where = `${name}, ${form} LoRA, k = ${k}`;

          test(`${where}: logits and loss are the reference's`, async () => {
            const { weights, layout, batch } = golden;
            const { vocabulary } = weights.config;
            const shape = { rows: batch.rows, length: batch.length, topK: k };
            const executable = await (await create()).compile(
              evaluationOf(weights.config, layout, shape, form, true),
              weights,
            );
            const cases = [
              {
                kind: "base",
                adapter: new Float32Array(layout.size),
                rescaler: new Float32Array(layout.layers).fill(1),
              },
              { kind: "lora", adapter: golden.adapter("lora"), rescaler: golden.rescaler },
            ] as const;
            for (const { kind, adapter, rescaler } of cases) {
              const out = await executable.run({ parameters: adapter, personal: rescaler, ...feeds(golden) });
              const reference = golden.read(`${kind}.logits.k${k}`);
              const rows = Array.from(batch.lossPositions, (p) => [
                ...reference.subarray(p * vocabulary, (p + 1) * vocabulary),
              ]);
              const error = relativeError(out.logits as Float32Array, Float32Array.from(rows.flat()));
              // float32 on both sides; the sums differ in order only.
              assert.ok(error <= 1e-5, `${kind} logits: relative error ${error}`);
              const losses = out.losses as Float32Array;
              const mean = losses.reduce((a, b) => a + b, 0) / losses.length;
              assert.ok(Math.abs(mean - golden.expected[`loss_${kind}`][k]!) < 1e-5, `${kind} loss ${mean}`);
            }
            executable.dispose();
          });

          test(`${where}: every gradient and every activation count is the reference's`, async () => {
            const { weights, layout, batch } = golden;
            const shape = { rows: batch.rows, length: batch.length, topK: k };
            const executable = await (await create()).compile(
              gradientStep(weights.config, layout, shape, form),
              weights,
            );
            const inverseCount = Float32Array.of(1 / batch.lossPositions.length);
            const out = await executable.run({
              ...restingFeeds(layout),
              parameters: golden.adapter("lora"),
              personal: golden.rescaler,
              ...feeds(golden),
              inverseCount,
            });
            const [gradient, reference] = [out.parametersMean as Float32Array, golden.adapter(`grad.k${k}`)];
            for (const { name, start, end } of adapterTensors(layout)) {
              const error = relativeError(gradient.subarray(start, end), reference.subarray(start, end));
              assert.ok(error <= 1e-5, `gradient of ${name}: relative error ${error}`);
            }
            const rescaler = relativeError(out.personalMean as Float32Array, golden.read(`grad.k${k}.rescaler`));
            assert.ok(rescaler <= 1e-4, `rescaler gradient: relative error ${rescaler}`);
            assert.deepEqual(Array.from(out.counts as BigInt64Array, Number), [...golden.read(`activations.k${k}`)]);
            executable.dispose();
          });

          test(`${where}: three AdamW steps end at the reference's parameters`, async () => {
            const { weights, layout, batch } = golden;
            const engine = new LlmEngine(await create(), weights, layout.lora, { form });
            const job = {
              parameters: golden.adapter("lora"),
              personal: golden.rescaler,
              variant: { topK: k },
              batches: [batch, batch, batch],
              optimizer,
            };
            const [result] = await engine.trainCohort([job]);
            for (const [step, loss] of golden.expected.losses_training[k]!.entries()) {
              assert.ok(
                Math.abs(result!.losses[step]! - loss) < 2e-4,
                `step ${step}: loss ${result!.losses[step]}, expected ${loss}`,
              );
            }
            const reference = golden.adapter(`after3.k${k}`);
            assert.ok(relativeError(result!.parameters, reference) <= 1e-4, "adapter after three steps");
            assert.ok(
              relativeError(result!.personal, golden.read(`after3.k${k}.rescaler`)) <= 1e-4,
              "rescaler after three steps",
            );
            engine.dispose();
          });

          if (form === "merged") continue;
          test(`${where}: clients in one call end there too`, async () => {
            const { weights, layout, batch } = golden;
            const engine = new LlmEngine(await create(), weights, layout.lora, { form, merge: { clients: 2 } });
            const same = { personal: golden.rescaler, variant: { topK: k }, batches: [batch, batch, batch], optimizer };
            const other = golden.adapter("lora").map((x) => 0.5 * x);
            const results = await engine.trainCohort([
              { ...same, parameters: golden.adapter("lora") },
              { ...same, parameters: other },
            ]);
            const reference = golden.adapter(`after3.k${k}`);
            assert.ok(relativeError(results[0]!.parameters, reference) <= 1e-4, "adapter after three steps");
            assert.ok(relativeError(results[1]!.parameters, reference) > 1e-2, "the other client is another");
            engine.dispose();
          });
        }
      }
    }
  });
