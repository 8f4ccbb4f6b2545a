import assert from "node:assert/strict";
import { test } from "node:test";
import { emptyMemory } from "../../../src/fl/plan.ts";
import { fedavg, flora, fslora } from "../../../src/fl/strategies/registry.ts";
import { factorsIn, layoutOfPairs, rankedSetting, sentBy } from "../../support/low-rank.ts";
import { close } from "../../support/method-goldens.ts";
import { aggregate, serverOf } from "../../support/quadratic.ts";
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

test("FSLoRA: index sets are of the client's size, sorted, its own and new each round; charged with or without indices", () => {
  const strategy = fslora({ indices: "sent", download: "full" });
  const planAt = (client: number, at: number) =>
    strategy.plan!(viewOf(2, at, client), server(strategy, normals(1)), setting);
  const sets = [];
  for (let client = 0; client < 8; client++)
    for (let at = 1; at <= 4; at++) {
      const { scope, bytes } = planAt(client, at);
      const { of, scale } = scope!.components as { of: number[]; scale: number };
      assert.deepEqual(
        of,
        [...new Set(of)].sort((a, b) => a - b),
      );
      assert.deepEqual([of.length, scale], [2, 2]);
      // Two indices of two bits each take a byte.
      assert.deepEqual(bytes, { down: 4 * layout.size, up: 2 * layout.size + 1 });
      sets.push(of.join());
    }
  assert.equal(new Set(sets).size, 6, "all pairs of four components occur");
  assert.deepEqual(planAt(3, 2), planAt(3, 2));
  const seeded = fslora().plan!(viewOf(2), server(strategy, normals(1)), setting);
  assert.deepEqual(seeded.bytes, { down: 2 * layout.size, up: 2 * layout.size });
});

test("FSLoRA of full size is uniform averaging, byte for byte; what nobody had rests, with the server's AdamW too", async () => {
  const base = normals(1);
  const strategy = fslora();
  const full = [2, 3].map((seed, client) =>
    sentBy(strategy, client, 4, trainedFrom(base, seed, 4), setting, { base, examples: 1 + client }),
  );
  const plain = fedavg({ weighting: "uniform" });
  assert.deepEqual(
    (await aggregate(strategy, server(strategy, base), full, setting)).parameters,
    (await aggregate(plain, server(plain, base), full, setting)).parameters,
  );
  const adamw = fslora({ serverOptimizer: "adamw", serverLearningRate: 0.01 });
  const small = sentBy(adamw, 0, 1, trainedFrom(base, 2, 1), setting, {
    base,
    plan: { kind: { variant: {} }, scope: { components: { of: [0], scale: 4 } } },
  });
  const first = await aggregate(adamw, server(adamw, base), [small], setting);
  const [before, after] = [factorsIn(Float32Array.from(base), pair), factorsIn(first.parameters, pair)];
  assert.deepEqual(after.A.slice(1), before.A.slice(1));
  for (const [i, value] of after.A[0]!.entries()) {
    // The first step of Adam is ± the rate, and the decay is a hundredth of that share of the value.
    const sign = Math.sign(factorsIn(small.values, pair).A[0]![i]! - before.A[0]![i]!);
    close([value], before.A[0]![i]! + 0.01 * (sign - 0.01 * before.A[0]![i]!), 1e-5);
  }
});

test("FLoRA: ten rounds of downloads are stacks since the last counted update, or the dense change where that is less", async () => {
  const strategy = flora();
  const wide = layoutOfPairs(
    [
      { outputs: 40, inputs: 30 },
      { outputs: 3, inputs: 30 },
    ],
    4,
    0.5,
  );
  const wideSetting = rankedSetting(wide, [1, 2, 4]);
  let state = serverOf(strategy, new Float32Array(wide.size), wideSetting);
  const ranks = [1, 2, 4, 1];
  const stacked = [0, 0];
  const dense = [40 * 30, 3 * 30];
  const sides = [70, 33];
  for (let at = 1; at <= 10; at++) {
    // Clients take part in turn; each remembers the Δ it had when its last update was counted.
    for (const synced of [0, Math.max(0, at - 2), at - 1]) {
      const memory = synced === 0 ? emptyMemory : { vectors: {}, notes: { synced } };
      const { bytes } = strategy.plan!({ ...viewOf(2, at), memory }, state, wideSetting);
      const rowsSince = (pairAt: number) => stacked[pairAt]! - (pairAt === 0 ? 8 * synced : 4 * synced);
      const numbers = [0, 1].reduce((sum, p) => sum + Math.min(rowsSince(p) * sides[p]!, dense[p]!), 0);
      assert.deepEqual(bytes, { down: 4 * numbers, up: 4 * 2 * (70 + 33) }, `round ${at}, synced ${synced}`);
    }
    const updates = ranks.map((rank, client) => {
      const view = { ...viewOf(rank, at, client), examples: 1 + client };
      const plan = strategy.plan!(view, state, wideSetting);
      const start = Float64Array.from(plan.start!);
      // Only the clients of rank one and two, and the last one, trained the second matrix.
      const trained = Uint8Array.of(1, rank === 4 ? 0 : 1);
      const sent = sentBy(
        strategy,
        client,
        rank,
        start.map((value) => value + 0.1),
        wideSetting,
        { base: start, plan },
      );
      assert.ok(
        wide.pairs.every(({ b, outputs }) => start.slice(b, b + 4 * outputs).every((value) => value === 0)),
        "B begins at zero",
      );
      return { ...sent, trained };
    });
    assert.notDeepEqual(updates[0]!.base, updates[3]!.base, "clients draw factors of their own");
    state = await aggregate(strategy, state, updates, wideSetting, at);
    stacked[0]! += 8;
    stacked[1]! += 4;
  }
  const shared = flora({ freshFactors: "shared" });
  const startOf = (client: number, at: number) => shared.plan!(viewOf(4, at, client), state, wideSetting).start;
  assert.deepEqual(startOf(0, 3), startOf(5, 3));
  assert.notDeepEqual(startOf(0, 3), startOf(0, 4));
});

test("FLoRA: what a run leaves as its adapter is the best approximation of the change", async () => {
  const strategy = flora();
  const state = serverOf(strategy, new Float32Array(layout.size), setting);
  const sent = sentBy(strategy, 0, 4, normals(3), setting);
  const { parameters, vectors } = await aggregate(strategy, state, [sent], setting);
  close(productsIn(parameters), productsIn(sent.values), 2e-6);
  const [model] = strategy.deploy!(4, { parameters, vectors, notes: null }, setting).models;
  assert.ok(model.parameters.every((value) => value === 0) && model.inputs!.delta === vectors.delta);
  const twice = await aggregate(strategy, state, [sent, { ...sent, examples: 5 }], setting);
  close(twice.vectors.delta!, [...vectors.delta!], 1e-6);
});

test("FLoRA: a compressed stack has the rank it is said to have, and is all that an older client downloads", async () => {
  const strategy = flora({ accumulate: "stack", compressEvery: 2, compressRank: 1 });
  let state = serverOf(strategy, new Float32Array(layout.size), setting);
  for (const at of [1, 2]) {
    state = await aggregate(strategy, state, [sentBy(strategy, 0, 4, normals(at), setting)], setting, at);
  }
  const { bytes } = strategy.plan!(viewOf(1, 3), state, setting);
  assert.equal(bytes!.down, 4 * (6 + 5 + 5 + 7));
  const [component] = [factorsIn(state.parameters, pair).B.map((row) => row.slice(1))];
  assert.ok(
    component!.flat().every((value) => Math.abs(value) < 1e-5),
    "no second direction is left",
  );
});
