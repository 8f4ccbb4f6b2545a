/** A dense model cut into experts, in float64 on the plain interpreter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { readMe } from "../../../src/fl/strategies/read-me/read-me.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import { routerSize } from "../../../src/tasks/refactor/masks.ts";
import { type RefactorOptions, refactorTask } from "../../../src/tasks/refactor/task.ts";
import { inOrder } from "../../../src/tasks/steps.ts";
import type { Variant } from "../../../src/tasks/task.ts";
import { evaluationProgram, probeProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { settingOf } from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";
import { batchNumbers, batchOf, randomWeights, smallModel } from "../../support/small-model.ts";

const config = { ...smallModel, experts: 1, expertWidth: 6, topK: 1 };
const { layers, expertWidth: channels } = config;
const options: RefactorOptions = {
  config,
  experts: 3,
  active: 1,
  share: 0.5,
  combine: "union",
  router: { blocks: 1, heads: 2, hidden: 4 },
};
const weights = Object.fromEntries(randomWeights(config));
const shape = { rows: 2, length: 8 };
const rows = [
  [3, 1, 4, 1, 5, 9, 2],
  [6, 5, 3, 5, 8],
];
const feeds = batchNumbers(batchOf(rows, 8), 1);

const task = refactorTask(options);
const router = task.initial(new Rng(1), 0).slice(0, routerSize(task.layout));

/** Masks of the experts, layer after layer. */
const masks = [
  [1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0],
  [1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 0],
  [0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1],
];
const parametersWith = (of: readonly (readonly number[])[]) => Float32Array.from([...router, ...of.flat()]);
const cut = parametersWith(masks);

const evaluated = (variant: Variant, parameters = cut, given: Partial<RefactorOptions> = {}) =>
  interpret(
    evaluationProgram(refactorTask({ ...options, ...given }), variant, shape, true),
    { ...feeds, parameters },
    weights,
  );

test("before it is cut, the model is the dense one, and that is a mixture of one expert", () => {
  const dense = llmTask({ config, lora: { rank: 1, alpha: 1 }, form: "factored" });
  const mixture = interpret(
    evaluationProgram(dense, { topK: 1 }, shape, true),
    { ...feeds, parameters: new Float32Array(dense.layout.size), personal: new Float32Array(layers).fill(1) },
    weights,
  );
  near(evaluated({ slots: 0 }).logits!, mixture.logits!, 1e-12);
  const uncut = parametersWith(masks.map((mask) => mask.map(() => 1)));
  for (const variant of [
    { slots: 3, active: 1 },
    { slots: 3, active: 2 },
    { slots: 1, active: 1 },
  ]) {
    for (const combine of ["union", "sum"] as const) {
      near(evaluated(variant, uncut, { combine }).logits!, mixture.logits!, 1e-12);
    }
  }
});

test("an expert is the smaller model of the rows and columns that it keeps", () => {
  const [expert] = masks;
  const kept = (layer: number) => [...range(channels)].filter((channel) => expert![layer * channels + channel] === 1);
  const small = { ...config, expertWidth: 3 };
  const sliced: Record<string, ArrayLike<number>> = { ...weights };
  for (const layer of range(layers)) {
    const columns = kept(layer);
    const gateUp = weights[`layers.${layer}.gateUp`]!;
    const down = weights[`layers.${layer}.down`]!;
    sliced[`layers.${layer}.gateUp`] = range(config.width).flatMap((row) =>
      [0, 1].flatMap((half) => columns.map((column) => gateUp[row * 2 * channels + half * channels + column]!)),
    );
    sliced[`layers.${layer}.down`] = columns.flatMap((row) =>
      range(config.width).map((column) => down[row * config.width + column]!),
    );
  }
  const alone = refactorTask({ ...options, config: small });
  const parameters = new Float32Array(alone.layout.size).fill(1);
  parameters.set(router);
  const model = interpret(evaluationProgram(alone, { slots: 0 }, shape, true), { ...feeds, parameters }, sliced);
  near(evaluated({ slots: 1, active: 1 }).logits!, model.logits!, 1e-12);
});

test("one choice serves all layers, and what comes later in a text does not change it", () => {
  const choices = (ids: ArrayLike<number>) => {
    const graph = new Graph();
    const parameters = graph.input("parameters", "float32", [task.layout.size]);
    const pass = task.pass(graph, { parameters, personal: null }, { slots: 3, active: 1 }, { clients: 1, ...shape });
    assert.equal(pass.routers!.length, 1);
    const program = { name: "router", inputs: { parameters, ...pass.batch }, outputs: { g: pass.routers![0]!.logits } };
    return interpret(program, { ...feeds, ids, parameters: cut }, weights).g!;
  };
  const before = choices(feeds.ids);
  const changed = Int32Array.from(feeds.ids, (id, at) => (at % 8 > 3 ? (id + 5) % config.vocabulary : id));
  const after = choices(changed);
  for (const at of range(2 * 8)) {
    const [a, b] = [before, after].map((g) => [...g.subarray(3 * at, 3 * at + 3)]);
    if (at % 8 > 3) assert.notDeepEqual(a, b);
    else assert.deepEqual(a, b);
  }
});

test("a device with fewer slots has the experts of the lowest numbers, and counts what it uses", () => {
  for (const slots of [1, 2, 3]) {
    const counts = [...evaluated({ slots, active: Math.min(2, slots) }).counts!];
    assert.equal(counts.pop(), 7 + 5, "every token passes the router");
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      12 * Math.min(2, slots),
    );
    for (const expert of range(3)) if (expert >= slots) assert.equal(counts[expert], 0);
  }
  assert.deepEqual(task.budget.variant(1), { slots: 1, active: 1 });
  assert.deepEqual(refactorTask({ ...options, active: 2 }).budget.variant(3), { slots: 3, active: 2 });
});

test("two experts together keep what either keeps, or are weighted by how probable they are", () => {
  const two = { slots: 2, active: 2 };
  const union = masks[0]!.map((bit, at) => Math.max(bit, masks[1]![at]!));
  near(
    evaluated(two).logits!,
    evaluated({ slots: 1, active: 1 }, parametersWith([union, union, union])).logits!,
    1e-12,
  );
  // A router that prefers neither: its output matrix, which lies behind the embeddings, is 0.
  const even = parametersWith(masks);
  const head = config.vocabulary * config.width;
  even.fill(0, head, head + 3 * config.width);
  const half = masks[0]!.map((bit, at) => (bit + masks[1]![at]!) / 2);
  near(
    evaluated(two, even, { combine: "sum" }).logits!,
    evaluated({ slots: 1, active: 1 }, parametersWith([half, half, half])).logits!,
    1e-12,
  );
});

const setting = settingOf(task.layout);
const stepOptions = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };

test("what a client measures are the sums of |act| over its tokens, padding left out", () => {
  const steps = readMe().steps!({ variant: { slots: 0 }, part: "measure" }, setting);
  const program = probeProgram(task, { slots: 0 }, { clients: 1, ...shape }, steps, inOrder(steps.before)[0]!);
  const found = interpret(program, { ...feeds, parameters: cut }, weights);
  const graph = new Graph();
  const parameters = graph.input("parameters", "float32", [task.layout.size]);
  const pass = task.pass(graph, { parameters, personal: null }, { slots: 0 }, { clients: 1, ...shape });
  const outputs = Object.fromEntries(pass.channels!().map((act, layer) => [layer, act]));
  const act = interpret(
    { name: "act", inputs: { parameters, ...pass.batch }, outputs },
    { ...feeds, parameters: cut },
    weights,
  );
  const sums = range(layers).flatMap((layer) =>
    range(channels).map((channel) =>
      [...range(7), ...range(5).map((at) => 8 + at)].reduce(
        (sum, at) => sum + Math.abs(act[layer]![at * channels + channel]!),
        0,
      ),
    ),
  );
  near(found.activity!, sums, 1e-12);
  assert.deepEqual([...found.tokens!], [12]);
});

test("the router descends along the slope of its divergence, for either target, and masks rest", () => {
  for (const target of ["share", "ranks"] as const) {
    const steps = readMe({ target }).steps!({ variant: { slots: 0 }, part: "route" }, setting);
    const rests = {
      parametersMean: new Float32Array(task.layout.size),
      parametersVariance: new Float32Array(task.layout.size),
    };
    const step = trainingStep(task, { slots: 0 }, { clients: 1, ...shape }, stepOptions, {
      ...steps,
      tallies: (at) => ({ objective: steps.objective!(at) }),
    });
    const ones = { learningRate: [1], correction1: [1], correction2: [1] };
    const at = (parameters: ArrayLike<number>, program = step) =>
      interpret(program, { ...feeds, ...rests, ...ones, parameters }, weights);
    const out = at(cut);
    const gradient = out.parametersMean!;
    const tally = Object.keys(step.outputs).find((name) => name.endsWith("objective"))!;
    const tallyAlone = { ...step, outputs: { [tally]: step.outputs[tally]! } };
    for (const i of [9, 130, 200, 300, router.length - 1]) {
      const h = 1e-5;
      const shifted = (by: number) =>
        at(
          Float64Array.from(cut, (value, j) => (j === i ? value + by : value)),
          tallyAlone,
        )[tally]![0]!;
      const slope = (shifted(h) - shifted(-h)) / (2 * h);
      assert.ok(Math.abs(gradient[i]! - slope) < 1e-8, `${target}, ${i}: ${gradient[i]} and ${slope}`);
    }
    assert.deepEqual([...out.parameters!.subarray(router.length)], masks.flat());
    assert.ok(gradient.some((g) => g !== 0));
  }
});

test("a router agrees where it chose the expert that covers most of what the dense model does", () => {
  const graph = new Graph();
  const parameters = graph.input("parameters", "float32", [task.layout.size]);
  const pass = task.pass(graph, { parameters, personal: null }, { slots: 2, active: 1 }, { clients: 1, ...shape });
  const acts = Object.fromEntries(pass.channels!().map((act, layer) => [`act${layer}`, act]));
  const outputs = { ...acts, g: pass.routers![0]!.logits, agreed: pass.agreed!() };
  const program = { name: "agreed", inputs: { parameters, ...pass.batch }, outputs };
  const out = interpret(program, { ...feeds, parameters: cut }, weights);
  const wanted = range(2 * 8).map((at) => {
    const covered = [0, 1].map((expert) =>
      range(layers).reduce((sum, layer) => {
        const act = [...out[`act${layer}`]!.subarray(at * channels, (at + 1) * channels)].map(Math.abs);
        const inside = act.filter((_, channel) => masks[expert]![layer * channels + channel] === 1);
        return sum + total(inside) / total(act);
      }, 0),
    );
    return Number(out.g![3 * at]! >= out.g![3 * at + 1]! === covered[0]! >= covered[1]!);
  });
  assert.deepEqual([...out.agreed!], wanted);
  assert.ok(wanted.includes(0) && wanted.includes(1));
});

test("two clients in one step learn what each learns alone", () => {
  const variant = { slots: 2, active: 2 };
  const weighted = refactorTask({ ...options, combine: "sum" });
  const other = batchNumbers(
    batchOf(
      [
        [1, 2, 3],
        [4, 5, 6, 7, 8, 9, 10],
      ],
      8,
    ),
    1,
  );
  const parameters = [cut, weighted.initial(new Rng(2), 0)];
  const step = (clients: number) => trainingStep(weighted, variant, { clients, ...shape }, stepOptions);
  const feedsOf = (all: readonly ArrayLike<number>[], batch: Readonly<Record<string, ArrayLike<number>>>) => ({
    ...batch,
    parameters: all.flatMap((one) => [...Array.from(one)]),
    parametersMean: new Float32Array(all.length * task.layout.size),
    parametersVariance: new Float32Array(all.length * task.layout.size),
    learningRate: all.map(() => 1),
    correction1: [1],
    correction2: [1],
  });
  const alone = [feeds, other].map((batch, at) => interpret(step(1), feedsOf([parameters[at]!], batch), weights));
  const together = interpret(
    step(2),
    feedsOf(parameters, {
      ids: [...feeds.ids, ...other.ids],
      padding: [...feeds.padding, ...other.padding],
      positions: [...feeds.positions, ...Array.from(other.positions, (at) => at + 16)],
      targets: [...feeds.targets, ...other.targets],
      inverseCount: [feeds, other].flatMap(({ targets, inverseCount }) => Array.from(targets, () => inverseCount[0]!)),
    }),
    weights,
  );
  near(
    together.parametersMean!,
    alone.flatMap((one) => [...one.parametersMean!]),
    1e-12,
  );
  const groups = task.layout.groups.length;
  assert.deepEqual(
    [...together.counts!],
    range(groups).flatMap((group) => alone.map(({ counts }) => counts![group]!)),
  );
});

test("work is charged by formula: what an expert keeps, and the router's own", () => {
  const d = config.width;
  const chosen = (kept: number) => 2 * (layers * (4 * d * d + 3 * d * kept) + d * config.vocabulary);
  const own = 2 * (4 * d * d + 3 * d * 4 + d * 3);
  assert.deepEqual(task.cost({ slots: 2, active: 1 }), { training: 2 * chosen(3) + 3 * own, forward: chosen(3) + own });
  assert.deepEqual(task.cost({ slots: 0 }), { training: chosen(6) + 3 * own, forward: chosen(6) + own });
});

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

const range = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

function near(got: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  assert.equal(got.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    assert.ok(
      Math.abs(got[i]! - expected[i]!) <= tolerance * Math.max(1, Math.abs(expected[i]!)),
      `${i}: ${got[i]}, expected ${expected[i]}`,
    );
  }
}

test("experts descend the loss in the gains of the channels that they keep, those without a slot and all else rest", () => {
  const both = { combine: "sum", active: 2 } as const;
  const variant = { slots: 2, active: 2, gains: 1, trains: "experts" };
  const taught = refactorTask({ ...options, ...both });
  const steps = readMe({ alternate: { router: 1, experts: 1 } }).steps!({ variant, part: "experts" }, setting);
  const step = trainingStep(taught, variant, { clients: 1, ...shape }, stepOptions, steps);
  const gains = cut.map((value, i) => (i < router.length ? value : value * (1 + 0.3 * Math.sin(i))));
  const rests = {
    parametersMean: new Float32Array(task.layout.size),
    parametersVariance: new Float32Array(task.layout.size),
  };
  const ones = { learningRate: [1], correction1: [1], correction2: [1], start: gains };
  const at = (parameters: ArrayLike<number>, program = step) =>
    interpret(program, { ...feeds, ...rests, ...ones, parameters }, weights);
  const out = at(gains);
  const lossAlone = { ...step, outputs: { loss: step.outputs.loss! } };
  const held = router.length + 2 * layers * channels;
  const h = 1e-5;
  for (const [i, gain] of gains.entries()) {
    const moves = i >= router.length && i < held && gain !== 0;
    assert.equal(out.parameters![i] !== gain, moves && out.parametersMean![i] !== 0, `parameter ${i}`);
    if (!moves) continue;
    const shifted = (by: number) =>
      at(
        Float64Array.from(gains, (value, j) => (j === i ? value + by : value)),
        lossAlone,
      ).loss![0]!;
    const slope = (shifted(h) - shifted(-h)) / (2 * h);
    assert.ok(Math.abs(out.parametersMean![i]! - slope) < 1e-8, `${i}: ${out.parametersMean![i]} and ${slope}`);
  }
  // Gains of 1 are the masks, however experts add up.
  for (const combine of ["union", "sum"] as const) {
    const plain = evaluated({ slots: 3, active: 2 }, cut, { combine }).logits!;
    near(evaluated({ slots: 3, active: 2, gains: 1 }, cut, { combine }).logits!, plain, 1e-12);
  }
});
