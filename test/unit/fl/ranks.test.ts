import assert from "node:assert/strict";
import { test } from "node:test";
import { ScenarioError } from "../../../src/base/errors.ts";
import { clientId } from "../../../src/base/ids.ts";
import { emptyMemory } from "../../../src/fl/plan.ts";
import { tailStrength } from "../../../src/fl/strategies/ranks/tail-strength.ts";
import { fedavg, flexlora, flora, fslora, hetlora, loraFair, trivial } from "../../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../../src/fl/strategy.ts";
import { scalarsOf } from "../../../src/tasks/scope.ts";
import { factorsIn, layoutOfPairs, sentBy } from "../../support/low-rank.ts";
import { close } from "../../support/method-goldens.ts";
import { aggregate, participate, updateOf } from "../../support/quadratic.ts";
import {
  layout,
  normals,
  pair,
  productsIn,
  server,
  setting,
  trainedFrom,
  viewOf,
} from "../../support/ranked-clients.ts";

test("a rank is a share of the full one, or that of its budget, or of the next smaller that is named", () => {
  const rankAt = (strategy: Strategy, budget: number) => {
    const { scope } = strategy.plan!(viewOf(budget), server(strategy, normals(1)), setting);
    return scalarsOf(layout, scope) / (scalarsOf(layout, undefined) / 4);
  };
  assert.deepEqual(
    [1, 2, 3, 4].map((budget) => rankAt(flexlora(), budget)),
    [1, 2, 3, 4],
  );
  const named = hetlora({ ranks: { 2: 1, 4: 3 } });
  assert.deepEqual(
    [1, 2, 3, 4].map((budget) => rankAt(named, budget)),
    [1, 1, 1, 3],
  );
  assert.deepEqual(
    [1, 4].map((budget) => rankAt(trivial(), budget)),
    [1, 1],
  );
  assert.deepEqual(fslora({ ranks: { 1: 5 } }).problems!(setting), [
    { path: "ranks[1]", text: "is 5, expected at most lora.rank, 4" },
  ]);
});

test("the full rank is no scope: the plain program, charged as the plain model", () => {
  for (const strategy of [trivial({ ranks: { 1: 4 } }), hetlora({ lambda: 0 }), flexlora(), fslora(), loraFair()]) {
    const plan = strategy.plan!(viewOf(4), server(strategy, normals(1)), setting);
    assert.deepEqual(
      [plan.scope, plan.start, plan.kind],
      [undefined, undefined, { variant: { topK: 4 } }],
      strategy.name,
    );
  }
});

test("clients activate their own budget of experts, or all that there are, and so does what is deployed", () => {
  for (const make of [trivial, hetlora, flexlora, flora, fslora, loraFair]) {
    for (const experts of ["own", "all"] as const) {
      const strategy: Strategy = make({ experts });
      const state = server(strategy, normals(1));
      const budget = strategy.plan!(viewOf(1), state, setting).kind.variant.topK;
      assert.equal(budget, experts === "own" ? 1 : 4, strategy.name);
      assert.equal(strategy.deploy!(1, state, setting).models[0].variant.topK, budget);
    }
  }
});

test("HetLoRA of equal ranks and norms is uniform averaging of factors, byte for byte", async () => {
  const base = normals(1);
  const one = trainedFrom(base, 2, 4);
  // The same product with the other sign.
  const other = one.slice();
  for (const { b, outputs, rank } of layout.pairs) for (let i = b; i < b + outputs * rank; i++) other[i] = -other[i]!;
  const strategy = hetlora({ prune: false, lambda: 0 });
  const updates = [one, other, one].map((values, client) =>
    sentBy(strategy, client, 4, values, setting, { base, examples: 1 + client }),
  );
  const plain = fedavg({ weighting: "uniform", absentPolicy: "renormalise" });
  assert.deepEqual(
    (await aggregate(strategy, server(strategy, base), updates, setting)).parameters,
    (await aggregate(plain, server(plain, base), updates, setting)).parameters,
  );
});

test("HetLoRA: the score grows with B; where nobody learned anything, examples decide", () => {
  const strategy = hetlora();
  const values = trainedFrom(normals(1), 2, 4);
  const scaled = values.slice();
  for (const { b, outputs, rank } of layout.pairs)
    for (let i = b; i < b + outputs * rank; i++) scaled[i] = 3 * scaled[i]!;
  const weightOf = (of: Float64Array, examples = 1) =>
    strategy.weight(sentBy(strategy, 0, 4, of, setting, { base: of, examples }), 0, layout);
  close([weightOf(scaled) / weightOf(values)], 3, 1e-9);
  const nothing = new Float64Array(layout.size);
  close([weightOf(nothing, 30) / weightOf(nothing, 10)], 3, 1e-9);
  assert.ok(weightOf(nothing, 1e6) < 1e-16 * weightOf(values), "beside a client that learned something they vanish");
});

test("HetLoRA: components that some clients lack are padded, kept where nobody has them, or averaged over the others", async () => {
  const base = normals(1);
  const [small, large] = [trainedFrom(base, 2, 1), trainedFrom(base, 3, 2)];
  const after = async (tailPolicy: "zero" | "keep" | "renormalise") => {
    const strategy = hetlora({ tailPolicy, weighting: "uniform", prune: false, lambda: 0 });
    const updates = [
      sentBy(strategy, 0, 1, small, setting, { base }),
      sentBy(strategy, 1, 2, large, setting, { base }),
    ];
    return (await aggregate(strategy, server(strategy, base), updates, setting)).parameters;
  };
  const rowOf = (values: ArrayLike<number>, q: number) => factorsIn(values, pair).A[q]!;
  const mean = rowOf(small, 0).map((value, i) => (value + rowOf(large, 0)[i]!) / 2);
  const zeros = pair.inputs;
  for (const [tail, second, third] of [
    ["zero", rowOf(large, 1).map((value) => value / 2), new Array<number>(zeros).fill(0)],
    ["keep", rowOf(large, 1).map((value) => value / 2), rowOf(base, 2)],
    ["renormalise", rowOf(large, 1), rowOf(base, 2)],
  ] as const) {
    const found = await after(tail);
    close(rowOf(found, 0), mean);
    close(rowOf(found, 1), second);
    close(rowOf(found, 2), third);
  }
});

test("HetLoRA: a client whose tail grew weaker drops it for good; one whose tail is zero does not", () => {
  const strategy = hetlora({ gamma: 0.5, minRank: 1 });
  const base = normals(1);
  const plan = strategy.plan!(viewOf(4), server(strategy, base), setting);
  assert.deepEqual(plan.inputs, { tailFrom: 2, tailUntil: 4 });
  const replyTo = (values: Float64Array, from = base) => {
    const trained = { ...updateOf(from, values), found: {} };
    return strategy.reply!(trained, plan, viewOf(4), setting);
  };
  const weaker = base.map((value) => 0.9 * value);
  const { sent, memory, values } = replyTo(weaker);
  assert.equal(sent!.rank, 2);
  assert.deepEqual(memory, { vectors: {}, notes: { rank: 2 } });
  for (const one of layout.pairs) {
    const [kept, had, first] = [factorsIn(values!, one), factorsIn(base, one), factorsIn(weaker, one)];
    assert.deepEqual(
      [kept.A.slice(2), kept.B.map((row) => row.slice(2))],
      [had.A.slice(2), had.B.map((row) => row.slice(2))],
    );
    assert.deepEqual(kept.A.slice(0, 2), first.A.slice(0, 2));
  }
  const later = strategy.plan!({ ...viewOf(4), memory: memory! }, server(strategy, base), setting);
  assert.deepEqual([later.scope, later.inputs], [{ components: { first: 2 } }, { tailFrom: 1, tailUntil: 2 }]);
  assert.equal(replyTo(base.map((value) => 1.1 * value)).memory, undefined, "a stronger tail stays");
  const start = base.slice();
  for (const { b, outputs, rank } of layout.pairs) start.fill(0, b, b + outputs * rank);
  assert.equal(replyTo(start, start).memory, undefined, "0 is not smaller than 0");
});

test("on the classic scale a client that learns nothing changes nothing, whatever its rank", async () => {
  const base = normals(1);
  for (const strategy of [
    hetlora({ scale: "classic", lambda: 0, prune: false, tailPolicy: "renormalise" }),
    flexlora({ scale: "classic" }),
    flexlora({ scale: "classic", splitSigma: "sqrt" }),
  ]) {
    const state = server(strategy, base);
    const plan = strategy.plan!(viewOf(2), state, setting);
    assert.equal(plan.scope!.components!.scale, 2);
    const start = Float64Array.from(plan.start!);
    close(
      productsIn(start, 2).map((value) => 2 * value),
      productsIn(base, 2),
    );
    const { parameters } = await aggregate(
      strategy,
      state,
      [sentBy(strategy, 0, 2, start, setting, { base: start })],
      setting,
    );
    close(productsIn(parameters, 2), productsIn(base, 2), 2e-6);
  }
});

test("FlexLoRA: one client of full rank gets back what it sent, in orthonormal rows; of rank one its truncation", async () => {
  const base = normals(1);
  const values = trainedFrom(base, 2, 4);
  for (const splitSigma of ["B", "sqrt"] as const) {
    const strategy = flexlora({ splitSigma });
    const { parameters } = await aggregate(
      strategy,
      server(strategy, base),
      [sentBy(strategy, 0, 4, values, setting, { base })],
      setting,
    );
    close(productsIn(parameters), productsIn(values), 2e-6);
    // Erasure: a client of rank one that received this and learned nothing leaves the first component alone.
    const sent = sentBy(strategy, 0, 1, Float64Array.from(parameters), setting, {
      base: Float64Array.from(parameters),
    });
    const next = await aggregate(strategy, server(strategy, Float64Array.from(parameters)), [sent], setting);
    close(productsIn(next.parameters), productsIn(parameters, 1), 2e-6);
    const { A, B } = factorsIn(next.parameters, pair);
    assert.ok(B.every((row) => row.slice(1).every((value) => value === 0)));
    for (const [p, row] of A.entries()) {
      if (splitSigma === "sqrt" && p === 0) continue;
      for (const [q, other] of A.entries()) {
        if (splitSigma === "sqrt" && q === 0) continue;
        close([row.reduce((dot, x, i) => dot + x * other[i]!, 0)], p === q ? 1 : 0);
      }
    }
  }
});

test("FlexLoRA misses what averaging factors misses, damps by products, and keeps what nobody trained", async () => {
  const base = normals(1);
  const strategy = flexlora();
  const clients = [trainedFrom(base, 2, 4), trainedFrom(base, 3, 4)];
  const updates = clients.map((values, client) =>
    sentBy(strategy, client, 4, values, setting, { base, examples: 1 + 2 * client }),
  );
  const ideal = productsIn(clients[0]!).map((value, i) => (value + 3 * productsIn(clients[1]!)[i]!) / 4);
  // Rank four is all that the server's factors have, and two clients of rank four have more: the best of that.
  const wide = layoutOfPairs([{ outputs: 4, inputs: 4 }], 4);
  assert.ok(wide.size < layout.size);
  const { parameters } = await aggregate(strategy, server(strategy, base), updates, setting);
  const missed = (found: ArrayLike<number>) => Math.hypot(...ideal.map((value, i) => value - productsIn(found)[i]!));
  const averaged = (await aggregate(fedavg(), server(fedavg(), base), updates, setting)).parameters;
  assert.ok(missed(parameters) < missed(averaged), `${missed(parameters)} and ${missed(averaged)}`);
  const half = updates.map((update) => ({ ...update, discount: 0.5 }));
  const damped = await aggregate(strategy, server(strategy, base), [half[0]!], setting);
  const mixed = productsIn(clients[0]!).map((value, i) => (value + productsIn(base)[i]!) / 2);
  const best = (values: readonly number[]) =>
    Math.hypot(...values.map((value, i) => value - productsIn(damped.parameters)[i]!));
  assert.ok(best(mixed) < best(productsIn(base)) && best(mixed) < best(productsIn(clients[0]!)));
  const partial = updates.map((update) => ({ ...update, trained: Uint8Array.of(1, 0) }));
  const next = await aggregate(strategy, server(strategy, base), partial, setting);
  const [, second] = layout.pairs as [typeof pair, typeof pair];
  assert.deepEqual(factorsIn(next.parameters, second), factorsIn(base, second));
});

test("HetLoRA: three local steps are those of plain loops on the loss and λ times the tail's strength", () => {
  const strategy = hetlora({ ranks: { 1: 4 }, gamma: 0.5, lambda: 0.3, prune: false });
  const [base, target] = [normals(1), normals(2)];
  const client = { client: clientId(0), target: [...target], steps: 3, memory: emptyMemory };
  const { update } = participate(strategy, server(strategy, base), client, setting);
  const objective = (at: Float64Array) =>
    at.reduce((sum, value, i) => sum + (value - target[i]!) ** 2 / 2, 0) +
    0.3 * tailStrength(at, layout, { from: 2, until: 4 });
  let values = base.slice();
  for (let step = 0; step < 3; step++) {
    // Central differences of 1e-5 are wrong by about 1e-9.
    const slope = values.map(
      (value, i) => (objective(values.with(i, value + 1e-5)) - objective(values.with(i, value - 1e-5))) / 2e-5,
    );
    values = values.map((value, i) => value - setting.rate * slope[i]!);
  }
  close(update.values, [...values], 1e-8);
});

test("around methods that sum products nothing is wrapped that would make something of sums of deltas", () => {
  for (const make of [flexlora, flora, loraFair]) {
    assert.throws(() => make({ serverStep: { type: "adam" } }), ScenarioError);
    assert.throws(() => make({ overTheAir: {} }), ScenarioError);
    assert.throws(() => make({ flood: {} }), ScenarioError);
    make({ flood: { alpha: 0 }, clipNorm: 1 });
  }
  loraFair({ solver: "none", serverStep: { type: "adam" } });
});

test("FedAvg of B alone: A stays and does not travel, and the mean of factors is that of products", async () => {
  const strategy = fedavg({ factors: "B" });
  const base = normals(1);
  const plan = strategy.plan!(viewOf(4), server(strategy, base), setting);
  const moving = plan.inputs!.moving as Float32Array;
  const ofB = layout.pairs.reduce((sum, { outputs, rank }) => sum + outputs * rank, 0);
  assert.deepEqual(plan.bytes, { down: 4 * ofB, up: 4 * ofB });
  const clients = [2, 3].map((seed) =>
    trainedFrom(base, seed, 4).map((value, i) => (moving[i] === 1 ? value : base[i]!)),
  );
  const updates = clients.map((values, client) =>
    updateOf(base, values, { client: clientId(client), examples: 1 + client }),
  );
  const { parameters } = await aggregate(strategy, server(strategy, base), updates, setting);
  const [one, two] = clients.map((values) => productsIn(values));
  close(
    productsIn(parameters),
    one!.map((value, i) => (value + 2 * two![i]!) / 3),
    1e-6,
  );
});
