import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { OptimizerConfig } from "../../../src/engine/engine.ts";
import { type AdapterLayout, adapterLayout } from "../../../src/model/adapter.ts";
import { llmTask, parameterLayout } from "../../../src/tasks/llm/task.ts";
import { TaskPrograms } from "../../../src/tasks/programs.ts";
import { lensOf, type Scope, scalarsOf } from "../../../src/tasks/scope.ts";
import type { Evaluation } from "../../../src/tasks/training-engine.ts";
import { stepOptionsOf } from "../../../src/tasks/training-step.ts";
import { OnnxExecutor } from "../../../src/tensor/executors/onnx.ts";
import { LlmEngine } from "../../support/llm-engine.ts";
import { batchOf, prepared, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

const rank = 3;
const lora = { rank, alpha: 6 };
const adapter = adapterLayout(smallModel, lora);
const layout = parameterLayout(adapter);
const count = (lens: Float32Array) => lens.reduce((sum, value) => sum + (value === 0 ? 0 : 1), 0);

const scopes: readonly [string, Scope, share: number][] = [
  ["a rank of 2 of 3", { components: { first: 2 } }, 2 / 3],
  ["components 0 and 2, twice each", { components: { of: [0, 2], scale: 2 } }, 2 / 3],
  ["two experts", { groups: [0, 3] }, 2 / layout.groups.length],
  ["one component of two experts", { groups: [0, 3], components: { of: [1] } }, 2 / layout.groups.length / 3],
  ["nothing", { groups: [] }, 0],
];

for (const [name, scope, share] of scopes) {
  test(`the lens of ${name} lets through as many parameters as travel`, () => {
    assert.equal(count(lensOf(layout, scope)), scalarsOf(layout, scope));
    assert.ok(Math.abs(scalarsOf(layout, scope) - share * layout.size) < 1e-9);
  });
}

test("a pair is where its factors lie, and all pairs together are the whole vector", () => {
  const covered = new Uint8Array(layout.size);
  for (const { rank, inputs, outputs, a, b } of layout.pairs) {
    for (let i = 0; i < rank * inputs; i++) covered[a + i]!++;
    for (let i = 0; i < rank * outputs; i++) covered[b + i]!++;
  }
  assert.ok(covered.every((times) => times === 1));
});

describe("training through a lens", () => {
  const optimizer: OptimizerConfig = {
    learningRate: 1e-2,
    personalLearningRate: 2e-2,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-3,
    weightDecay: 0.1,
    clipNorm: 1,
  };
  const batches = [
    batchOf(
      [
        [3, 1, 4, 1, 5, 9, 2],
        [6, 5, 3, 5, 8],
      ],
      8,
    ),
    batchOf(
      [
        [9, 7, 12, 3, 2, 3, 8, 4],
        [6, 2, 10, 4],
      ],
      8,
    ),
  ];
  let weights: Awaited<ReturnType<typeof prepared>>;
  before(async () => {
    weights = await prepared(smallModel, randomWeights(smallModel));
  });
  after(() => weights.cleanUp());

  async function train(layout: AdapterLayout, values: Float32Array, scope: Scope | null): Promise<Float32Array> {
    const { lora } = layout;
    const programs = new TaskPrograms(llmTask({ config: smallModel, lora, form: "factored" }));
    const engine = new LlmEngine(new OnnxExecutor(), weights, lora, { form: "factored" });
    const { rows, length } = batches[0]!;
    const options = { ...stepOptionsOf(optimizer), scoped: scope !== null };
    try {
      const [result] = await engine.trainCohort([
        {
          parameters: values,
          personal: Float32Array.of(1, 1),
          variant: { topK: 2 },
          batches,
          optimizer,
          method: {
            program: (clients) => programs.step({ topK: 2 }, { clients, rows, length }, options),
            inputs: {},
            ...(scope && { scope }),
          },
        },
      ]);
      return result!.parameters;
    } finally {
      engine.dispose();
    }
  }

  /** The components of one rank of another, as an adapter of its own. */
  function cut(values: Float32Array, from: AdapterLayout, to: AdapterLayout): Float32Array {
    const small = new Float32Array(to.size);
    const [wide, narrow] = [parameterLayout(from).pairs, parameterLayout(to).pairs];
    for (const [at, { a, b, inputs, outputs, rank }] of narrow.entries()) {
      const source = wide[at]!;
      small.set(values.subarray(source.a, source.a + rank * inputs), a);
      for (let row = 0; row < outputs; row++) {
        const start = source.b + row * source.rank;
        small.set(values.subarray(start, start + rank), b + row * rank);
      }
    }
    return small;
  }

  test("a lens of ones is no lens, byte for byte", async () => {
    const start = randomAdapter(adapter, 5);
    const whole = await train(adapter, start, null);
    assert.deepEqual(await train(adapter, start, { components: { first: rank } }), whole);
    assert.notDeepEqual(whole, start);
  });

  test("the first two components train as an adapter of rank 2 with the same scale does, and the third rests", async () => {
    const start = randomAdapter(adapter, 6);
    const small = adapterLayout(smallModel, { rank: 2, alpha: 4 });
    const scope = { components: { first: 2 } };
    const seen = await train(adapter, start, scope);
    const expected = await train(small, cut(start, adapter, small), null);
    const found = cut(seen, adapter, small);
    // Sums over a third component that is zero may be taken in another order.
    for (const [i, value] of expected.entries()) assert.ok(Math.abs(found[i]! - value) < 1e-6, `value ${i}`);
    const lens = lensOf(layout, scope);
    for (const [i, value] of seen.entries()) if (lens[i] === 0) assert.ok(Object.is(value, start[i]));
  });

  test("models that predict together average their probabilities, or their logits", async () => {
    const engine = new LlmEngine(new OnnxExecutor(), weights, lora);
    const models = [21, 22, 23].map((seed) => ({
      parameters: randomAdapter(adapter, seed),
      personal: Float32Array.of(1, 1),
      variant: { topK: 2 },
    }));
    const mean = ({ loss, targets: responseTokens }: Evaluation) => loss / responseTokens;
    const alone = await Promise.all(models.map((model) => engine.evaluate({ models: [model], batches })));
    const ofMeans = alone.reduce((sum, found) => sum + mean(found), 0) / alone.length;
    for (const mix of ["logits", "probabilities"] as const) {
      const same = await engine.evaluate({ models: [models[0]!, models[0]!], mix, batches });
      assert.ok(Math.abs(mean(same) - mean(alone[0]!)) < 1e-6);
      // −log is convex, and so is the loss in logits: predicting together is better than predicting apart is on average.
      assert.ok(mean(await engine.evaluate({ models, mix, batches })) < ofMeans, mix);
    }
    engine.dispose();
  });
});
