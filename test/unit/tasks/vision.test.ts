/** The vision task against float64 loops, and what its variants and members owe. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { membersOf } from "../../../src/tasks/members.ts";
import type { BatchShape, Variant } from "../../../src/tasks/task.ts";
import { evaluationProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import { type VisionOptions, visionTask } from "../../../src/tasks/vision/task.ts";
import type { TensorData } from "../../../src/tensor/executors/executor.ts";
import { reachable } from "../../../src/tensor/graph/graph.ts";
import type { Program } from "../../../src/tensor/graph/ir.ts";
import { executors } from "../../support/executors.ts";
import { type LabelledImages, plainGradient, plainLogits, plainLosses } from "../../support/plain-vision.ts";
import { interpret } from "../../support/reference.ts";

const image = { height: 4, width: 3, channels: 2 };
const size = 24;
const classes = 3;
const models: readonly VisionOptions[] = [
  { network: { type: "mlp", hidden: [6, 5] }, image, classes },
  { network: { type: "cnn", channels: [2, 4, 3] }, image, classes },
];
const options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: false, decay: false };
const whole: Variant = {};

/** Float32 rounds to 6e-8 and a step is some twenty operations deep. */
const tolerance = 1e-5;

/** Images of a client, in ±1, with labels. */
function imagesOf(client: number, count: number): LabelledImages {
  const draws = new Rng(7).at("images").at(client);
  const x = Array.from({ length: count * size }, () => Math.fround(2 * draws.uniform() - 1));
  return { x, targets: Array.from({ length: count }, () => draws.below(classes)) };
}

/** What a step is fed; rows without an image stay empty. */
function feedsOf(clients: readonly LabelledImages[], rows: number): Record<string, TensorData> {
  const x = new Float32Array(clients.length * rows * size);
  const padding = new Int32Array(clients.length * rows).fill(1);
  const positions: number[] = [];
  for (const [client, images] of clients.entries()) {
    x.set(images.x, client * rows * size);
    for (const row of images.targets.keys()) {
      padding[client * rows + row] = 0;
      positions.push(client * rows + row);
    }
  }
  const counts = clients.map(({ targets }) => targets.length);
  const inverse = clients.length === 1 ? [1 / counts[0]!] : counts.flatMap((count) => Array(count).fill(1 / count));
  return {
    x,
    padding,
    positions: Int32Array.from(positions),
    targets: Int32Array.from(clients.flatMap(({ targets }) => targets)),
    inverseCount: Float32Array.from(inverse),
    learningRate: new Float32Array(clients.length).fill(0.1),
  };
}

async function ran(
  program: Program,
  feeds: Record<string, TensorData>,
  executor = executors.find(({ name }) => name.startsWith("ONNX"))!,
) {
  const executable = await (await executor.create()).compile(program, null);
  const out = await executable.run(feeds);
  executable.dispose();
  return out;
}

const stepOf = (model: VisionOptions, variant: Variant, shape: BatchShape) =>
  trainingStep(visionTask(model), variant, shape, options, { optimizer: "sgd" });

function assertClose(got: ArrayLike<number | bigint>, wanted: ArrayLike<number>, what: string, relative = tolerance) {
  assert.equal(got.length, wanted.length, what);
  const largest = Array.from(wanted).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let i = 0; i < wanted.length; i++) {
    const off = Math.abs(Number(got[i]) - wanted[i]!);
    assert.ok(off <= relative * largest, `${what}[${i}] is ${got[i]}, expected ${wanted[i]}`);
  }
}

for (const model of models) {
  const { type } = model.network;
  const task = visionTask(model);
  const start = task.initial(new Rng(1), 0);

  for (const executor of executors) {
    test(`${type}: logits, losses and three steps are those of float64 loops on ${executor.name}`, async () => {
      const images = imagesOf(0, 3);
      // One row stays empty.
      const shape = { clients: 1, rows: 4, length: 1 };
      const { inverseCount, learningRate, ...batch } = feedsOf([images], 4);
      const seen = await ran(evaluationProgram(task, whole, shape, true), { parameters: start, ...batch }, executor);
      const exact = Float64Array.from(start);
      const one = (at: number) => plainLogits(model, exact, images.x.slice(at * size, (at + 1) * size));
      assertClose(
        seen.logits as Float32Array,
        images.targets.flatMap((_, at) => one(at)),
        "logits",
      );
      assertClose(seen.losses as Float32Array, plainLosses(model, exact, images), "losses");
      assert.deepEqual(
        Array.from(seen.counts!, Number),
        task.layout.groups.map(() => 3),
      );

      const program = stepOf(model, whole, shape);
      let parameters = start;
      let expected = exact;
      for (let step = 0; step < 3; step++) {
        const feeds = { ...batch, inverseCount: inverseCount!, learningRate: learningRate!, parameters };
        parameters = (await ran(program, feeds, executor)).parameters as Float32Array;
        const slopes = plainGradient(model, expected, images);
        expected = expected.map((value, i) => value - 0.1 * slopes[i]!);
      }
      const moved = (values: ArrayLike<number>) => start.map((value, i) => values[i]! - value);
      assertClose(moved(parameters), moved(expected), "update");
    });
  }

  test(`${type}: several clients in a call train as each alone, whatever the number of their images`, async () => {
    const own = [imagesOf(0, 4), imagesOf(1, 1)];
    const starts = own.map((_, client) => task.initial(new Rng(client), 0));
    const parameters = new Float32Array(2 * task.layout.size);
    for (const [client, values] of starts.entries()) parameters.set(values, client * task.layout.size);
    const shape = { clients: 2, rows: 4, length: 1 };
    const together = await ran(stepOf(model, whole, shape), { ...feedsOf(own, 4), parameters });
    for (const [client, images] of own.entries()) {
      const feeds = { ...feedsOf([images], 4), parameters: starts[client]! };
      const alone = await ran(stepOf(model, whole, { ...shape, clients: 1 }), feeds);
      const { size } = task.layout;
      const values = (together.parameters as Float32Array).subarray(client * size, (client + 1) * size);
      assertClose(values, alone.parameters as Float32Array, `client ${client}`, 1e-6);
      const counts = Array.from(together.counts!, Number).filter((_, at) => at % 2 === client);
      assert.deepEqual(counts, Array.from(alone.counts!, Number));
    }
  });

  test(`${type}: blocks below the first that trains stay bit for bit, and those above move as they would`, async () => {
    const shape = { clients: 1, rows: 2, length: 1 };
    const feeds = { ...feedsOf([imagesOf(0, 2)], 2), parameters: start };
    const all = await ran(stepOf(model, whole, shape), feeds);
    const last = task.layout.groups.length;
    for (let from = 1; from <= last; from++) {
      const some = await ran(stepOf(model, { from }, shape), feeds);
      for (const [block, { ranges }] of task.layout.groups.entries()) {
        const [{ start: first, end }] = ranges as readonly [{ start: number; end: number }];
        const expected = block + 1 >= from ? (all.parameters as Float32Array) : start;
        const got = some.parameters as Float32Array;
        assert.deepEqual(got.slice(first, end), expected.slice(first, end), `block ${block} from ${from}`);
        assert.equal(Number(some.counts![block]), block + 1 >= from ? 2 : 0);
      }
    }
  });

  test(`${type}: what is not trained is not differentiated either`, () => {
    const sizes = task.layout.groups.map((_, block) => {
      const program = stepOf(model, { from: block + 1 }, { clients: 1, rows: 2, length: 1 });
      return reachable(Object.values(program.outputs)).filter(({ op }) => ["matmul", "fold"].includes(op.name)).length;
    });
    for (const [block, size] of sizes.entries()) if (block > 0) assert.ok(size < sizes[block - 1]!, `${sizes}`);
  });
}

test("a batch without an image moves nothing", async () => {
  for (const model of models) {
    const task = visionTask(model);
    const parameters = task.initial(new Rng(1), 0);
    const feeds = { ...feedsOf([imagesOf(0, 0)], 2), inverseCount: Float32Array.of(1), parameters };
    const out = await ran(stepOf(model, whole, { clients: 1, rows: 2, length: 1 }), feeds);
    assert.deepEqual(out.parameters, parameters);
  }
});

test("eight networks of an eighth of the width have the weights that Split-Mix counts", () => {
  const network = { type: "mlp", hidden: [256, 256] } as const;
  const digits = { network, image: { height: 8, width: 8, channels: 1 }, classes: 10 };
  // Weights alone, by the method's file: 84480, 3392 and 27136; biases are one for each output.
  const wide = visionTask(digits).layout;
  assert.equal(wide.size, 84_480 + 256 + 256 + 10);
  const narrow = visionTask({ ...digits, narrow: 8 }).layout;
  assert.equal(narrow.size, 3392 + 32 + 32 + 10);
  assert.equal(membersOf(narrow, 8).size, 27_136 + 8 * 74);
  assert.throws(() => visionTask({ ...digits, narrow: 3 }), {
    message: "a hidden width is 256, expected a multiple of 3",
  });
});

test("FLOP are two for each product: forward, and for the slopes of what trains and of what lies between", () => {
  const network = { type: "mlp", hidden: [256, 256] } as const;
  const { cost } = visionTask({ network, image: { height: 8, width: 8, channels: 1 }, classes: 10 });
  assert.deepEqual(cost({}), { forward: 2 * 84_480, training: 2 * (3 * 84_480 - 64 * 256), once: 0 });
  assert.deepEqual(cost({ from: 3 }), { forward: 2 * 84_480, training: 2 * 2 * 2560, once: 2 * (84_480 - 2560) });
  const cnn = { type: "cnn", channels: [16, 32, 64] } as const;
  const convolutional = visionTask({ network: cnn, image: { height: 8, width: 8, channels: 1 }, classes: 10 });
  const products = [64 * 9 * 16, 16 * 9 * 16 * 32, 4 * 9 * 32 * 64, 640];
  assert.equal(convolutional.cost({}).forward, 2 * products.reduce((a, b) => a + b));
});

test("where a block begins depends on the seed and its own inputs alone", () => {
  const of = (hidden: number[], seed = 1) =>
    visionTask({ network: { type: "mlp", hidden }, image, classes }).initial(new Rng(seed), 0);
  assert.deepEqual(of([6, 5]).slice(0, 25 * 6), of([6, 9]).slice(0, 25 * 6));
  assert.notDeepEqual(of([6, 5]), of([6, 5], 2));
  const bound = 1 / Math.sqrt(24);
  assert.ok(
    of([6, 5])
      .subarray(0, 150)
      .every((value) => Math.abs(value) <= bound),
  );
});

test("an update whose blocks did not see the images of its variant is told by block and number", () => {
  const { countProblem } = visionTask(models[0]!);
  assert.equal(countProblem!(Float64Array.of(0, 7, 7), 7, { from: 2 }), null);
  assert.equal(countProblem!(Float64Array.of(7, 7, 7), 7, { from: 2 }), "block 0 saw 7 images, expected 0");
  assert.equal(countProblem!(Float64Array.of(7, 7, 6), 7, {}), "block 2 saw 6 images, expected 7");
});

test("a budget is how many blocks train; of an ensemble, how many members", () => {
  const { budget } = visionTask(models[1]!);
  assert.equal(budget.full, 4);
  assert.deepEqual([1, 4].map(budget.variant), [{ from: 4 }, { from: 1 }]);
  const ensemble = visionTask({ network: { type: "mlp", hidden: [8] }, image, classes, narrow: 4 }).budget;
  assert.deepEqual([ensemble.full, ensemble.variant(1)], [4, { from: 1 }]);
});

test("what two norms mix is the network of the mixed gains, and rescaled layers are those of larger matrices", () => {
  const cnn = models[1]!;
  const shape = { clients: 1, rows: 3, length: 1 };
  const { inverseCount: _, learningRate: __, ...batch } = feedsOf([imagesOf(0, 3)], 3);
  const logitsOf = (model: VisionOptions, parameters: ArrayLike<number>, variant: Variant = whole) =>
    interpret(evaluationProgram(visionTask(model), variant, shape, true), { ...batch, parameters }).logits!;
  const draws = new Rng(4).at("gains").at(0);
  const double = visionTask({ ...cnn, norms: 2 });
  const both = Float64Array.from({ length: double.layout.size }, () => 2 * draws.uniform() - 1);
  const mixed = (by: number) => {
    const single = visionTask(cnn).layout;
    const start = (group: number) => double.layout.groups[group]!.ranges[0]!.start;
    return single.groups.flatMap(({ ranges: [range] }, group) => {
      const length = range!.end - range!.start;
      const block = both.slice(start(group), start(group) + length);
      if (group === single.groups.length - 1) return [...both.slice(start(group))];
      const outputs = start(group + 1) - start(group) - length;
      const second = both.slice(start(group) + length, start(group) + length + outputs);
      return [...block].map((value, i) =>
        i < length - outputs ? value : (1 - by) * value + by * second[i - length + outputs]!,
      );
    });
  };
  for (const norm of [0, 0.3, 1]) {
    assertClose(logitsOf({ ...cnn, norms: 2 }, both, { norm }), [...logitsOf(cnn, mixed(norm))], `norm ${norm}`, 1e-9);
  }
  const model = { network: { type: "mlp", hidden: [6, 4] }, image, classes, narrow: 2 } as const;
  const start = visionTask(model).initial(new Rng(1), 0);
  const [begun, head] = [visionTask({ ...model, rescale: "both" }).initial(new Rng(1), 0), 2];
  const { layout } = visionTask(model);
  const upTo = layout.groups[head]!.ranges[0]!.start;
  const times = (values: Float32Array, by: number) => values.map((value, i) => (i < upTo ? by * value : value));
  assert.deepEqual(begun, times(start, 0.5));
  const plain = [...logitsOf(model, times(start, 2))];
  assertClose(logitsOf({ ...model, rescale: "layer" }, start), plain, "rescaled", 1e-9);
  assertClose(logitsOf({ ...model, rescale: "both" }, begun), [...logitsOf(model, start)], "at the start", 1e-9);
});
