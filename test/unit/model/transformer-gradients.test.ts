/** The gradients of whole training programs against finite differences of their own loss, all in float64. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { adapterLayout } from "../../../src/model/adapter.ts";
import type { ModelConfig } from "../../../src/model/config.ts";
import { corpusBatch } from "../../../src/pretraining/corpus.ts";
import { pretrainStep } from "../../../src/pretraining/pretrain-step.ts";
import { Pretrainer } from "../../../src/pretraining/pretrainer.ts";
import { OnnxExecutor } from "../../../src/tensor/executors/onnx.ts";
import { evaluationOf, gradientStep, restingFeeds } from "../../support/llm-programs.ts";
import { interpret, type Numbers } from "../../support/reference.ts";
import { batchNumbers, batchOf, randomAdapter, randomWeights, readAll, smallModel } from "../../support/small-model.ts";

/** Central differences with h = 1e-5 are exact to about 1e-9 of the loss; no routing decision is that close. */
const h = 1e-5;
const tolerance = 1e-6;

const lora = { rank: 2, alpha: 3 };
const batch = batchOf(
  [
    [3, 1, 4, 1, 5],
    [6, 5, 3],
  ],
  5,
);
const shape = { rows: 2, length: 5 };

const cases: { name: string; change: Partial<ModelConfig>; topK: number }[] = [
  { name: "one expert per token", change: {}, topK: 1 },
  { name: "all experts", change: {}, topK: 6 },
  { name: "shared key heads and clamped projections", change: { keyValueHeads: 1, clipQkv: 0.5 }, topK: 2 },
  { name: "biases and routing weights that sum to 1", change: { attentionBias: true, normTopK: true }, topK: 2 },
];

for (const { name, change, topK } of cases) {
  test(`factored and merged LoRA have the slopes of the loss with ${name}`, () => {
    const config = { ...smallModel, ...change };
    const layout = adapterLayout(config, lora);
    const weights = Object.fromEntries(randomWeights(config));
    const inputs = batchNumbers(batch, config.experts);
    const point = { parameters: [...randomAdapter(layout, 1)], personal: [1.25, 0.75] };
    const evaluation = evaluationOf(config, layout, { ...shape, topK }, "factored");
    const lossAt = (at: Numbers) => mean(interpret(evaluation, { ...at, ...inputs }, weights).losses!);

    const feeds = { ...restingFeeds(layout), ...point, ...inputs };
    const [factored, merged] = (["factored", "merged"] as const).map((form) =>
      interpret(gradientStep(config, layout, { ...shape, topK }, form), feeds, weights),
    ) as [Record<string, Float64Array>, Record<string, Float64Array>];
    for (const key of ["loss", "parametersMean", "personalMean", "counts"]) assertClose(merged[key]!, factored[key]!);
    assertSlope(point, { parameters: factored.parametersMean!, personal: factored.personalMean! }, lossAt);
    // Each rescaler on its own: the sum over a direction could hide a swap.
    for (const layer of [0, 1]) {
      const at = (s: number) => ({ ...point, personal: point.personal.with(layer, s) });
      const slope = (lossAt(at(point.personal[layer]! + h)) - lossAt(at(point.personal[layer]! - h))) / (2 * h);
      assert.ok(Math.abs(slope - factored.personalMean![layer]!) <= tolerance, `s of layer ${layer}`);
    }
  });
}

for (const tiedEmbeddings of [false, true]) {
  const config: ModelConfig = { ...smallModel, tiedEmbeddings, experts: 4, topK: 2 };
  const name = tiedEmbeddings ? "tied" : "separate";

  test(`pre-training follows the slope of its three losses with ${name} embeddings`, () => {
    const options = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, balance: 0.1, z: 0.01 };
    const program = pretrainStep(config, { ...shape, topK: config.topK }, options);
    const full = batchOf(
      [
        [3, 1, 4, 1, 5],
        [6, 5, 3, 9, 2],
      ],
      5,
    );
    const stored = [...randomWeights(config)].filter(([tensor]) => !(tiedEmbeddings && tensor === "head"));
    const weights = stored.flatMap(([, values]) => [...values]);
    const zeros = new Float64Array(weights.length);
    const rates = { learningRate: [1], decay: [0], correction1: [1], correction2: [1], clipNorm: [1e12] };
    const rest = { mean: zeros, variance: zeros, ...batchNumbers(full, config.experts), ...rates };
    const run = (at: Numbers) => interpret(program, { ...rest, ...at });
    const objective = (at: Numbers) => {
      const { loss, balance, z } = run(at);
      return loss![0]! + options.balance * balance![0]! + options.z * z![0]!;
    };
    // From rest, the first moment, which is kept without its factor 1 − β1, is the gradient.
    assertSlope({ weights }, { weights: run({ weights }).mean! }, objective);
  });

  test(`a pre-trained model with ${name} embeddings has every tensor`, async () => {
    const small = { ...config, vocabulary: 264 };
    const recipe = {
      seed: 1,
      steps: 1,
      warmupSteps: 1,
      rows: 1,
      length: 4,
      learningRate: 0,
      weightDecay: 0,
      clipNorm: 1,
    };
    const making = { config: small, recipe: { ...recipe, initialDeviation: 0.1 }, batch: corpusBatch };
    const pretrainer = await Pretrainer.create(new OnnxExecutor(), making);
    const report = await pretrainer.step();
    assert.ok(Number.isFinite(report.loss));
    const tensors = readAll(pretrainer.weights());
    pretrainer.dispose();
    const { width, vocabulary } = small;
    const embed = tensors.get("embed")!;
    const transposed = Float32Array.from({ length: embed.length }, (_, at) => {
      const [column, token] = [Math.floor(at / vocabulary), at % vocabulary];
      return embed[token * width + column]!;
    });
    assert.ok(embed.some((value) => value !== 0));
    assert.equal(
      tensors.get("head")!.every((value, i) => value === transposed[i]),
      tiedEmbeddings,
    );
  });
}

/** The slope of `f` along one random direction of all parameters is the product with their gradients. */
function assertSlope(point: Record<string, number[]>, slopes: Numbers, f: (at: Numbers) => number): void {
  const directions: Record<string, number[]> = {};
  let expected = 0;
  let scale = 0;
  for (const [index, [key, values]] of Object.entries(point).entries()) {
    const draws = new Rng(1).at("direction", index).at(0);
    directions[key] = values.map(() => draws.normal());
    assert.equal(slopes[key]!.length, values.length);
    for (const [i, d] of directions[key].entries()) {
      expected += slopes[key]![i]! * d;
      scale += Math.abs(slopes[key]![i]! * d);
    }
  }
  const at = (step: number): Numbers =>
    Object.fromEntries(
      Object.entries(point).map(([k, values]) => [k, values.map((v, i) => v + step * directions[k]![i]!)]),
    );
  const slope = (f(at(h)) - f(at(-h))) / (2 * h);
  assert.ok(Math.abs(slope - expected) <= tolerance * scale, `slope ${slope}, gradient ${expected}`);
}

function assertClose(got: Float64Array, expected: Float64Array): void {
  assert.equal(got.length, expected.length);
  for (const [i, value] of expected.entries()) assert.ok(Math.abs(got[i]! - value) <= 1e-10, `${got[i]}, ${value}`);
}

const mean = (values: Float64Array): number => values.reduce((a, b) => a + b, 0) / values.length;
