/** Clients that share a call, on each executor that is present: each gets what it would have got alone. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { MachineError } from "../../src/base/errors.ts";
import { idsOf } from "../../src/data/batches.ts";
import type { OptimizerConfig } from "../../src/engine/engine.ts";
import type { MergeLimit } from "../../src/engine/merge-limit.ts";
import { cut, isOutOfMemory } from "../../src/engine/merging.ts";
import type { LoraForm } from "../../src/model/adapted-experts.ts";
import { adapterLayout, type LoraConfig } from "../../src/model/adapter.ts";
import { clientBytes, clientsPerCall } from "../../src/tasks/client-memory.ts";
import { llmTask } from "../../src/tasks/llm/task.ts";
import type { TrainJob, TrainResult } from "../../src/tasks/training-engine.ts";
import type { Executor } from "../../src/tensor/executors/executor.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { reduceSum } from "../../src/tensor/ops/arithmetic.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import { executors } from "../support/executors.ts";
import { relativeError } from "../support/golden.ts";
import { LlmEngine } from "../support/llm-engine.ts";
import { batchOf, prepared, randomAdapter, randomWeights, smallModel } from "../support/small-model.ts";

const config = smallModel;
const lora: LoraConfig = { rank: 2, alpha: 3 };
const layout = adapterLayout(config, lora);
const optimizer: OptimizerConfig = {
  learningRate: 1e-2,
  personalLearningRate: 2e-2,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0,
  clipNorm: null,
};
const texts = [
  [3, 1, 4, 1, 5, 9, 2],
  [6, 5, 3, 5, 8],
  [9, 7, 12, 3, 2, 3, 8, 4],
  [6, 2, 10, 4],
] as const;
const batches = [
  batchOf([texts[0], texts[1]], 8),
  batchOf([texts[2], texts[3]], 8),
  batchOf([texts[1], []], 8),
  batchOf([texts[3], texts[0]], 8),
];

const jobOf = (seed: number, changes: Partial<TrainJob> = {}): TrainJob => ({
  parameters: randomAdapter(layout, seed),
  personal: Float32Array.of(1.25, 0.75),
  variant: { topK: 2 },
  batches: [...batches.slice(seed % 4), ...batches.slice(0, seed % 4)],
  optimizer,
  ...changes,
});

/**
 * ‖merged − alone‖ ÷ ‖alone‖. The two sum in another order, and float32 rounds to 6e-8; AdamW divides a gradient by its own
 * size and so magnifies the rounding of small ones, by which a parameter may move a whole step the other way.
 */
const tolerance = 1e-5;

function assertSame(merged: TrainResult, single: TrainResult, what: string): void {
  for (const key of ["parameters", "personal", "losses"] as const) {
    const error = single[key].length === 0 ? merged[key].length : relativeError(merged[key], single[key]);
    assert.ok(error <= tolerance, `${what}: ${key} differs by ${error}`);
  }
  assert.deepEqual([merged.counts, merged.units], [single.counts, single.units], what);
}

let weights: Awaited<ReturnType<typeof prepared>>;
before(async () => {
  weights = await prepared(config, randomWeights(config));
});
after(() => weights.cleanUp());

const engineOn = (executor: Executor, merge: MergeLimit, form: LoraForm = "factored") =>
  new LlmEngine(executor, weights, lora, { form, merge });

for (const { name, create } of executors) {
  suite(name, create, "factored");
  // How the base products see the rows is the program's business: both on one executor will do.
  if (name.startsWith("ONNX")) suite(`${name}, padded base products`, create, "padded");
}

function suite(name: string, create: () => Promise<Executor>, form: LoraForm): void {
  describe(name, () => {
    let merged: LlmEngine;
    let single: LlmEngine;
    before(async () => {
      merged = engineOn(await create(), { clients: 8 }, form);
      single = engineOn(await create(), { clients: 1 });
    });
    after(() => {
      merged.dispose();
      single.dispose();
    });

    test("clients of several budgets, optimizers and numbers of steps get what each would get alone", async () => {
      const jobs = Array.from({ length: 14 }, (_, seed) =>
        jobOf(seed, {
          variant: { topK: [2, 2, 1, config.experts][seed % 4]! },
          batches: batches.slice(0, 1 + (seed % 3)),
          ...(seed > 9 && { optimizer: { ...optimizer, weightDecay: 0.1, clipNorm: 0.3 } }),
        }),
      );
      // Nothing to train, and shapes that change: neither shares a call with anybody.
      jobs.push(jobOf(20, { batches: [] }), jobOf(21, { batches: [batchOf([texts[0]], 8), batches[1]!] }));
      const [together, apart] = [await merged.trainCohort(jobs), await single.trainCohort(jobs)];
      assert.equal(together.length, jobs.length);
      for (const [i, result] of together.entries()) assertSame(result, apart[i]!, `client ${i}`);
      assert.deepEqual(await merged.trainCohort(jobs), together, "a second time");
      assert.deepEqual(
        together.map(({ parameters: adapter }) => adapter.byteLength === adapter.buffer.byteLength),
        jobs.map(() => true),
      );
    });

    test("a client is clipped by its own gradient alone", async () => {
      const clipped = { ...optimizer, epsilon: 1, learningRate: 1, clipNorm: 1e-2 };
      const calm = jobOf(1, { optimizer: clipped });
      const wild = jobOf(2, { parameters: randomAdapter(layout, 2).map((x) => 4 * x), optimizer: clipped });
      const beside = await merged.trainCohort([calm, wild]);
      assertSame(beside[0]!, (await single.trainCohort([calm]))[0]!, "calm");
      assertSame(beside[1]!, (await single.trainCohort([wild]))[0]!, "wild");
      const [free] = await single.trainCohort([{ ...calm, optimizer: { ...clipped, clipNorm: null } }]);
      assert.ok(relativeError(beside[0]!.parameters, free!.parameters) > 1e-3, "nothing was clipped");
    });

    test("an expert that no token of a client reaches keeps every bit of that client's factors", async () => {
      const changes = {
        variant: { topK: 1 },
        batches: [batchOf([texts[3]], 8)],
        optimizer: { ...optimizer, clipNorm: 0.5 },
      };
      const jobs = [3, 4, 5, 6].map((seed) => jobOf(seed, changes));
      const results = await merged.trainCohort(jobs);
      for (const [client, { counts: activations, parameters: adapter }] of results.entries()) {
        const isSame = (expert: number) =>
          layout.ranges(expert).every(({ start, end }) => {
            const before = jobs[client]!.parameters.subarray(start, end);
            return adapter.subarray(start, end).every((value, i) => Object.is(value, before[i]));
          });
        const idle = [...activations.keys()].filter((expert) => activations[expert] === 0);
        assert.ok(idle.length >= config.layers * (config.experts - 4));
        assert.ok(idle.every(isSame), `client ${client}`);
        assert.ok(!isSame(activations.indexOf(Math.max(...activations))), `client ${client}`);
      }
    });

    const spoilsNobody = async () => {
      const jobs = [jobOf(1), jobOf(2, { parameters: randomAdapter(layout, 2).fill(Number.NaN) }), jobOf(3), jobOf(4)];
      const results = await merged.trainCohort(jobs);
      assert.ok(results[1]!.losses.every(Number.isNaN));
      for (const client of [0, 2, 3]) {
        assertSame(results[client]!, (await single.trainCohort([jobs[client]!]))[0]!, `client ${client}`);
      }
    };
    // The oracle adds rows up by a product with ones and zeros, and 0 times NaN is NaN.
    if (!name.startsWith("TensorFlow.js")) {
      test("a client whose adapter is not finite spoils nobody else's", spoilsNobody);
    }

    test("memory that cannot be had is told so in words that are understood, and the executable goes on", async () => {
      const graph = new Graph();
      const x = graph.input("x", "float32", [graph.symbol("rows"), 1]);
      // 64 TB for 4,000,000 rows.
      const squares = matmul(x, x, { transposeB: true });
      const program = { name: "huge", inputs: { x }, outputs: { sum: reduceSum(squares, [0, 1], true) } };
      const executable = await (await create()).compile(program, null);
      await assert.rejects(executable.run({ x: new Float32Array(4_000_000) }), isOutOfMemory);
      assert.deepEqual((await executable.run({ x: Float32Array.of(1, 2) })).sum, Float32Array.of(9));
      executable.dispose();
    });

    test("bad input is refused before anybody trains, and the engine works on", async () => {
      const bad = jobOf(2, { batches: [{ ...batches[0]!, inputs: { ids: idsOf(batches[0]!).with(3, 13) } }] });
      const good = jobOf(1, { batches: [batches[0]!] });
      await assert.rejects(merged.trainCohort([good, bad]), { name: "InvariantError", message: /token id/ });
      assert.equal((await merged.trainCohort([good, good])).length, 2);
    });
  });
}

/** Runs out of memory in programs for more than `most` clients, at their second run. */
function tight(most: number, message: string): Executor & { readonly compiled: string[]; disposed: number } {
  const inner = executors.find(({ name }) => name.startsWith("ONNX"))!;
  const executor = {
    name: "tight",
    compiled: [] as string[],
    disposed: 0,
    async compile(...[program, source]: Parameters<Executor["compile"]>) {
      executor.compiled.push(program.name);
      const executable = await (await inner.create()).compile(program, source);
      const clients = Number(/train (\d+) clients/.exec(program.name)?.[1] ?? 1);
      let runs = 0;
      return {
        async run(...call: Parameters<typeof executable.run>) {
          if (++runs > 1 && clients > most) throw new MachineError(`program "${program.name}" failed: ${message}`);
          return executable.run(...call);
        },
        dispose() {
          executor.disposed++;
          executable.dispose();
        },
      };
    },
  };
  return executor;
}

describe("memory", () => {
  test("a group that does not fit is halved, until it does, and the smaller size is remembered", async () => {
    const executor = tight(2, "CUDA failure 2: out of memory ; GPU=0");
    const engine = engineOn(executor, { clients: 8 });
    const jobs = Array.from({ length: 11 }, (_, seed) => jobOf(seed));
    const results = await engine.trainCohort(jobs);
    const pairs = engineOn(tight(2, ""), { clients: 2 });
    assert.deepEqual(results, await pairs.trainCohort(jobs), "not what groups of two give");
    assert.deepEqual(
      executor.compiled.map((name) => name.replace(/ 2x8.*/, "")),
      ["train 8 clients", "train 4 clients", "train 2 clients", "train"],
    );
    assert.equal(executor.disposed, 2, "the programs that were too large stay in memory");
    const problems = engine.takeProblems();
    assert.match(problems[0]!, /8 clients did not fit into memory, 4 are tried: .*out of memory/);
    assert.equal(problems.length, 2);
    await engine.trainCohort(jobs);
    assert.equal(executor.compiled.length, 4, "a size that did not fit was tried again");
    assert.deepEqual(engine.takeProblems(), []);
    engine.dispose();
    pairs.dispose();
  });

  test("one client alone that does not fit ends the run", async () => {
    const engine = engineOn(tight(0, "std::bad_alloc"), { clients: 4 });
    await assert.rejects(engine.trainCohort([jobOf(1), jobOf(2)]), /bad_alloc/);
    engine.dispose();
  });

  test("any other failure ends the run at once", async () => {
    const executor = tight(2, "device lost");
    const engine = engineOn(executor, { clients: 4 });
    await assert.rejects(engine.trainCohort([0, 1, 2, 3].map((seed) => jobOf(seed))), /device lost/);
    assert.equal(executor.compiled.length, 1);
    engine.dispose();
  });

  test("what executors say when memory runs out is understood, and other words are not", () => {
    const lacking = [
      "CUDA failure 2: out of memory ; GPU=0 ; hostname=box",
      "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 8589934592",
      "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
      "OOM when allocating tensor with shape[4096,2048] and type float on /job:localhost/replica:0/task:0/device:GPU:0",
      "RESOURCE_EXHAUSTED: failed to allocate memory",
      "Array buffer allocation failed",
      "std::bad_alloc",
      "WebGPU validation failed. [Invalid Buffer (unlabeled)] is invalid due to a previous error.",
      "WebGPU validation failed. Buffer size (1600000000) exceeds the max buffer size limit (1073741824).",
      "webgpu/shader_helper.cc:306 Too many storage buffers in shader. Current: 14, Max is 12",
    ];
    for (const message of lacking) {
      assert.ok(isOutOfMemory(new MachineError("program failed", { cause: new Error(message) })), message);
    }
    for (const message of ["token id expected in [0, 13), got 13", "worker lost", "the boom of a room"]) {
      assert.ok(!isOutOfMemory(new Error(message)), message);
    }
    assert.ok(!isOutOfMemory("out of memory"));
  });

  test("a budget in bytes merges as many clients as fit, in powers of two", () => {
    const shape = { rows: 2, length: 8 };
    const task = llmTask({ config, lora, form: "factored" });
    const bytes = clientBytes(task, { topK: 2 }, shape);
    // Parameters and two moments go in and come out, so a client weighs at least six adapters.
    assert.ok(bytes > 6 * 4 * layout.size);
    const per = (limit: MergeLimit, topK = 2) => clientsPerCall(limit, task)({ topK }, shape);
    assert.deepEqual(
      [0.5, 1, 1.9, 2, 5, 8, 1e9].map((clients) => per({ bytes: clients * bytes })),
      [1, 1, 1, 2, 4, 8, 256],
    );
    assert.deepEqual(
      [1, 2, 3, 6, 8, 1000].map((clients) => per({ clients })),
      [1, 2, 2, 4, 8, 256],
    );
    assert.ok(clientBytes(task, { topK: 6 }, shape) > bytes, "more experts per token need more memory");
    assert.ok(clientBytes(task, { topK: 2 }, { ...shape, rows: 4 }) > 1.5 * (bytes - 6 * 4 * layout.size));
  });

  test("a cohort is cut into powers of two that keep its order", () => {
    fc.assert(
      fc.property(fc.nat(600), fc.nat(8), (count, power) => {
        const items = Array.from({ length: count }, (_, i) => i);
        const stretches = cut(items, 2 ** power);
        assert.deepEqual(stretches.flat(), items);
        for (const [i, { length }] of stretches.entries()) {
          assert.ok(length <= 2 ** power && Number.isInteger(Math.log2(length)));
          assert.ok(i === 0 || length <= stretches[i - 1]!.length);
        }
      }),
    );
  });
});
