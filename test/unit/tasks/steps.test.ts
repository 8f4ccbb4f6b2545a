/** Pieces of a step that say what moves, and what is counted along the way. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { OptimizerConfig } from "../../../src/engine/engine.ts";
import type { LoraConfig } from "../../../src/model/adapter.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import { TaskPrograms } from "../../../src/tasks/programs.ts";
import { spread } from "../../../src/tasks/spread.ts";
import type { Steps } from "../../../src/tasks/steps.ts";
import { stepOptionsOf } from "../../../src/tasks/training-step.ts";
import { OnnxExecutor } from "../../../src/tensor/executors/onnx.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import type { Tensor } from "../../../src/tensor/graph/ir.ts";
import { add, addScalar, cast, mul, reduceSum, scale, square } from "../../../src/tensor/ops/arithmetic.ts";
import { less } from "../../../src/tensor/ops/discrete.ts";
import { reshape } from "../../../src/tensor/ops/layout.ts";
import { LlmEngine } from "../../support/llm-engine.ts";
import { interpret } from "../../support/reference.ts";
import { batchOf, prepared, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

const config = smallModel;
const lora: LoraConfig = { rank: 2, alpha: 3 };
const task = llmTask({ config, lora, form: "merged" });
const { layout } = task;
const optimizer: OptimizerConfig = {
  learningRate: 1e-2,
  personalLearningRate: 1e-2,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clipNorm: null,
};
const batches = [
  batchOf(
    [
      [3, 1, 4, 1, 5, 9, 2],
      [6, 5, 3],
    ],
    8,
  ),
  batchOf(
    [
      [9, 7, 12, 3, 2, 3],
      [6, 2, 10, 4],
    ],
    8,
  ),
];

let weights: Awaited<ReturnType<typeof prepared>>;
let engine: LlmEngine;
before(async () => {
  weights = await prepared(config, randomWeights(config));
  engine = new LlmEngine(new OnnxExecutor(), weights, lora, { form: "merged", merge: { clients: 2 } });
});
after(() => {
  engine.dispose();
  weights.cleanUp();
});

const programs = new TaskPrograms(task);
const jobOf = (steps: Steps, kind: string, changes = {}) => ({
  parameters: randomAdapter(task.adapter, 1),
  personal: new Float32Array(config.layers).fill(1),
  variant: { topK: 2 },
  batches,
  optimizer,
  method: {
    program: (clients: number) =>
      programs.step({ topK: 2 }, { clients, rows: 2, length: 8 }, stepOptionsOf(optimizer), kind, steps),
    inputs: {},
  },
  ...changes,
});

test("a number a group reaches each of the group's parameters, and nothing else", () => {
  const graph = new Graph();
  const perGroup = graph.input("perGroup", "float32", [layout.groups.length]);
  const program = { name: "spread", inputs: { perGroup }, outputs: { all: spread(layout, perGroup) } };
  const { all } = interpret(program, { perGroup: layout.groups.map((_, group) => group + 1) });
  const expected = new Float64Array(layout.size);
  for (const [group, { ranges }] of layout.groups.entries()) {
    for (const { start, end } of ranges) expected.fill(group + 1, start, end);
  }
  assert.deepEqual(all, expected);
});

test("groups that may not move keep every bit, whatever decay and moments say, and the others move as ever", async () => {
  // In the first batch more than the second expert's share of tokens moves everything; the second batch is smaller.
  const even = layout.groups.map((_, group) => (group % 2 === 0 ? 1 : 0));
  const steps: Steps = { moves: ({ graph }) => spread(layout, graph.constant(even, [even.length])) };
  const job = jobOf(steps, "even");
  const [gated] = await engine.trainCohort([job]);
  const [free] = await engine.trainCohort([jobOf({}, "")]);
  let moved = 0;
  for (const [group, { ranges }] of layout.groups.entries()) {
    for (const { start, end } of ranges) {
      const [from, to] = [job.parameters.subarray(start, end), gated!.parameters.subarray(start, end)];
      if (even[group] === 0) assert.deepEqual(to, from, `group ${group}`);
      else if (gated!.counts[group]! > 0) moved += Number(to.some((value, i) => value !== from[i]));
    }
  }
  assert.ok(moved > 0);
  // The first step's gradient of what moves does not know what rests.
  assert.equal(gated!.losses[0], free!.losses[0]);
});

test("what rests for a step goes on with the moments it had", async () => {
  // Moves in the first of three steps and in the last: as two steps on those batches, but for the count of steps.
  const [first, second] = batches as [(typeof batches)[0], (typeof batches)[0]];
  const rests: Steps = {
    // The second batch has ten tokens, the first too; only their targets differ in number.
    moves: ({ graph, parameters, pass }) => {
      const answered = reduceSum(cast(pass.batch.targets!, "float32"), [0], true);
      const goes = less(answered, graph.constant([first.targets.reduce((a, b) => a + b) + 0.5], [1]));
      return spread({ groups: [{ name: "all", ranges: [{ start: 0, end: parameters.shape[0] as number }] }] }, goes);
    },
  };
  assert.ok(second.targets.reduce((a, b) => a + b) > first.targets.reduce((a, b) => a + b));
  const sgd = { ...optimizer, weightDecay: 0 };
  const momentum = (pieces: Steps): Steps => ({ ...pieces, optimizer: { momentum: 0.5 } });
  const still = { rescaler: new Float32Array(config.layers).fill(1), optimizer: { ...sgd, personalLearningRate: 0 } };
  const three = { ...still, batches: [first, second, first] };
  const two = { ...still, batches: [first, first] };
  const [paused] = await engine.trainCohort([jobOf(momentum(rests), "pauses", three)]);
  const [plain] = await engine.trainCohort([jobOf(momentum({}), "goes", two)]);
  assert.deepEqual(paused!.parameters, plain!.parameters);
});

test("a tally is the sum over all steps, of each client apart", async () => {
  const steps: Steps = {
    tallies: ({ pass, graph }) => ({
      used: cast(pass.counts, "float32"),
      tokens: reshape(reduceSum(pass.tokens!(), [0, 1], true), [1]),
      likely: reduceSum(pass.routers!.at(-1)!.probabilities, [0]),
      steps: graph.constant([1], [1]),
    }),
  };
  const [one] = await engine.trainCohort([jobOf(steps, "tallies")]);
  assert.deepEqual([...one!.found.used!], [...one!.counts]);
  assert.equal(one!.found.tokens![0], one!.units);
  assert.equal(one!.found.steps![0], 2);
  const rows = 2 * 2 * 8;
  const likely = one!.found.likely!.reduce((sum, value) => sum + value, 0);
  // Probabilities sum to 1 in every row of 32, padding included; float32.
  assert.ok(Math.abs(likely - rows) < 1e-4, `${likely}`);

  const own: Steps = { tallies: ({ loss }) => ({ loss }) };
  const pair = [jobOf(own, "loss"), jobOf(own, "loss", { batches: [batches[1]!, batches[0]!] })];
  const together = await engine.trainCohort(pair);
  for (const { found, losses } of together) {
    assert.ok(Math.abs(found.loss![0]! - losses.reduce((a, b) => a + b)) < 1e-6);
  }
  assert.notEqual(together[0]!.losses[0], together[1]!.losses[0]);
});

test("a probe sees what those before it found, and so do the steps and the probes after them", async () => {
  const total = batches.reduce((sum, { targets }) => sum + targets.length, 0);
  const count = (t: Tensor) => reduceSum(addScalar(scale(t, 0), 1), [0], true);
  const chained: Steps = {
    merges: false,
    before: [({ pass }) => ({ n: count(pass.losses) }), ({ found }) => ({ square: square(found("n", 1)) })],
    // So that a step of SGD moves a parameter by 10⁻⁴·n.
    optimizer: "sgd",
    gradient: (gradient, { found }) => add(scale(gradient, 0), scale(found("n", 1), -1e-2)),
    after: [
      ({ found }) => ({ cube: mul(found("n", 1), found("square", 1)) }),
      ({ found }) => ({ root: found("cube", 1) }),
    ],
  };
  const shape = { clients: 1, rows: 2, length: 8 };
  const { before, after } = {
    before: programs.probes({ topK: 2 }, shape, "chained", "before", chained),
    after: programs.probes({ topK: 2 }, shape, "chained", "after", chained),
  };
  const job = jobOf(chained, "chained", { optimizer: { ...optimizer, weightDecay: 0 } });
  const [result] = await engine.trainCohort([{ ...job, method: { ...job.method, before, after } }]);
  // Each pass goes over both batches.
  assert.deepEqual([...result!.found.n!], [total]);
  assert.deepEqual([...result!.found.square!], [2 * total ** 2]);
  assert.deepEqual([...result!.found.cube!], [4 * total ** 3]);
  assert.deepEqual([...result!.found.root!], [8 * total ** 3]);
  for (const [i, value] of result!.parameters.entries()) {
    assert.ok(Math.abs(value - job.parameters[i]! - 2 * 1e-4 * total) < 1e-6, `parameter ${i}`);
  }
});
