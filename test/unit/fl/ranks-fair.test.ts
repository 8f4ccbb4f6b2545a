import assert from "node:assert/strict";
import { test } from "node:test";
import { loraFair } from "../../../src/fl/strategies/registry.ts";
import { factorsIn, productIn, sentBy } from "../../support/low-rank.ts";
import { close } from "../../support/method-goldens.ts";
import { aggregate } from "../../support/quadratic.ts";
import { layout, normals, type pair, productsIn, server, setting, trainedFrom } from "../../support/ranked-clients.ts";

test("LoRA-FAIR: nothing to correct where all A are equal, where one client is alone, and where nothing was learned", async () => {
  const base = normals(1);
  const equalA = [2, 3].map((seed) => {
    const values = trainedFrom(base, seed, 4);
    for (const { a, inputs, rank } of layout.pairs) values.set(base.subarray(a, a + inputs * rank), a);
    return values;
  });
  const without = loraFair({ solver: "none" });
  for (const solver of ["l2-closed", "cosine-sgd"] as const) {
    const strategy = loraFair({ solver, lambda: solver === "l2-closed" ? 0.01 : 0, steps: 50 });
    for (const clients of [equalA, [trainedFrom(base, 4, 4)]]) {
      const updates = clients.map((values, client) =>
        sentBy(strategy, client, 4, values, setting, { base, examples: 1 + client }),
      );
      const found = await aggregate(strategy, server(strategy, base), updates, setting);
      const plain = await aggregate(without, server(without, base), updates, setting);
      close(found.parameters, [...plain.parameters], 1e-5);
    }
    const nothing = normals(1);
    for (const { b, outputs, rank } of layout.pairs) nothing.fill(0, b, b + outputs * rank);
    const sent = sentBy(strategy, 0, 4, nothing, setting, { base: nothing });
    const kept = await aggregate(strategy, server(strategy, nothing), [sent], setting);
    assert.deepEqual(kept.parameters, Float32Array.from(nothing));
  }
});

test("LoRA-FAIR: the stronger λ, the smaller the residual and the nearer the error to that of plain averaging", async () => {
  const base = normals(1);
  const clients = [2, 3, 4].map((seed) => trainedFrom(base, seed, 4).map((value, i) => value + normals(seed)[i]!));
  const target = productsIn(clients[0]!).map((_, i) =>
    clients.reduce((sum, values) => sum + productsIn(values)[i]! / 3, 0),
  );
  const after = async (options: Parameters<typeof loraFair>[0]) => {
    const strategy = loraFair({ ...options, weighting: "uniform" });
    const updates = clients.map((values, client) => sentBy(strategy, client, 4, values, setting, { base }));
    return (await aggregate(strategy, server(strategy, base), updates, setting)).parameters;
  };
  const plain = await after({ solver: "none" });
  const errorOf = (values: ArrayLike<number>) =>
    Math.hypot(...target.map((value, i) => value - productsIn(values)[i]!));
  const residual = (values: Float32Array) => Math.hypot(...values.map((value, i) => value - plain[i]!));
  const found = [];
  for (const lambda of [0, 0.01, 0.1, 1, 100]) found.push(await after({ solver: "l2-closed", lambda }));
  for (const [i, values] of found.slice(1).entries()) {
    assert.ok(residual(values) < residual(found[i]!));
    assert.ok(errorOf(values) > errorOf(found[i]!) && errorOf(values) <= errorOf(plain));
  }
  const cosine = (values: ArrayLike<number>, at: typeof pair) => {
    const [p, t] = [
      productIn(values, at).flat(),
      productIn(clients[0]!, at)
        .flat()
        .map((_, i) => clients.reduce((sum, one) => sum + productIn(one, at).flat()[i]! / 3, 0)),
    ];
    return p.reduce((sum, value, i) => sum + value * t[i]!, 0) / Math.hypot(...p) / Math.hypot(...t);
  };
  const [few, many] = [await after({ lambda: 0, steps: 10 }), await after({ lambda: 0, steps: 2000, rate: 0.1 })];
  for (const at of layout.pairs) {
    assert.ok(cosine(plain, at) < cosine(few, at) && cosine(few, at) < cosine(many, at));
    // The best that any B can reach is what the closed form without λ reaches.
    assert.ok(cosine(many, at) < cosine(found[0]!, at) + 1e-6);
  }
});

test("LoRA-FAIR: without λ what is missed has no part in the rows of Ā, and what is corrected misses less by that part alone", async () => {
  const base = normals(1);
  const clients = [2, 3, 4].map((seed) => trainedFrom(base, seed, 4).map((value, i) => value + normals(seed)[i]!));
  const after = async (options: Parameters<typeof loraFair>[0]) => {
    const strategy = loraFair({ ...options, weighting: "uniform" });
    const updates = clients.map((values, client) => sentBy(strategy, client, 4, values, setting, { base }));
    return (await aggregate(strategy, server(strategy, base), updates, setting)).parameters;
  };
  const [plain, exact] = [await after({ solver: "none" }), await after({ solver: "l2-closed", lambda: 0 })];
  for (const at of layout.pairs) {
    const target = productIn(clients[0]!, at).map((row, i) =>
      row.map((_, j) => clients.reduce((sum, values) => sum + productIn(values, at)[i]![j]! / 3, 0)),
    );
    const { A } = factorsIn(plain, at);
    const missedBy = (values: Float32Array) =>
      productIn(values, at).map((row, i) => row.map((value, j) => target[i]![j]! - value));
    // Factors are float32, and Ā's smallest eigenvalue divides.
    for (const row of missedBy(exact)) for (const other of A) close([dotOf(row, other)], [0], 1e-4);
    const [before, rest] = [missedBy(plain), missedBy(exact)];
    const corrected = before.map((row, i) => row.map((value, j) => value - rest[i]![j]!));
    const squared = (m: readonly (readonly number[])[]) => m.flat().reduce((sum, value) => sum + value * value, 0);
    close([squared(before)], [squared(rest) + squared(corrected)], 1e-4);
  }
});

const dotOf = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
