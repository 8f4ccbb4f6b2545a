/** What a pool of small experts owes: identities of its rules, and what it costs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ScenarioError } from "../../../src/base/errors.ts";
import { clientId, participationId, round as roundOf } from "../../../src/base/ids.ts";
import type { ClientMemory } from "../../../src/fl/plan.ts";
import { fedavg, fftMoe } from "../../../src/fl/strategies/registry.ts";
import { divergence, meanProbability, referenceOf, unevenness } from "../../../src/fl/strategies/shapes/fft-moe.ts";
import { besideLayout } from "../../../src/model/beside.ts";
import { poolLayout } from "../../../src/tasks/llm/pools.ts";
import { gradients } from "../../../src/tensor/autodiff.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { softmax } from "../../../src/tensor/ops/nn.ts";
import { aggregate, drawsOf, emptyMemory, serverOf, settingOf, updateOf } from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";
import { smallModel } from "../../support/small-model.ts";

const pool = { experts: 4, width: 3 };
const layout = poolLayout(besideLayout(smallModel, pool));
const setting = settingOf(layout, { budgets: [1, 2, 4, 8] });
const { layers } = smallModel;
const values = (of: number) => Float32Array.from({ length: layout.size }, (_, i) => Math.sin(1 + 5 * of + i));

const planOf = (strategy: ReturnType<typeof fftMoe>, budget: number, memory = emptyMemory) => {
  const view = {
    client: clientId(1),
    participation: participationId(0),
    budget,
    examples: 1,
    round: roundOf(1),
    memory,
    draws: drawsOf(1),
  };
  return strategy.plan!(view, serverOf(strategy, values(0), setting), setting);
};

test("clients differ in what a token keeps and in nothing that travels", () => {
  const strategy = fftMoe(pool);
  const plans = [1, 2, 4, 8].map((budget) => planOf(strategy, budget));
  assert.deepEqual(
    plans.map(({ kind }) => kind.variant),
    [
      { topK: 8, kept: 1, gates: "raw" },
      { topK: 8, kept: 1, gates: "raw" },
      { topK: 8, kept: 2, gates: "renormalise" },
      { topK: 8, kept: 4, gates: "renormalise" },
    ],
  );
  // Of a layer M·(2dh + h + d) for experts and M·d for the router, and q with the download.
  const { experts, width: h } = pool;
  const d = smallModel.width;
  const size = layers * (experts * (2 * d * h + h + d) + experts * d);
  for (const { bytes, scope } of plans) {
    assert.deepEqual([bytes, scope], [{ down: 4 * (size + layers * experts) }, undefined]);
  }
  assert.equal(layout.size, size);
  assert.deepEqual(planOf(fftMoe({ ...pool, activate: "budget", rawAtOne: false }), 2).kind.variant, {
    topK: 2,
    kept: 1,
    gates: "renormalise",
  });
  assert.throws(() => fftMoe({ experts: 2, kept: 3 }).weight, ScenarioError);
});

test("the server averages as FedAvg does, and what nobody used stays", async () => {
  const groups = layout.groups.length;
  const updates = [1, 2, 3].map((client) => {
    const trained = new Uint8Array(groups).fill(1).with(2, 0);
    const own = values(client);
    for (const { start, end } of layout.groups[2]!.ranges) own.set(values(0).subarray(start, end), start);
    const counts = Float64Array.from(trained, (isTrained) => 6 * isTrained);
    const plan = planOf(fftMoe(pool), [1, 4, 8][client - 1]!);
    return updateOf(values(0), own, { client: clientId(client), examples: client, trained, counts, units: 10, plan });
  });
  const run = async (strategy: ReturnType<typeof fedavg>) =>
    aggregate(strategy, serverOf(strategy, values(0), setting), updates, setting);
  for (const sendOnlyUsed of [false, true]) {
    const theirs = await run(fedavg({ absentPolicy: sendOnlyUsed ? "renormalise" : "dilute" }));
    const ours = await run(fftMoe({ ...pool, sendOnlyUsed }));
    assert.deepEqual(ours.parameters, theirs.parameters);
    for (const { start, end } of layout.groups[2]!.ranges) {
      assert.deepEqual(ours.parameters.subarray(start, end), values(0).subarray(start, end));
    }
    // F: three clients that give an expert 0.6 of their tokens each.
    const usage = [...ours.vectors.usage!];
    assert.equal(usage.length, layers * pool.experts);
    for (const [slot, used] of usage.entries()) assert.ok(Math.abs(used - (slot === 2 ? 0 : 1.8)) < 1e-12);
  }
});

/** KL(p̄ ‖ q) of tokens' logits, with its gradient. */
function auxiliary(logits: readonly (readonly number[])[], q: readonly number[], present = logits.map(() => 1)) {
  const [tokens, experts] = [logits.length, q.length];
  const graph = new Graph();
  const inputs = {
    logits: graph.input("logits", "float32", [tokens, experts]),
    tokens: graph.input("tokens", "float32", [tokens, 1]),
    q: graph.input("q", "float32", [experts]),
  };
  const loss = divergence(meanProbability(softmax(inputs.logits), inputs.tokens), inputs.q);
  const outputs = { loss, gradient: gradients(loss, [inputs.logits])[0]! };
  const found = interpret({ name: "auxiliary", inputs, outputs }, { logits: logits.flat(), tokens: present, q });
  return { loss: found.loss![0]!, gradient: found.gradient! };
}

test("the auxiliary loss is 0 at its reference, log M for one expert alone, and its gradient its slope", () => {
  const tokens = [
    [0.3, -1, 2],
    [1, 0.5, -0.2],
  ];
  const mean = [0, 1, 2].map((m) => {
    const shares = tokens.map((logits) => Math.exp(logits[m]!) / logits.reduce((sum, l) => sum + Math.exp(l), 0));
    return shares.reduce((sum, share) => sum + share, 0) / tokens.length;
  });
  assert.ok(Math.abs(auxiliary(tokens, mean).loss) < 1e-15);
  const even = [1 / 3, 1 / 3, 1 / 3];
  // exp(−40) is 4e-18.
  assert.ok(Math.abs(auxiliary([[0, -40, -40]], even).loss - Math.log(3)) < 1e-12);
  const q = [...referenceOf([5, 1, 0.2], 0.5, 1e-3)];
  assert.ok(q[2]! > q[1]! && q[1]! > q[0]!);
  const { gradient } = auxiliary(tokens, q);
  for (const [t, logits] of tokens.entries()) {
    const row = gradient.subarray(3 * t, 3 * t + 3);
    assert.ok(Math.abs(row.reduce((sum, g) => sum + g, 0)) < 1e-15, "a token's gradients sum to zero");
    for (const m of [0, 1, 2]) {
      const at = (step: number) => auxiliary(tokens.with(t, logits.with(m, logits[m]! + step)), q).loss;
      assert.ok(Math.abs((at(1e-5) - at(-1e-5)) / 2e-5 - row[m]!) < 1e-9);
    }
  }
  // Padding has no say.
  assert.equal(auxiliary([...tokens, [9, 9, -9]], q, [1, 1, 0]).loss, auxiliary(tokens, q).loss);
});

test("a client that uses its experts alike is not pushed", () => {
  assert.ok(Math.abs(unevenness([5, 5, 5, 5])) < 1e-15);
  assert.equal(unevenness([0, 9, 0, 0]), 1);
  // Half of the experts alike: 1 − log 2 ÷ log 4.
  assert.ok(Math.abs(unevenness([3, 3, 0, 0]) - 0.5) < 1e-15);
  const usage = Float64Array.of(5, 5, 5, 5, 0, 9, 0, 0);
  const memory: ClientMemory = { vectors: { usage }, notes: null };
  const pull = (options: object, own = memory) => [
    ...(planOf(fftMoe({ ...pool, ...options }), 4, own).inputs!.pull as Float64Array),
  ];
  assert.deepEqual(pull({ lambda: 0.02 }), [0, 0.02]);
  assert.deepEqual(pull({ dynamic: false }), [0.01, 0.01]);
  assert.deepEqual(pull({}, emptyMemory), [0.01, 0.01], "before its first round");
  assert.equal(planOf(fftMoe({ ...pool, lambda: 0 }), 4).inputs, undefined);
});

test("a client that keeps no small expert sends nothing and has no say, and its device runs the base model", async () => {
  const strategy = fftMoe({ ...pool, kept: { 1: 0, 2: 1, 8: 4 } });
  const [silent, one] = [planOf(strategy, 1), planOf(strategy, 4)];
  assert.deepEqual([silent.kind.variant.kept, silent.bytes!.up, silent.inputs], [0, 0, undefined]);
  assert.equal(one.kind.variant.kept, 1);
  assert.deepEqual(strategy.steps!(silent.kind, setting), {});
  const at = { client: clientId(0), budget: 1, examples: 9, round: roundOf(1), memory: emptyMemory, draws: drawsOf(1) };
  const groups = layout.groups.length;
  const found = updateOf(values(0), values(1), { trained: new Uint8Array(groups).fill(1), plan: silent });
  const quiet = { ...found, ...strategy.reply!({ ...found, found: {} }, silent, at, setting), examples: 9 };
  assert.deepEqual([quiet.values, quiet.memory], [values(0), undefined]);
  assert.ok(quiet.trained.every((isTrained) => isTrained === 0));
  const other = updateOf(values(0), values(2), { client: clientId(1), plan: one, trained: found.trained });
  const after = async (updates: readonly (typeof other)[]) =>
    (await aggregate(strategy, serverOf(strategy, values(0), setting), updates, setting)).parameters;
  assert.deepEqual(await after([{ ...quiet, sent: {} }, other]), await after([other]));
  const [{ variant }] = strategy.deploy!(1, serverOf(strategy, values(1), setting), setting).models;
  assert.equal(variant.kept, 0);
  assert.throws(() => fftMoe({ experts: 2, kept: { 1: 0, 8: 3 } }), ScenarioError);
});
