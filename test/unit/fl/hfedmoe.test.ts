/** HFedMoE: what its scores mean, what a batch moves, and who is heard in a merge. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { Rng } from "../../../src/base/random.ts";
import { bestOf, expertScores } from "../../../src/fl/experts/scores.ts";
import { hfedmoe } from "../../../src/fl/strategies/hfedmoe.ts";
import type { Update } from "../../../src/fl/update.ts";
import type { LoraConfig } from "../../../src/model/adapter.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import { TaskPrograms } from "../../../src/tasks/programs.ts";
import { stepOptionsOf } from "../../../src/tasks/training-step.ts";
import { OnnxExecutor } from "../../../src/tensor/executors/onnx.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { LlmEngine } from "../../support/llm-engine.ts";
import { aggregate, serverOf, settingOf, updateOf } from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";
import { batchOf, prepared, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

/** Rows that sum to 1. */
const probabilities = (tokens: number, experts: number, seed: number): number[][] => {
  const draws = new Rng(seed).at("router").at(0);
  return Array.from({ length: tokens }, () => {
    const row = Array.from({ length: experts }, () => Math.exp(2 * draws.normal()));
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((value) => value / sum);
  });
};

function scoresOf(g: readonly (readonly number[])[], lambda = 0.5, present = g.map(() => 1)) {
  const graph = new Graph();
  const inputs = {
    g: graph.input("g", "float32", [g.length, g[0]!.length]),
    present: graph.input("present", "float32", [g.length, 1]),
  };
  const outputs = { ...expertScores(inputs.g, inputs.present, lambda) };
  return interpret({ name: "scores", inputs, outputs }, { g: g.flat(), present }) as Record<
    keyof typeof outputs,
    Float64Array
  >;
}

function chosen(score: readonly number[], most: number, used = score.map(() => 1)): number[] {
  const graph = new Graph();
  const inputs = {
    score: graph.input("score", "float32", [score.length]),
    used: graph.input("used", "float32", [score.length]),
  };
  const { best } = interpret(
    { name: "best", inputs, outputs: { best: bestOf(inputs.score, inputs.used, most) } },
    { score, used },
  );
  return [...best!.keys()].filter((expert) => best![expert] === 1);
}

test("what an expert's choice says about the token is never negative, and nothing where it is always the same", () => {
  const law = fc.property(
    fc.integer({ min: 2, max: 9 }),
    fc.integer({ min: 2, max: 6 }),
    fc.nat(),
    (tokens, experts, seed) => {
      const { redundancy } = scoresOf(probabilities(tokens, experts, seed));
      assert.ok(redundancy.every((kl) => kl > 0));
      // Mutual information of expert and token.
      const sum = redundancy.reduce((a, b) => a + b, 0);
      assert.ok(sum <= Math.min(Math.log(experts), Math.log(tokens)) + 1e-12);
    },
  );
  fc.assert(law, { numRuns: 50 });
  const even = scoresOf([
    [0.25, 0.75, 0],
    [0.25, 0.75, 0],
  ]);
  assert.deepEqual([...even.redundancy], [0, 0, 0]);
});

test("with one expert a token it is the entropy of a choice, and padding is no token", () => {
  const oneHot = [
    [1, 0],
    [1, 0],
    [0, 1],
    [1, 0],
    [0, 1],
  ];
  const { redundancy, importance } = scoresOf(oneHot, 0.5, [1, 1, 1, 1, 0]);
  for (const [e, share] of [3 / 4, 1 / 4].entries()) {
    assert.ok(Math.abs(redundancy[e]! + share * Math.log(share)) < 1e-12);
    assert.ok(Math.abs(importance[e]! - (0.5 * share + 0.5)) < 1e-12);
  }
});

test("λ says whether the most used expert is important or the one that is most sure, β whether the input matters", () => {
  // Expert 0 is used evenly, expert 1 by one token alone, expert 2 by whatever is left.
  const g = [
    [0.5, 0, 0.5],
    [0.5, 0, 0.5],
    [0.5, 0, 0.5],
    [0.1, 0.9, 0],
  ];
  assert.deepEqual(chosen([...scoresOf(g, 1).importance], 1), [0]);
  assert.deepEqual(chosen([...scoresOf(g, 0).importance], 1), [1]);
  const steady = [
    [0.2, 0.8, 0],
    [0.2, 0, 0.8],
    [0.2, 0.8, 0],
    [0.2, 0, 0.8],
  ];
  const { importance, redundancy } = scoresOf(steady);
  assert.notDeepEqual(chosen([...importance], 1), [0]);
  assert.deepEqual(chosen([...importance.map((s, e) => s - 10 * redundancy[e]!)], 1), [0]);
});

test("the chosen experts have the largest sum there is among those that are used", () => {
  const draws = new Rng(8).at("scores").at(0);
  for (let round = 0; round < 20; round++) {
    const score = Array.from({ length: 10 }, () => draws.normal());
    const used = score.map(() => Number(draws.bernoulli(0.7)));
    const sum = (own: readonly number[]) => own.reduce((total, e) => total + score[e]!, 0);
    const candidates = [...used.keys()].filter((e) => used[e] === 1);
    const three = candidates.flatMap((a, i) =>
      candidates.slice(i + 1).flatMap((b, j) => candidates.slice(i + j + 2).map((c) => [a, b, c])),
    );
    const best = three.length === 0 ? sum(candidates) : Math.max(...three.map(sum));
    assert.ok(Math.abs(sum(chosen(score, 3, used)) - best) < 1e-12);
  }
  assert.deepEqual(chosen([1, 1, 1], 2), [0, 1], "ties go to the lower index");
  assert.deepEqual(chosen([1, 2, 3], 0), []);
});

const config = smallModel;
const lora: LoraConfig = { rank: 2, alpha: 3 };
const task = llmTask({ config, lora, form: "merged", shape: { routers: true } });
const experts = config.layers * config.experts;
const setting = settingOf(task.layout, { mixture: { topK: config.topK, expert: 1, rest: 1 } });
const optimizer = {
  learningRate: 1e-2,
  personalLearningRate: 0,
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
      [9, 7, 12, 3],
      [6, 2, 10, 4],
    ],
    8,
  ),
];

let weights: Awaited<ReturnType<typeof prepared>>;
let engine: LlmEngine;
before(async () => {
  weights = await prepared(config, randomWeights(config));
  engine = new LlmEngine(new OnnxExecutor(), weights, lora, { form: "merged", shape: { routers: true } });
});
after(() => {
  engine.dispose();
  weights.cleanUp();
});

/** @param active how many experts a batch may train; null for all there are, without the method */
async function train(active: number | null, used = batches) {
  const kind = { variant: { topK: 2 }, active: active ?? 0 };
  const steps = active === null ? {} : hfedmoe().steps!(kind, setting);
  const programs = new TaskPrograms(task);
  const shape = { clients: 1, rows: 2, length: 8 };
  const key = JSON.stringify(active);
  const adapter = randomAdapter(task.adapter, 1);
  const after = programs.probes(kind.variant, shape, key, "after", steps);
  const method = {
    program: () => programs.step(kind.variant, shape, stepOptionsOf(optimizer), key, steps),
    after,
    inputs: {},
  };
  const job = {
    parameters: adapter,
    personal: Float32Array.of(1, 1),
    variant: { topK: 2 },
    batches: used,
    optimizer,
    method,
  };
  const [result] = await engine.trainCohort([job]);
  return { start: adapter, ...result! };
}

const partOf = (values: Float32Array, group: number): number[] =>
  task.layout.groups[group]!.ranges.flatMap(({ start, end }) => [...values.subarray(start, end)]);

test("experts that are not active keep every bit, and the others and the routers move as if all did", async () => {
  const [first] = batches;
  const free = await train(null, [first!]);
  const few = await train(3, [first!]);
  const active = [...few.found.active!.keys()].filter((e) => few.found.active![e] === 1);
  assert.equal(active.length, 3);
  for (const group of task.layout.groups.keys()) {
    const moves = group >= experts || active.includes(group);
    // Bit for bit: the gradient passes through what rests.
    assert.deepEqual(
      partOf(few.parameters, group),
      partOf(moves ? free.parameters : few.start, group),
      `group ${group}`,
    );
  }
});

test("a budget for all experts is plain training of all that tokens reach, and one for none trains routers", async () => {
  const [all, none, free] = [await train(experts), await train(0), await train(null)];
  const reached = [...free.counts.keys()].filter((group) => group < experts && free.counts[group]! > 0);
  assert.deepEqual(
    [...all.found.active!.keys()].filter((e) => all.found.active![e]! > 0),
    reached,
  );
  assert.deepEqual(none.found.active, new Float64Array(experts));
  for (let group = 0; group < experts; group++)
    assert.deepEqual(partOf(none.parameters, group), partOf(none.start, group));
  assert.notDeepEqual(partOf(none.parameters, experts), partOf(none.start, experts));
});

test("what a client says of its experts is their mean over its tokens and over its batches", async () => {
  const { found, units: tokens } = await train(4);
  assert.equal(found.tokens![0], tokens);
  for (let layer = 0; layer < config.layers; layer++) {
    const own = found.usage!.subarray(layer * config.experts, (layer + 1) * config.experts);
    // Router probabilities of a token sum to 1; float32.
    assert.ok(Math.abs(own.reduce((a, b) => a + b, 0) - tokens) < 1e-4);
  }
  const trained = Uint8Array.from(task.layout.groups, () => 1);
  const reply = hfedmoe().reply!(
    { found, trained, steps: 2 } as never,
    undefined as never,
    undefined as never,
    setting,
  );
  assert.deepEqual(
    reply.sent!.usage,
    found.usage!.map((sum) => sum / tokens),
  );
  assert.deepEqual(
    reply.sent!.importance,
    found.importance!.map((sum) => sum / 2),
  );
  assert.deepEqual([...reply.trained!], [...found.active!].map((times) => Number(times > 0)).concat(1, 1));
});

/** Two experts and a router of two rows, one number each. */
const small = {
  size: 4,
  groups: [0, 1]
    .map((e) => ({ name: `expert ${e}`, ranges: [{ start: e, end: e + 1 }] }))
    .concat({
      name: "router",
      ranges: [{ start: 2, end: 4 }],
    }),
  pairs: [],
  mixtures: [{ experts: [0, 1], router: 2 }],
};
const of = (values: number[], usage: number[], given: Partial<Update> = {}) =>
  updateOf([1, 1, 1, 1], values, {
    plan: { kind: { variant: {} }, notes: { tau: 0.25 } },
    sent: { usage: Float64Array.from(usage), importance: Float64Array.of(0.5, 0.5) },
    ...given,
  });
const merge = async (strategy: ReturnType<typeof hfedmoe>, updates: readonly Update[]) => {
  const setting = settingOf(small, { mixture: { topK: 1, expert: 1, rest: 1 } });
  return [...(await aggregate(strategy, serverOf(strategy, [1, 1, 1, 1], setting), updates, setting)).parameters];
};

test("an expert is that of the clients who use it: several average, one is copied, none leaves it", async () => {
  const two = [of([2, 5, 1, 1], [0.75, 0.25], { examples: 3 }), of([4, 9, 1, 1], [0.76, 0.24])];
  assert.deepEqual((await merge(hfedmoe(), two)).slice(0, 2), [(3 * 2 + 4) / 4, 5]);
  assert.deepEqual((await merge(hfedmoe(), [of([4, 9, 1, 1], [0.76, 0.24])])).slice(0, 2), [4, 1]);
});

test("used is not trained, unless that is asked for", async () => {
  const idle = of([1, 3, 1, 1], [0.5, 0.5], { trained: Uint8Array.of(0, 1, 1) });
  const busy = of([5, 5, 1, 1], [0.5, 0.5]);
  assert.deepEqual((await merge(hfedmoe(), [idle, busy])).slice(0, 2), [5, 4]);
  assert.deepEqual((await merge(hfedmoe({ participation: "usage" }), [idle, busy])).slice(0, 2), [3, 4]);
});

test("routers that all clients agree on stay, unless weights are left as printed", async () => {
  const same = [of([1, 1, 3, 5], [0.8, 0.2]), of([1, 1, 3, 5], [0.5, 0.5])];
  assert.deepEqual((await merge(hfedmoe(), same)).slice(2), [3, 5]);
  // a = (0.8·0.5, 0.5·0.5 + 0.5·0.5) ÷ 2 experts that anybody uses.
  const sum = (0.4 + 0.5) / 2;
  const printed = (await merge(hfedmoe({ normalise: false }), same)).slice(2);
  assert.deepEqual(printed, [Math.fround(3 * sum), Math.fround(5 * sum)]);
  const nobody = [of([1, 1, 3, 5], [0.2, 0.2])];
  for (const normalise of [true, false])
    assert.deepEqual((await merge(hfedmoe({ normalise }), nobody)).slice(2), [1, 1]);
});

test("row by row, a router listens to those who use the row's expert", async () => {
  const rows = await merge(hfedmoe({ routerWeights: "row" }), [
    of([1, 1, 3, 5], [0.8, 0.2]),
    of([1, 1, 7, 9], [0.4, 0.6]),
  ]);
  // Weights 0.8·0.5 and 0.4·0.5 in the first row; the second is the second client's alone. Float32.
  assert.deepEqual(rows.slice(2), [Math.fround((0.4 * 3 + 0.2 * 7) / 0.6), 9]);
});

test("a budget is a share of all experts, and an upload carries two numbers an expert", () => {
  const plan = (budget: number, options = {}) =>
    hfedmoe(options).plan!({ budget } as never, undefined as never, setting);
  assert.deepEqual(
    [1, 2, 3, 6].map((budget) => plan(budget).kind.active),
    [4, 8, 12, 12],
  );
  assert.equal(plan(1, { budgets: { 1: 0.5 } }).kind.active, 6);
  assert.equal(plan(1).bytes!.up, 4 * (task.layout.size + 2 * experts));
  assert.equal((plan(1).notes as { tau: number }).tau, 0.5 / config.experts);
});
