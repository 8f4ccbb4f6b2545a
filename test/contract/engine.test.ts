/** What every training engine owes the rest of the house, run on each executor that is present and in both LoRA forms. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { MachineError } from "../../src/base/errors.ts";
import { Rng } from "../../src/base/random.ts";
import { type Batch, idsOf } from "../../src/data/batches.ts";
import type { OptimizerConfig } from "../../src/engine/engine.ts";
import { adapterLayout, type LoraConfig } from "../../src/model/adapter.ts";
import type { BaseWeights } from "../../src/model/base-weights.ts";
import { initialAdapter } from "../../src/model/initial-adapter.ts";
import type { TrainingEngine, TrainJob } from "../../src/tasks/training-engine.ts";
import type { Executor } from "../../src/tensor/executors/executor.ts";
import { executors } from "../support/executors.ts";
import { LlmEngine } from "../support/llm-engine.ts";
import { baseModel, meanLoss, referenceTraining } from "../support/reference-training.ts";
import { batchOf, evaluationOf, prepared, randomAdapter, randomWeights, smallModel } from "../support/small-model.ts";

type Create = (weights: BaseWeights, lora: LoraConfig) => Promise<TrainingEngine>;

const config = smallModel;
const lora: LoraConfig = { rank: 2, alpha: 3 };
const layout = adapterLayout(config, lora);
const tensors = randomWeights(config);
const plainRescaler = new Float32Array(config.layers).fill(1);
const optimizer: OptimizerConfig = {
  learningRate: 1e-2,
  personalLearningRate: 2e-2,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-3,
  weightDecay: 0,
  clipNorm: null,
};
const texts = [
  [3, 1, 4, 1, 5, 9, 2],
  [6, 5, 3, 5, 8],
  [9, 7, 12, 3, 2, 3, 8, 4],
  [6, 2, 10, 4],
] as const;
const first = batchOf([texts[0], texts[1]], 8);
const second = batchOf([texts[2], texts[3]], 8);

const jobOf = (seed: number, changes: Partial<TrainJob> = {}): TrainJob => ({
  parameters: randomAdapter(layout, seed),
  personal: Float32Array.of(1.25, 0.75),
  variant: { topK: 2 },
  batches: [first, second],
  optimizer,
  ...changes,
});

for (const { name, create } of executors) {
  // Which form computes LoRA is the program's business: both on one executor will do.
  for (const form of name.startsWith("ONNX") ? (["merged", "factored"] as const) : (["merged"] as const)) {
    const make: Create = async (weights, lora) => new LlmEngine(await create(), weights, lora, { form });
    engineContract(`${name}, ${form} LoRA`, make);
  }
}

function engineContract(name: string, create: Create): void {
  describe(name, () => {
    let weights: Awaited<ReturnType<typeof prepared>>;
    let engine: TrainingEngine;
    before(async () => {
      weights = await prepared(config, tensors);
      engine = await create(weights, lora);
    });
    after(() => {
      engine.dispose();
      weights.cleanUp();
    });

    const trained = async (job: TrainJob) => (await engine.trainCohort([job]))[0]!;

    test("training two clients together equals training each alone, bit for bit", async () => {
      const jobs = [
        jobOf(1),
        jobOf(2, { variant: { topK: 1 }, batches: [second] }),
        jobOf(3, { optimizer: { ...optimizer, clipNorm: 0.1 } }),
      ];
      const together = await engine.trainCohort(jobs);
      for (const [i, job] of jobs.toReversed().entries()) assert.deepEqual(await trained(job), together.at(-1 - i));
      assert.deepEqual(await engine.trainCohort([]), []);
    });

    test("training and evaluation leave the job as it was", async () => {
      const job = jobOf(4);
      const copy = structuredClone(job);
      const result = await trained(job);
      await engine.evaluate(evaluationOf(job));
      assert.deepEqual(job, copy);
      assert.notDeepEqual(result.parameters, job.parameters);
      const idle = await trained({ ...job, batches: [] });
      assert.deepEqual(idle.parameters, job.parameters);
      assert.notEqual(idle.parameters.buffer, job.parameters.buffer);
    });

    test("two AdamW steps with decay and clipping are the reference's", async () => {
      const job = jobOf(5, { optimizer: { ...optimizer, weightDecay: 0.1, clipNorm: 0.05 } });
      const result = await trained(job);
      const expected = fromReference("training", () => referenceTraining(tensors, layout, job));
      // Float32 sums against float64; AdamW divides by √v, which magnifies the rounding of small gradients.
      assertClose(result.parameters, expected.adapter!, 1e-4);
      assertClose(result.personal, expected.rescaler!, 1e-4);
      assertClose(result.losses, expected.losses!, 1e-5);
      assert.deepEqual([...result.counts], Array.from(expected.activations!));
      assert.equal(result.units, 7 + 5 + 8 + 4);
    });

    for (const topK of [1, 2, config.experts]) {
      test(`with k = ${topK}, every token reaches ${topK} experts of every layer`, async () => {
        const job = jobOf(6, { variant: { topK } });
        const results = [await trained(job), await engine.evaluate(evaluationOf(job))];
        for (const activations of results.map((result) => [...result.counts])) {
          for (let layer = 0; layer < config.layers; layer++) {
            const counts = activations.slice(layer * config.experts, (layer + 1) * config.experts);
            assert.equal(
              counts.reduce((a, b) => a + b, 0),
              topK * (7 + 5 + 8 + 4),
            );
          }
        }
      });
    }

    test("what stands in the padding changes nothing, not even a bit", async () => {
      const batch = batchOf([texts[0], texts[1], []], 8);
      const ids = idsOf(batch).map((id, at) => (at % 8 < batch.lengths[Math.floor(at / 8)]! ? id : (7 * at) % 13));
      assert.notDeepEqual(ids, idsOf(batch));
      const [clean, dirty] = [
        jobOf(7, { batches: [batch, batch] }),
        jobOf(7, { batches: [{ ...batch, inputs: { ids } }, batch] }),
      ];
      assert.deepEqual(await trained(dirty), await trained(clean));
      assert.deepEqual(await engine.evaluate(evaluationOf(dirty)), await engine.evaluate(evaluationOf(clean)));
    });

    test("empty rows change nothing", async () => {
      const padded = { ...jobOf(8), batches: [batchOf([[], texts[0], [], texts[1]], 8)] };
      const plain = { ...padded, batches: [first] };
      const [a, b] = [await trained(padded), await trained(plain)];
      // Another shape is another program, whose sums may run in another order.
      assertClose(a.parameters, b.parameters, 1e-5);
      assertClose(a.losses, b.losses, 1e-6);
      assert.deepEqual([a.counts, a.units], [b.counts, b.units]);
      const [c, d] = [await engine.evaluate(evaluationOf(padded)), await engine.evaluate(evaluationOf(plain))];
      assertClose([c.loss], [d.loss], 1e-6);
      assert.deepEqual({ ...c, loss: 0 }, { ...d, loss: 0 });
    });

    test("an expert that no token reaches keeps every bit", async () => {
      const job = jobOf(9, {
        variant: { topK: 1 },
        batches: [batchOf([texts[3]], 8)],
        optimizer: { ...optimizer, clipNorm: 0.5 },
      });
      const result = await trained(job);
      const idle = [...result.counts.keys()].filter((expert) => result.counts[expert] === 0);
      assert.ok(idle.length >= config.layers * (config.experts - 4));
      const isSame = (expert: number) =>
        layout.ranges(expert).every(({ start, end }) => {
          const before = job.parameters.subarray(start, end);
          return result.parameters.subarray(start, end).every((value, i) => Object.is(value, before[i]));
        });
      assert.ok(idle.every(isSame));
      assert.ok(!isSame(result.counts.indexOf(Math.max(...result.counts))));
    });

    test("all experts of the base model, s = 1 and B = 0 are the base model", async () => {
      const adapter = initialAdapter(layout, new Rng(1));
      const job = { parameters: adapter, personal: plainRescaler, variant: { topK: config.topK }, batches: [first] };
      const got = await engine.evaluate(evaluationOf(job));
      const { losses, predicted, activations } = fromReference("base", () => baseModel(tensors, first));
      assertClose([got.loss], [losses!.reduce((a, b) => a + b, 0)], 1e-5);
      assert.equal(got.correct, [...predicted!].filter((token, i) => token === first.targets[i]).length);
      assert.deepEqual([...got.counts], [...activations!]);
    });

    test("the rescaler moves along the slope of the loss", async () => {
      // After one step from rest m̂ = g and √v̂ = |g|, so with rate 1 and ε = 1 it moves by g ÷ (|g| + 1).
      const job = jobOf(10, { batches: [first], optimizer: { ...optimizer, personalLearningRate: 1, epsilon: 1 } });
      const { personal: rescaler } = await trained(job);
      for (let layer = 0; layer < config.layers; layer++) {
        const move = job.personal[layer]! - rescaler[layer]!;
        const gradient = move / (1 - Math.abs(move));
        const lossAt = (s: number) =>
          meanLoss(tensors, layout, first, {
            adapter: job.parameters,
            rescaler: [...job.personal].with(layer, s),
            topK: job.variant.topK as number,
          });
        const s = job.personal[layer]!;
        const slope = fromReference(`slope ${layer}`, () => (lossAt(s + 1e-5) - lossAt(s - 1e-5)) / 2e-5);
        // s is near 1, so float32 keeps its move to about 1e-7.
        assert.ok(Math.abs(gradient - slope) <= 1e-4 * Math.abs(slope) + 1e-6, `${gradient}, slope ${slope}`);
      }
    });

    test("s may as well be part of the down projections", async () => {
      const job = jobOf(11, { batches: [first] });
      const folded = new Map(tensors);
      const adapter = job.parameters.slice();
      for (const [layer, s] of job.personal.entries()) {
        folded.set(
          `layers.${layer}.down`,
          tensors.get(`layers.${layer}.down`)!.map((x) => x * s),
        );
        for (let expert = layer * config.experts; expert < (layer + 1) * config.experts; expert++) {
          const { start, end } = layout.matrix("downB", expert);
          for (let i = start; i < end; i++) adapter[i]! *= s;
        }
      }
      const other = await prepared(config, folded);
      const merged = await create(other, lora);
      const expected = await engine.evaluate(evaluationOf(job));
      const got = await merged.evaluate(evaluationOf({ ...job, parameters: adapter, personal: plainRescaler }));
      merged.dispose();
      other.cleanUp();
      assertClose([got.loss], [expected.loss], 1e-5);
      assert.deepEqual(got.counts, expected.counts);
      const ignored = await engine.evaluate(evaluationOf({ ...job, personal: plainRescaler }));
      assert.ok(Math.abs(ignored.loss - expected.loss) > 1e-3, "s made no difference");
    });

    test("a token depends on no later token", async () => {
      const early = { lossPositions: Int32Array.of(0, 1, 2), targets: Int32Array.of(1, 4, 1) };
      const loss = async (ids: Int32Array) =>
        (await engine.evaluate(evaluationOf({ ...jobOf(12), batches: [{ ...first, inputs: { ids }, ...early }] })))
          .loss;
      const expected = await loss(idsOf(first));
      // Other experts get other numbers of rows, whose sums may run in another order.
      assertClose([await loss(idsOf(first).map((id, at) => (at > 2 ? (id + 5) % 13 : id)))], [expected], 1e-6);
      assert.ok(Math.abs((await loss(idsOf(first).with(1, 11))) - expected) > 1e-3);
    });

    test("evaluation sums add up over shards", async () => {
      const job = jobOf(13);
      const [all, a, b] = await Promise.all(
        [[first, second], [first], [second]].map((batches) => engine.evaluate(evaluationOf({ ...job, batches }))),
      );
      assertClose([all!.loss], [a!.loss + b!.loss], 1e-12);
      for (const key of ["targets", "correct", "exact", "examples"] as const) {
        assert.equal(all![key], a![key] + b![key], key);
      }
      assert.deepEqual(
        all!.counts,
        a!.counts.map((count, expert) => count + b!.counts[expert]!),
      );
      assert.equal(all!.targets, 6 + 4 + 7 + 3);
      assert.equal(all!.examples, 4);
    });

    test("an example is exact when every token of its response is predicted", async () => {
      const batch = batchOf([texts[0], [], texts[1], texts[3]], 8);
      const adapter = new Float32Array(layout.size);
      const said = Int32Array.from(fromReference("said", () => baseModel(tensors, batch)).predicted!);
      const targets = said.slice();
      targets[6 + 3] = (said[6 + 3]! + 1) % 13;
      const model = { parameters: adapter, personal: plainRescaler, variant: { topK: config.topK } };
      const job = { ...model, batches: [{ ...batch, targets }] };
      const one = await engine.evaluate(evaluationOf(job));
      assert.deepEqual([one.targets, one.correct, one.exact, one.examples], [13, 12, 2, 3]);
      const all = await engine.evaluate(evaluationOf({ ...job, batches: [{ ...batch, targets: said }] }));
      assert.deepEqual([all.correct, all.exact], [13, 3]);
    });

    const withBatch = (change: Partial<Batch>) => ({ batches: [{ ...first, ...change }] });
    const mistakes: [change: Partial<TrainJob>, message: RegExp][] = [
      [withBatch({ inputs: { ids: idsOf(first).with(3, 13) } }), /token id expected in \[0, 13\), got 13/],
      [withBatch({ inputs: { ids: idsOf(first).with(0, -1) } }), /token id expected in \[0, 13\), got -1/],
      [withBatch({ targets: first.targets.with(0, 99) }), /target id expected in \[0, 13\), got 99/],
      [withBatch({ lossPositions: first.lossPositions.with(0, 16) }), /loss position expected in \[0, 16\), got 16/],
      [withBatch({ lossPositions: new Int32Array(), targets: new Int32Array() }), /and at least one/],
      [withBatch({ targets: first.targets.subarray(1) }), /a target at every loss position/],
      [withBatch({ rows: 3 }), /2 lengths for 3 rows/],
      [withBatch({ lengths: Int32Array.of(9, 5) }), /row length expected in \[0, 9\), got 9/],
      [{ batches: [batchOf([new Array(13).fill(1)], 13)] }, /expected at most 12 tokens a row, got 13/],
      [{ parameters: new Float32Array(layout.size - 1) }, /parameters: expected \d+ values, got \d+/],
      [{ parameters: new Float32Array(layout.size + 1) }, /parameters: expected \d+ values, got \d+/],
      [{ personal: new Float32Array(3) }, /personal: expected 2 values, got 3/],
      [{ variant: { topK: 0 } }, /topK: expected 1 to 6, got 0/],
      [{ variant: { topK: 7 } }, /topK: expected 1 to 6, got 7/],
      [{ variant: { topK: 1.5 } }, /topK: expected 1 to 6, got 1.5/],
    ];
    test("bad input is refused with its reason, and the engine works on", async () => {
      const good = jobOf(14);
      const expected = await trained(good);
      for (const [change, message] of mistakes) {
        const bad = { ...good, ...change };
        await assert.rejects(engine.trainCohort([bad]), { name: "InvariantError", message });
        await assert.rejects(engine.evaluate(evaluationOf(bad)), { name: "InvariantError", message });
      }
      assert.deepEqual(await trained(good), expected);
    });

    test("a disposed engine refuses work, even where there is none", async () => {
      const other = await create(weights, lora);
      await other.evaluate(evaluationOf(jobOf(15)));
      other.dispose();
      other.dispose();
      for (const batches of [[first], []]) {
        await assert.rejects(other.trainCohort([jobOf(15, { batches })]), /was disposed/);
        await assert.rejects(other.evaluate(evaluationOf(jobOf(15, { batches }))), /was disposed/);
      }
      // Nobody else's resources went with it.
      await engine.evaluate(evaluationOf(jobOf(15)));
    });
  });
}

describe("a program engine", () => {
  let weights: Awaited<ReturnType<typeof prepared>>;
  before(async () => {
    weights = await prepared(config, tensors);
  });
  after(() => weights.cleanUp());

  /** Counts compilations, and fails the first `failures` of them. */
  function watched(failures = 0): Executor & { readonly compiled: string[] } {
    const compiled: string[] = [];
    return {
      name: "watched",
      compiled,
      async compile(program, source) {
        compiled.push(program.name);
        if (compiled.length <= failures) throw new MachineError("no luck");
        return (await executors.find((it) => it.name.startsWith("ONNX"))!.create()).compile(program, source);
      },
    };
  }

  test("compiles each shape once, whoever trains and at whatever rate", async () => {
    const executor = watched();
    const engine = new LlmEngine(executor, weights, lora);
    await engine.trainCohort([jobOf(1), jobOf(2)]);
    await engine.evaluate(evaluationOf(jobOf(3)));
    assert.equal(executor.compiled.length, 2);
    const faster = { ...optimizer, learningRate: 1, personalLearningRate: 2 };
    await engine.trainCohort([jobOf(4, { optimizer: faster, batches: [second] })]);
    await engine.evaluate(evaluationOf(jobOf(5, { batches: [second, first] })));
    assert.equal(executor.compiled.length, 2);
    await engine.evaluate(evaluationOf(jobOf(5, { variant: { topK: 1 } })));
    assert.equal(executor.compiled.length, 3);
    engine.dispose();
  });

  test("says of every step and every evaluated batch that it is done", async () => {
    let steps = 0;
    const engine = new LlmEngine(watched(), weights, lora, { onStep: () => steps++ });
    await engine.trainCohort([jobOf(1, { batches: [first, second, first] }), jobOf(2, { batches: [second] })]);
    assert.equal(steps, 4);
    await engine.evaluate(evaluationOf(jobOf(3, { batches: [first, second] })));
    assert.equal(steps, 6);
    engine.dispose();
  });

  test("tries again after a compilation that failed", async () => {
    const engine = new LlmEngine(watched(1), weights, lora);
    await assert.rejects(engine.evaluate(evaluationOf(jobOf(6))), { name: "MachineError", message: "no luck" });
    assert.equal((await engine.evaluate(evaluationOf(jobOf(6)))).examples, 4);
    engine.dispose();
  });

  test("may be disposed while a compilation fails", async () => {
    const engine = new LlmEngine(watched(1), weights, lora);
    const evaluation = engine.evaluate(evaluationOf(jobOf(7)));
    engine.dispose();
    // An unhandled rejection would end the test run.
    await assert.rejects(evaluation, { name: "MachineError" });
  });

  test("stops a training that is under way when it is disposed", async () => {
    const engine = new LlmEngine(watched(), weights, lora);
    const training = engine.trainCohort([jobOf(8)]);
    engine.dispose();
    await assert.rejects(training, /was disposed/);
  });
});

const references = new Map<string, unknown>();

/** What the reference says does not depend on the engine: it is asked once. */
function fromReference<T>(key: string, compute: () => T): T {
  if (!references.has(key)) references.set(key, compute());
  return references.get(key) as T;
}

/** Within `tolerance` of the largest value. */
function assertClose(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assert.equal(got.length, expected.length);
  const largest = Array.from(expected).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(got[i]! - expected[i]!);
    assert.ok(error <= tolerance * largest, `value ${i} is ${got[i]}, expected ${expected[i]}`);
  }
}
