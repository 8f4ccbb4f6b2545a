/** What EmbracingFL owes: which layers a client trains, what it sends, and whom a layer listens to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round as roundOf } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { embracingfl } from "../../../src/fl/strategies/registry.ts";
import { wordsOf } from "../../../src/fl/strategies/shapes/layer-memory.ts";
import type { Strategy } from "../../../src/fl/strategy.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import type { Setting } from "../../../src/tasks/task.ts";
import { trainingStep } from "../../../src/tasks/training-step.ts";
import { visionTask } from "../../../src/tasks/vision/task.ts";
import { restingFeeds } from "../../support/llm-programs.ts";
import { close } from "../../support/method-goldens.ts";
import {
  aggregate,
  drawsOf,
  emptyMemory,
  participate,
  plainLayout,
  serverOf,
  settingOf,
  updateOf,
} from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";
import { batchNumbers, batchOf, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

const width = 10;
const layers = 4;
const activations = [900, 600, 300, 20].map((saved, at) => ({ saved, input: 64 - 9 * at, output: 55 - 9 * at }));
const setting = settingOf({ ...plainLayout(width, layers), activations }, { budgets: [1, 2, 4], clients: 3 });

const planOf = (strategy: Strategy, budget: number, examples = 1, at: Setting = setting) =>
  strategy.plan!(
    {
      client: clientId(0),
      participation: participationId(0),
      budget,
      examples,
      round: roundOf(1),
      memory: emptyMemory,
      draws: drawsOf(1),
    },
    serverOf(strategy, [], at),
    at,
  );
const firstOf = (strategy: Strategy, budget: number, examples?: number) =>
  planOf(strategy, budget, examples).kind.variant.from ?? 1;

test("a budget trains its share of the layers from the output, or as many as it is given", () => {
  assert.deepEqual(
    [1, 2, 4].map((budget) => firstOf(embracingfl(), budget)),
    [4, 3, 1],
  );
  const named = embracingfl({ layers: { 1: 2, 3: 4 } });
  assert.deepEqual(
    [1, 2, 4].map((budget) => firstOf(named, budget)),
    [3, 3, 1],
  );
  assert.deepEqual(embracingfl({ layers: { 1: 5 } }).problems!(setting), [
    { path: "layers[1]", text: "is 5, but the model has 4 layers" },
  ]);
});

test("the whole model comes down, and what was trained goes up", () => {
  for (const [budget, trained] of [
    [1, 1],
    [2, 2],
    [4, 4],
  ] as const) {
    const { bytes } = planOf(embracingfl(), budget);
    assert.deepEqual(bytes, { down: 4 * width * layers, up: 4 * width * trained });
  }
  const mixture = { topK: 4, expert: 100, rest: 7 };
  const mixed = {
    ...setting,
    layout: {
      ...setting.layout,
      mixtures: [
        { experts: [0, 1], router: 2 },
        { experts: [3], router: null },
      ],
    },
    mixture,
  };
  const { bytes, kind } = planOf(embracingfl({ downloads: "model" }), 2, 1, mixed);
  assert.deepEqual(bytes, { down: 4 * (7 + 3 * 100), up: 4 * width });
  assert.equal(kind.variant.from, 2);
});

test("a client trains the most layers that fit into its memory, more with more of it, and never more than that", () => {
  const { layout } = setting;
  const parts = activations.map((of) => ({ parameters: width, ...of }));
  for (const cache of ["disk", "memory"] as const) {
    const reckoning = { batch: 16, optimizerWords: 1, cached: cache === "memory" ? 50 : 0 };
    const all = wordsOf(parts, 0, reckoning).need;
    let before = layers;
    for (let share = 0.26; share <= 1; share += 0.02) {
      const memory = { shares: { 1: share }, batch: 16, optimizerWords: 1, cache };
      const first = (firstOf(embracingfl({ memory }), 1, 50) as number) - 1;
      assert.ok(wordsOf(parts, first, reckoning).need <= share * all + 1e-9, `layer ${first} at ${share}`);
      if (first > 0) assert.ok(wordsOf(parts, first - 1, reckoning).need > share * all);
      assert.ok(first <= before);
      before = first;
    }
    assert.equal(firstOf(embracingfl({ memory: { shares: { 1: 1 }, batch: 16, optimizerWords: 1, cache } }), 1, 50), 1);
  }
  const tight = embracingfl({ memory: { shares: { 1: 1e-6, 2: 1 } } });
  assert.match(tight.problems!(setting)[0]!.text, /leave a budget of 1 too little for the last layer alone/);
  const { activations: _, ...unknown } = layout;
  assert.match(tight.problems!({ ...setting, layout: unknown })[0]!.text, /which this task does not say/);
});

test("what never trains a layer has no say in it: each layer comes to the mean of those that train it", async () => {
  const targets = [0, 1, 2].map((client) => Array.from({ length: width * layers }, (_, i) => Math.cos(client + i)));
  const strategy = embracingfl();
  const counted = { ...setting, examples: (client: number) => 1 + client };
  let server = serverOf(strategy, new Array<number>(width * layers).fill(0), counted);
  const trains = (client: number, layer: number) => layer >= [0, 2, 3][client]!;
  for (let round = 1; round <= 120; round++) {
    const updates = targets.map((target, client) => {
      const own = { client: clientId(client), target, steps: 4, memory: emptyMemory };
      const { update } = participate(strategy, server, own, counted, round);
      const trained = Uint8Array.from({ length: layers }, (_, layer) => Number(trains(client, layer)));
      return { ...update, trained };
    });
    server = await aggregate(strategy, server, updates, counted, round);
  }
  const expected = targets[0]!.map((_, i) => {
    const heard = [0, 1, 2].filter((client) => trains(client, Math.floor(i / width)));
    const total = heard.reduce((sum, client) => sum + 1 + client, 0);
    return heard.reduce((sum, client) => sum + ((1 + client) / total) * targets[client]![i]!, 0);
  });
  // 0.9⁴⁸⁰ of the way is left, and parameters are float32.
  close(server.parameters, expected, 1e-6);
});

test("without clients that train them, layers stay bit for bit", async () => {
  const strategy = embracingfl();
  const base = Float32Array.from({ length: width * layers }, (_, i) => Math.sin(i));
  const update = updateOf(
    base,
    base.map((value) => value + 1),
    { trained: Uint8Array.of(0, 0, 1, 1) },
  );
  const { parameters } = await aggregate(strategy, serverOf(strategy, base, setting), [update], setting);
  assert.deepEqual(parameters.slice(0, 2 * width), base.slice(0, 2 * width));
  assert.notDeepEqual(parameters.slice(2 * width), base.slice(2 * width));
});

test("a language model from layer q on: gradients above are the whole model's, below nothing moves, decay included", () => {
  const lora = { rank: 2, alpha: 3 };
  const task = llmTask({ config: smallModel, lora, form: "factored" });
  const shape = { clients: 1, rows: 2, length: 8 };
  const rows = [
    [3, 1, 4, 1, 5, 9, 2],
    [6, 5, 3, 5, 8],
  ];
  const feeds = {
    ...restingFeeds(task.adapter),
    ...batchNumbers(batchOf(rows, 8), smallModel.experts),
    parameters: randomAdapter(task.adapter, 3),
    personal: [1.25, 0.75],
    decay: [0.9],
  };
  const weights = Object.fromEntries(randomWeights(smallModel));
  const options = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: true };
  const strategy = embracingfl();
  const small = settingOf(task.layout, { variant: (topK) => ({ topK }), budgets: [1, 2] });
  const stepAt = (variant: { topK: number; from?: number }) =>
    trainingStep(task, variant, shape, options, strategy.steps!({ variant }, small));
  const [whole, upper] = [stepAt({ topK: 2 }), stepAt({ topK: 2, from: 2 })];
  const [a, b] = [whole, upper].map((program) => interpret(program, feeds, weights));
  const half = task.layout.size / 2;
  const gradient = (out: typeof a) => [...out!.parametersMean!];
  assert.deepEqual(gradient(b).slice(half), gradient(a).slice(half));
  assert.ok(
    gradient(a)
      .slice(0, half)
      .some((g) => g !== 0),
  );
  assert.deepEqual([...b!.parameters!].slice(0, half), [...feeds.parameters].slice(0, half));
  assert.notDeepEqual([...b!.parameters!].slice(half), [...feeds.parameters].slice(half));
  assert.equal(b!.personalMean![0], 0);
  assert.equal(b!.personalMean![1], a!.personalMean![1]);
});

test("training from kept outputs of the layers below is training the whole model with these frozen", () => {
  const image = { height: 3, width: 2, channels: 1 };
  const whole = visionTask({ network: { type: "mlp", hidden: [5, 4] }, image, classes: 3 });
  // The same from the second layer on, whose input is what the first puts out.
  const upper = visionTask({
    network: { type: "mlp", hidden: [4] },
    image: { height: 1, width: 5, channels: 1 },
    classes: 3,
  });
  const shape = { clients: 1, rows: 3, length: 1 };
  const options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: false, decay: false };
  const start = whole.initial(new Rng(1), 0);
  const rest = whole.layout.size - upper.layout.size;
  const batch = { padding: [0, 0, 0], positions: [0, 1, 2], targets: [0, 2, 1], inverseCount: [1 / 3] };
  const x = Array.from({ length: 18 }, (_, i) => Math.sin(i));
  const kept = [0, 1, 2].flatMap((row) =>
    Array.from({ length: 5 }, (_, o) => {
      const sum = [0, 1, 2, 3, 4, 5].reduce((z, i) => z + x[6 * row + i]! * start[5 * i + o]!, start[30 + o]!);
      return sum / (1 + Math.exp(-sum));
    }),
  );
  const steps = embracingfl().steps!({ variant: { from: 2 } }, settingOf(whole.layout));
  const programs = [
    trainingStep(whole, { from: 2 }, shape, options, { ...steps, optimizer: "sgd" }),
    trainingStep(upper, {}, shape, options, { optimizer: "sgd" }),
  ] as const;
  let [all, part]: ArrayLike<number>[] = [start, start.slice(rest)];
  for (let step = 0; step < 4; step++) {
    all = interpret(programs[0], { ...batch, x, parameters: all!, learningRate: [0.3] }).parameters!;
    part = interpret(programs[1], { ...batch, x: kept, parameters: part!, learningRate: [0.3] }).parameters!;
  }
  assert.deepEqual(Array.from(all!).slice(0, rest), [...start].slice(0, rest));
  close(Array.from(all!).slice(rest), Array.from(part!), 1e-12);
});

test("a network says what its layers keep and put out: memory decides how many train", () => {
  const { layout } = visionTask({
    network: { type: "mlp", hidden: [256, 256] },
    image: { height: 8, width: 8, channels: 1 },
    classes: 10,
  });
  assert.deepEqual(layout.activations, [
    { input: 64, output: 256, saved: 320 },
    { input: 256, output: 256, saved: 512 },
    { input: 256, output: 10, saved: 266 },
  ]);
  const strategy = embracingfl({ memory: { shares: { 1: 0.15, 2: 0.85, 3: 1 } } });
  const digits = settingOf(layout, { budgets: [1, 2, 3] });
  // Nearly all parameters are the middle layer's; with a ninth of the memory it cannot even pass by.
  assert.deepEqual(strategy.problems!(digits)[0]!.path, "memory.shares");
  const first = [2, 3].map((budget) => planOf(strategy, budget, 1, digits).kind.variant.from ?? 1);
  assert.deepEqual(first, [2, 1]);
});
