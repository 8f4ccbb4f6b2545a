/** What BMSFed's server makes of a prelude and of rounds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, round as roundOf } from "../../../src/base/ids.ts";
import { fedavg } from "../../../src/fl/strategies/fedavg.ts";
import { bmsfed } from "../../../src/fl/strategies/modalities/bmsfed.ts";
import type { ServerState, Strategy } from "../../../src/fl/strategy.ts";
import type { Update } from "../../../src/fl/update.ts";
import { aggregate, updateOf } from "../../support/quadratic.ts";
import {
  clients,
  invited,
  layout,
  normals,
  ofA,
  ofHead,
  ofV,
  part,
  serverOf,
  setting,
} from "../../support/two-view.ts";

/** An update of a client, trained by adding `shift` to what its mode trains. */
function updateBy(
  strategy: Strategy,
  server: ServerState,
  client: number,
  budget: number,
  given: { shift: number; chosen?: number; round?: number; right?: [number, number] },
): Update {
  const view = invited(client, budget, {
    round: roundOf(given.round ?? 1),
    ...(given.chosen && { chosen: given.chosen }),
  });
  const plan = strategy.plan!(view, server, setting);
  const { mode, has } = plan.kind as unknown as { mode: number; has: number };
  const trained = [mode !== 2, mode !== 1, true].map(Number);
  const values = Float32Array.from(server.parameters);
  for (const [
    group,
    {
      ranges: [range],
    },
  ] of layout.groups.entries()) {
    for (let i = range!.start; i < range!.end; i++) values[i]! += trained[group]! * given.shift * (1 + (i % 3));
  }
  const [right0, right1] = (given.right ?? [1, 1]).map((right) => Float64Array.of(right));
  const sums = { sums0: normals(client, 6), sums1: normals(client + 50, 6) };
  const found = {
    counts: Float64Array.of(1, client, 0),
    ...(has !== 2 && { sums0: sums.sums0 }),
    ...(has !== 1 && { sums1: sums.sums1 }),
    ...(has === 3 && { right0: right0!, right1: right1! }),
  };
  const { sent } = strategy.reply!({ found } as never, plan, view, setting);
  return updateOf(server.parameters, values, {
    client: clientId(client),
    budget,
    examples: view.examples,
    round: view.round,
    plan,
    sent: sent!,
    trained: Uint8Array.from(trained),
  });
}

test("a prelude leaves the model as it is, and of everybody gradients, distances, prototypes and leaning", async () => {
  const strategy = bmsfed();
  const server = serverOf(strategy);
  const budgets = [3, 1, 2, 3];
  const updates = budgets.map((budget, client) =>
    updateBy(strategy, server, client, budget, { shift: 0.01 * (client + 1), round: 0, right: [2, 1] }),
  );
  for (const update of updates)
    assert.deepEqual(
      [0, 1, 2].map((group) => strategy.weight(update, group, setting.layout)),
      [0, 0, 0],
    );
  const { parameters: next, vectors } = await aggregate(strategy, server, updates, setting, 0);
  assert.deepEqual(next, server.parameters);
  const width = ofV.end;
  const row = (table: string, client: number) =>
    Array.from(vectors[table]!).slice(client * width, (client + 1) * width);
  for (const [client, budget] of budgets.entries()) {
    const { base, values } = updates[client]!;
    const gradient = Array.from({ length: width }, (_, i) => Math.fround(base[i]! - values[i]!));
    // Zeros for an encoder that the client lacks.
    if (budget !== 3) assert.ok(part(gradient, budget === 1 ? ofV : ofA).every((g) => g === 0));
    assert.deepEqual(row("gradients", client), gradient);
    assert.deepEqual(row("aloneGradients", client), gradient);
    assert.equal(vectors.rho![client], budget === 3 ? 2 : 1);
  }
  for (const [name, from, until] of [
    ["distances", 0, width],
    ["distances0", 0, ofA.end],
    ["distances1", ofA.end, width],
  ] as const) {
    for (let i = 0; i < clients; i++) {
      for (let j = 0; j < clients; j++) {
        const [x, y] = [row("gradients", i), row("gradients", j)];
        const apart = Math.hypot(...x.slice(from, until).map((value, at) => value - y[from + at]!));
        assert.ok(Math.abs(vectors[name]![i * clients + j]! - apart) < 1e-12, `${name} of ${i} and ${j}`);
      }
    }
  }
  // Class 1 was shown as often as the client's number says, class 2 never.
  assert.deepEqual([...vectors.counts0!], [3, 4, 0]);
  assert.deepEqual([...vectors.counts1!], [3, 5, 0]);
  const sumOfClass = [0, 1, 3].reduce((sum, client) => sum + normals(client, 6)[0]!, 0);
  assert.ok(
    Math.abs(vectors.prototypes0![0]! - sumOfClass / 3) < 1e-12,
    "means of clients by counts are those of all examples",
  );
});

test("a round refreshes what was trained, and nothing else of a client or of others", async () => {
  const strategy = bmsfed();
  const everybody = [3, 3, 1, 2].map((budget, client) =>
    updateBy(strategy, serverOf(strategy), client, budget, { shift: 0.01, round: 0 }),
  );
  const server = await aggregate(strategy, serverOf(strategy), everybody, setting, 0);
  const width = ofV.end;
  const after = async (client: number, budget: number, chosen: number) => {
    const update = updateBy(strategy, server, client, budget, { shift: 0.5, chosen, right: [1, 2] });
    const { vectors } = await aggregate(strategy, server, [update], setting, 1);
    const changed = (table: string) => {
      const before = server.vectors[table]!;
      return [...new Set([...vectors[table]!].flatMap((value, i) => (value === before[i] ? [] : [i])))];
    };
    const cells = (table: string) => changed(table).map((i) => [Math.floor(i / clients), i % clients]);
    for (const table of ["distances", "distances0", "distances1"]) {
      assert.ok(
        cells(table).every((cell) => cell.includes(client)),
        `${table}: only its row and column`,
      );
    }
    const ranges = (table: string) =>
      [...new Set(changed(table).map((i) => `${Math.floor(i / width)}${i % width < ofA.end ? "a" : "v"}`))].sort();
    return { joint: ranges("gradients"), alone: ranges("aloneGradients"), rho: vectors.rho![client] };
  };
  assert.deepEqual(await after(0, 3, 3), { joint: ["0a", "0v"], alone: [], rho: 0.5 });
  assert.deepEqual(await after(0, 3, 2), { joint: [], alone: ["0v"], rho: 0.5 });
  assert.deepEqual(await after(1, 3, 1), { joint: [], alone: ["1a"], rho: 0.5 });
  assert.deepEqual(await after(2, 1, 3), { joint: ["2a"], alone: ["2a"], rho: 1 });
  assert.deepEqual(await after(3, 2, 1), { joint: ["3v"], alone: ["3v"], rho: 1 });
});

test("an encoder is the mean of those who trained it, the head of all, each by its examples", async () => {
  const strategy = bmsfed();
  const server = serverOf(strategy);
  const parts = [
    updateBy(strategy, server, 0, 3, { shift: 0.1 }),
    updateBy(strategy, server, 1, 3, { shift: 0.2, chosen: 2 }),
    updateBy(strategy, server, 2, 1, { shift: 0.4 }),
  ];
  const { parameters: next } = await aggregate(strategy, server, parts, setting);
  const n = [10, 11, 12];
  const meanOf = (members: readonly number[], i: number) =>
    members.reduce((sum, k) => sum + n[k]! * (parts[k]!.values[i]! - server.parameters[i]!), 0) /
    members.reduce((sum, k) => sum + n[k]!, 0);
  for (const [range, members] of [
    [ofA, [0, 2]],
    [ofV, [0, 1]],
    [ofHead, [0, 1, 2]],
  ] as const) {
    for (let i = range.start; i < range.end; i++) {
      assert.ok(Math.abs(next[i]! - server.parameters[i]! - meanOf(members, i)) < 1e-6, `parameter ${i}`);
    }
  }
  const alone = await aggregate(strategy, server, [parts[1]!], setting);
  assert.deepEqual(part(alone.parameters, ofA), part(server.parameters, ofA), "nobody trained a");
  const averaged = fedavg({ absentPolicy: "renormalise" });
  assert.deepEqual(next, (await aggregate(averaged, server, parts, setting)).parameters);
});
