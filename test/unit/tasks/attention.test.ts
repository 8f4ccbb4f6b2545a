/** LoRA on q, k, v and o, in float64 on the plain interpreter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { strategies, strategyFromSpec } from "../../../src/fl/strategies/registry.ts";
import { adaptedFlops, countLora, trainingFlops } from "../../../src/model/accounting.ts";
import type { LoraConfig } from "../../../src/model/adapter.ts";
import { attentionWidths } from "../../../src/model/base-weights.ts";
import type { ModelConfig } from "../../../src/model/config.ts";
import { run } from "../../../src/run/run.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import type { Ability } from "../../../src/tasks/task.ts";
import { evaluationProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import { restingFeeds } from "../../support/llm-programs.ts";
import { assertAsAlone, mergedFeeds, near } from "../../support/merged-step.ts";
import { interpret } from "../../support/reference.ts";
import { timingOnly } from "../../support/scenarios.ts";
import { batchNumbers, batchOf, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

/** All that lies between a projection and its use: shared keys, biases, norms, clamps; and a layer without experts. */
const config: ModelConfig = {
  ...smallModel,
  keyValueHeads: 1,
  headWidth: 6,
  attentionBias: true,
  clipQkv: 2,
  dense: { layers: [0], width: 5 },
  layers: 3,
};
const lora: LoraConfig = { rank: 2, alpha: 3 };
const shape = { clients: 1, rows: 2, length: 8 };
const plain = llmTask({ config, lora, form: "factored" });
const wide = llmTask({ config, lora: { ...lora, targets: "experts-and-attention" }, form: "factored" });
const weights = randomWeights(config);
const batch = batchOf(
  [
    [3, 1, 4, 1, 5, 9, 2],
    [6, 5, 3, 5, 8],
  ],
  8,
);
const tokens = 7 + 5;
const sparse = config.layers - 1;
const feeds = { ...batchNumbers(batch, config.experts), personal: Array.from({ length: sparse }, () => 1.25) };
const parameters = Float64Array.from(randomAdapter(wide.adapter, 3));
const factors = parameters.subarray(0, plain.layout.size);
const ofWeights = (map: ReadonlyMap<string, ArrayLike<number>>) => Object.fromEntries(map);

test("attention lies behind the experts, a group of four pairs in every layer, which all clients pass", () => {
  const { groups, pairs, size } = wide.layout;
  const experts = plain.layout.groups.length;
  assert.deepEqual(groups.slice(0, experts), plain.layout.groups);
  assert.deepEqual(
    groups.slice(experts).map(({ name, always }) => [name, always]),
    [0, 1, 2].map((layer) => [`layer ${layer}, attention`, true]),
  );
  assert.equal(size - plain.layout.size, countLora(config, lora.rank).attention);
  assert.deepEqual(pairs.slice(0, plain.layout.pairs.length), plain.layout.pairs);
  assert.deepEqual(
    pairs.slice(-4).map(({ inputs, outputs }) => [inputs, outputs]),
    [
      [8, 12],
      [8, 6],
      [8, 6],
      [12, 8],
    ],
  );
});

test("it begins with B at zero and A like the experts', whose start it leaves alone", () => {
  const [start, without] = [wide, plain].map((task) => task.initial(new Rng(5), 0)) as [Float32Array, Float32Array];
  assert.deepEqual(start.subarray(0, without.length), without);
  const drawn = new Set<number>();
  for (const { rank, inputs, outputs, a, b } of wide.layout.pairs.slice(plain.layout.pairs.length)) {
    const ofA = start.subarray(a, a + rank * inputs);
    assert.ok(ofA.every((value) => value !== 0 && Math.abs(value) <= 1 / Math.sqrt(inputs)));
    assert.ok(start.subarray(b, b + outputs * rank).every((value) => value === 0));
    drawn.add(ofA[0]!);
  }
  assert.equal(drawn.size, 4 * config.layers, "every A has draws of its own");
});

test("attention with its pairs is attention with other weights", () => {
  const changed = new Map<string, ArrayLike<number>>(weights);
  const { query, keyValue } = attentionWidths(config);
  const columns = query + 2 * keyValue;
  const places = [
    ["qkv", columns, 0],
    ["qkv", columns, query],
    ["qkv", columns, query + keyValue],
    ["o", config.width, 0],
  ] as const;
  for (const [at, { rank, inputs, outputs, a, b }] of wide.layout.pairs.slice(plain.layout.pairs.length).entries()) {
    const [matrix, width, column] = places[at % 4]!;
    const name = `layers.${Math.floor(at / 4)}.${matrix}`;
    const values = Float64Array.from(changed.get(name)!);
    for (let i = 0; i < inputs; i++) {
      for (let o = 0; o < outputs; o++) {
        for (let r = 0; r < rank; r++)
          values[i * width + column + o]! += 1.5 * parameters[b + o * rank + r]! * parameters[a + r * inputs + i]!;
      }
    }
    changed.set(name, values);
  }
  const out = interpret(evaluationProgram(wide, { topK: 2 }, shape), { ...feeds, parameters }, ofWeights(weights));
  const expected = interpret(
    evaluationProgram(plain, { topK: 2 }, shape),
    { ...feeds, parameters: factors },
    ofWeights(changed),
  );
  near(out.losses!, expected.losses!, 1e-12);
  const experts = plain.layout.groups.length;
  assert.deepEqual(out.counts!.subarray(0, experts), expected.counts);
  assert.deepEqual([...out.counts!.subarray(experts)], [tokens, tokens, tokens], "every token passes attention");
});

const options = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };

test("the gradients of A and B of every projection are the slopes of the loss", () => {
  const step = trainingStep(wide, { topK: 2 }, shape, options);
  const at = (values: Float64Array, program = step) =>
    interpret(program, { ...feeds, ...restingFeeds(wide.adapter), parameters: values }, ofWeights(weights));
  const gradient = at(parameters).parametersMean!;
  const lossAlone = { ...step, outputs: { loss: step.outputs.loss! } };
  for (const { a, b } of wide.layout.pairs.slice(plain.layout.pairs.length)) {
    for (const i of [a + 1, b + 1]) {
      // Small enough that no token changes its experts, large enough for float64: the error is of the order h².
      const h = 1e-5;
      const shifted = (by: number) => at(parameters.with(i, parameters[i]! + by), lossAlone).loss![0]!;
      const slope = (shifted(h) - shifted(-h)) / (2 * h);
      assert.ok(slope !== 0 && Math.abs(gradient[i]! - slope) < 1e-8, `${i}: ${gradient[i]} and ${slope}`);
    }
  }
});

test("clients with attention of their own in one call get what each gets alone", () => {
  const clients = [parameters, parameters.map((value, i) => (i < factors.length ? value : -value))];
  assertAsAlone(clients, trained);
});

function trained(clients: readonly Float64Array[]) {
  const step = trainingStep(wide, { topK: 2 }, { ...shape, clients: clients.length }, options);
  const given = { batch: batchNumbers(batch, config.experts), units: 16, personal: feeds.personal };
  return interpret(step, mergedFeeds(wide.adapter, given, clients), ofWeights(weights));
}

test("its pairs cost three times their forward pass in training, whatever the budget", () => {
  const { attention } = countLora(config, lora.rank);
  for (const topK of [1, 3]) {
    const [with_, without] = [wide, plain].map((task) => task.cost({ topK }));
    assert.equal(without!.training, trainingFlops(config, topK, lora.rank));
    assert.equal(without!.forward, adaptedFlops(config, topK, lora.rank));
    assert.equal(with_!.forward - without!.forward, 2 * attention);
    assert.equal(with_!.training - without!.training, 6 * attention);
  }
});

test("methods that ask for experts, layers or small experts alone have no place for attention", () => {
  const isRefused = (type: string) => {
    const has = (ability: Ability) => wide.abilities.includes(ability);
    const { needs = [] } = strategyFromSpec({ type });
    return needs.every((need) => plain.abilities.includes(need)) && !needs.every(has);
  };
  assert.deepEqual([...strategies.entries.keys()].filter(isRefused).sort(), [
    "embracingfl",
    "fedmoe",
    "fft-moe",
    "hfedmoe",
  ]);
});

test("a method that has no place for attention is refused with the field to change, as is one without its ranks", async () => {
  const refused = (strategy: string, own: object) =>
    run(timingOnly({ strategy: strategyFromSpec({ type: strategy }), lora: { rank: 8, alpha: 16, ...own } }), {
      out: null,
    });
  await assert.rejects(refused("hfedmoe", { targets: "experts-and-attention" }), {
    name: "ScenarioError",
    message:
      /: lora\.targets is "experts-and-attention", expected "experts": strategy hfedmoe.* needs experts-only, which the task "llm" does not have as its fields stand$/,
  });
  await assert.rejects(refused("mixture-of-ranks", {}), /: lora\.slices is not given, expected ranks to choose from: /);
  const slices = { routed: 2, zero: 1, topK: 1 };
  await assert.rejects(refused("hetlora", { slices }), /: lora\.slices is given, expected none: strategy hetlora/);
});

test("attention is used by all tokens, or a client's counts are none", () => {
  const counts = (last: number) => {
    const used = new Float64Array(wide.layout.groups.length).fill(last);
    used.fill(2, 0, plain.layout.groups.length);
    return used;
  };
  // Two of twelve tokens to each of six experts: one of k = 1.
  assert.equal(wide.countProblem!(counts(tokens), tokens, { topK: 1 }), null);
  assert.match(wide.countProblem!(counts(11), tokens, { topK: 1 })!, /was passed 11 times by 12 tokens/);
});
