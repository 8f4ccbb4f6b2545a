/** Routers that train, and experts that a client does not have, in float64 on the plain interpreter. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import type { LoraConfig } from "../../../src/model/adapter.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import { evaluationProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import { restingFeeds } from "../../support/llm-programs.ts";
import { assertAsAlone, mergedFeeds, near } from "../../support/merged-step.ts";
import { interpret } from "../../support/reference.ts";
import { batchNumbers, batchOf, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

const config = smallModel;
const { layers, experts, width } = config;
const lora: LoraConfig = { rank: 2, alpha: 3 };
const shape = { clients: 1, rows: 2, length: 8 };
const plain = llmTask({ config, lora, form: "factored" });
const routed = llmTask({ config, lora, form: "factored", shape: { routers: true } });
const weights = randomWeights(config);
const batch = batchOf(
  [
    [3, 1, 4, 1, 5, 9, 2],
    [6, 5, 3, 5, 8],
  ],
  8,
);
const tokens = 7 + 5;
const personal = Array.from({ length: layers }, () => 1.25);
const feeds = { ...batchNumbers(batch, experts), personal };

/** The experts' factors, then a small change of every router. */
const parameters = Float64Array.from(randomAdapter(routed.adapter, 3));
const draws = new Rng(4).at("routers").at(0);
for (let i = plain.layout.size; i < parameters.length; i++) parameters[i] = 0.2 * draws.normal();
const factors = parameters.subarray(0, plain.layout.size);
const ofWeights = (map: ReadonlyMap<string, ArrayLike<number>>) => Object.fromEntries(map);

test("a router's change lies behind the factors, a group a layer, and begins at nothing", () => {
  assert.equal(routed.layout.size, plain.layout.size + layers * experts * width);
  assert.deepEqual(
    routed.layout.groups.slice(layers * experts).map(({ name }) => name),
    ["layer 0, router", "layer 1, router"],
  );
  assert.deepEqual(routed.layout.groups.slice(0, layers * experts), plain.layout.groups);
});

test("a router with its change is the router with other weights", () => {
  const changed = new Map<string, ArrayLike<number>>(weights);
  for (let layer = 0; layer < layers; layer++) {
    const name = `layers.${layer}.router`;
    const router = Float64Array.from(weights.get(name)!);
    const change = parameters.subarray(routed.adapter.routers[layer]!.start, routed.adapter.routers[layer]!.end);
    for (let e = 0; e < experts; e++) {
      for (let d = 0; d < width; d++) router[d * experts + e]! += change[e * width + d]!;
    }
    changed.set(name, router);
  }
  const program = evaluationProgram(routed, { topK: 2 }, shape);
  const out = interpret(program, { ...feeds, parameters }, ofWeights(weights));
  const expected = interpret(
    evaluationProgram(plain, { topK: 2 }, shape),
    { ...feeds, parameters: factors },
    ofWeights(changed),
  );
  near(out.losses!, expected.losses!, 1e-12);
  assert.deepEqual(out.counts!.subarray(0, layers * experts), expected.counts);
  assert.deepEqual([...out.counts!.subarray(layers * experts)], [tokens, tokens], "a router is used by every token");
});

test("the gradient of a router's change is the slope of the loss", () => {
  const options = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };
  const step = trainingStep(routed, { topK: 2 }, shape, options);
  const at = (values: Float64Array) =>
    interpret(step, { ...feeds, ...restingFeeds(routed.adapter), parameters: values }, ofWeights(weights));
  const gradient = at(parameters).parametersMean!;
  const { start } = routed.adapter.routers[1]!;
  for (const i of [plain.layout.size, plain.layout.size + 11, start + 3, parameters.length - 1]) {
    // Small enough that no token changes its experts, large enough for float64: the error is of the order h².
    const h = 1e-5;
    const shifted = (by: number) => {
      const values = parameters.slice();
      values[i]! += by;
      return at(values).loss![0]!;
    };
    const slope = (shifted(h) - shifted(-h)) / (2 * h);
    assert.ok(slope !== 0 && Math.abs(gradient[i]! - slope) < 1e-8, `${i}: ${gradient[i]} and ${slope}`);
  }
});

interface Client {
  readonly values: Float64Array;
  readonly without: readonly number[];
}

test("clients with routers and experts of their own in one call get what each gets alone", () => {
  const opposed = parameters.map((value, i) => (i < plain.layout.size ? value : -value));
  const clients: Client[] = [
    { values: parameters, without: [0, 7] },
    { values: opposed, without: [1, 8, 9] },
  ];
  assertAsAlone(clients, trained);
});

function trained(clients: readonly Client[]) {
  const options = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };
  const step = trainingStep(routed, { topK: 2, masked: 1 }, { ...shape, clients: clients.length }, options);
  const feed = {
    ...mergedFeeds(
      routed.adapter,
      { batch: batchNumbers(batch, experts), units: 16, personal },
      clients.map(({ values }) => values),
    ),
    routerBias: clients.flatMap(({ without }) => biasOf(without)),
  };
  return interpret(step, feed, ofWeights(weights));
}

test("a model whose other experts are out of the question is the smaller model", () => {
  const kept = [
    [0, 2, 5],
    [1, 2, 4],
  ];
  const small = llmTask({ config: { ...config, experts: 3 }, lora, form: "factored" });
  const cut = new Map<string, ArrayLike<number>>(weights);
  const smaller = new Float64Array(small.layout.size);
  for (const [layer, own] of kept.entries()) {
    for (const name of ["gateUp", "down"]) {
      const whole = weights.get(`layers.${layer}.${name}`)!;
      const each = whole.length / experts;
      cut.set(
        `layers.${layer}.${name}`,
        own.flatMap((e) => Array.from(whole.subarray(e * each, (e + 1) * each))),
      );
    }
    const router = weights.get(`layers.${layer}.router`)!;
    const rows = Array.from({ length: width }, (_, d) => own.map((e) => router[d * experts + e]!));
    cut.set(`layers.${layer}.router`, rows.flat());
    for (const [at, expert] of own.entries()) {
      const from = plain.adapter.ranges(layer * experts + expert);
      for (const [block, { start }] of small.adapter.ranges(layer * 3 + at).entries()) {
        smaller.set(factors.subarray(from[block]!.start, from[block]!.end), start);
      }
    }
  }
  const without = biasOf(kept.flatMap((own, layer) => others(own).map((e) => layer * experts + e)));
  const masked = interpret(
    evaluationProgram(plain, { topK: 2, masked: 1 }, shape),
    { ...feeds, parameters: factors, routerBias: without },
    ofWeights(weights),
  );
  const extracted = interpret(
    evaluationProgram(small, { topK: 2 }, shape),
    { ...feeds, padding: feeds.padding.map((p) => Math.min(p, 3)), parameters: smaller },
    ofWeights(cut),
  );
  near(masked.losses!, extracted.losses!, 1e-12);
  const used = kept.flatMap((own, layer) => own.map((e) => masked.counts![layer * experts + e]!));
  assert.deepEqual(used, [...extracted.counts!]);
});

const others = (own: readonly number[]): number[] =>
  Array.from({ length: experts }, (_, e) => e).filter((e) => !own.includes(e));

/** All of them out of the question that are named. */
function biasOf(without: readonly number[]): number[] {
  return Array.from({ length: layers * experts }, (_, expert) => (without.includes(expert) ? -1e9 : 0));
}
