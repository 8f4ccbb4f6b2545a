/** What an ensemble of members owes: identities of its rules, and what it costs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round as roundOf } from "../../../src/base/ids.ts";
import { largest } from "../../../src/fl/sparse.ts";
import { fedavg, shefl } from "../../../src/fl/strategies/registry.ts";
import type { Update } from "../../../src/fl/update.ts";
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

const size = 5;
const numbers = (of: number, length = size) => Array.from({ length }, (_, i) => Math.sin(1 + 7 * of + 3 * i));

/** Clients with random-looking values of every member; `plan` says which of them they trained. */
function updatesOf(members: number, chosen: readonly (readonly number[])[], given: Partial<Update> = {}): Update[] {
  const base = numbers(99, members * size);
  return chosen.map((set, client) => {
    const values = base.map((value, i) => {
      const trained = set.includes(Math.floor(i / size));
      return trained ? value + 0.1 * numbers(client, members * size)[i]! : value;
    });
    return updateOf(Float32Array.from(base), Float32Array.from(values), {
      client: clientId(client),
      examples: 3 + client,
      budget: set.length,
      plan: { kind: { variant: {} }, members: set },
      trained: new Uint8Array(members).fill(1),
      ...given,
    });
  });
}

test("one member, everything sent and ρ = 0 is FedAvg to the bit", async () => {
  const setting = settingOf(plainLayout(size), { budgets: [1, 2, 4] });
  const updates = updatesOf(1, [[0], [0], [0]]);
  const [ours, theirs] = [shefl({ members: 1, sigmaMin: 1, rho: 0 }), fedavg()];
  const start = numbers(99);
  const run = (strategy: typeof ours) => aggregate(strategy, serverOf(strategy, start, setting), updates, setting);
  assert.deepEqual((await run(ours)).parameters, (await run(theirs)).parameters);
  const client = { client: clientId(3), target: numbers(5), steps: 4, memory: emptyMemory };
  const values = [ours, theirs].map((strategy) => {
    return participate(strategy, serverOf(strategy, start, setting), client, setting).update.values;
  });
  assert.deepEqual(values[0], values[1]);
});

test("where everybody trains everything, members are as many independent FedAvg runs", async () => {
  const members = 3;
  const layout = plainLayout(size, members);
  const updates = updatesOf(members, [
    [0, 1, 2],
    [0, 1, 2],
  ]);
  const setting = settingOf(layout);
  for (const rho of [-1, 0, 1, "dynamic"] as const) {
    const strategy = shefl({ members, sigmaMin: 1, rho });
    const together = await aggregate(strategy, serverOf(strategy, updates[0]!.base, setting), updates, setting);
    for (let member = 0; member < members; member++) {
      const part = (values: Float32Array) => values.slice(member * size, (member + 1) * size);
      const own = updates.map((update) => ({ ...update, values: part(update.values), base: part(update.base) }));
      const alone = settingOf(plainLayout(size));
      const { parameters } = await aggregate(fedavg(), serverOf(fedavg(), own[0]!.base, alone), own, alone);
      assert.deepEqual(part(together.parameters), parameters);
    }
  }
});

test("over all assignments, updates divided by inclusion add up to what everybody would send", () => {
  const members = 3;
  const held = [1, 2, 3];
  const n = [5, 7, 2];
  const delta = held.map((_, client) => Array.from({ length: members }, (_, j) => Math.cos(client + 2 * j)));
  const subsets = (count: number) =>
    [...Array(2 ** members).keys()]
      .map((bits) => [0, 1, 2].filter((member) => bits & (1 << member)))
      .filter(({ length }) => length === count);
  const strategy = shefl({ members, assign: "random", sigmaMin: 1 });
  const setting = settingOf(plainLayout(size, members), { budgets: [1, 2, 3] });
  const planOf = (client: number, round: number) => {
    const draws = drawsOf(round * 10 + client);
    const view = {
      client: clientId(client),
      budget: held[client]!,
      examples: 1,
      round: roundOf(round),
      draws,
      participation: participationId(client),
    };
    return strategy.plan!({ ...view, memory: emptyMemory }, serverOf(strategy, [], setting), setting);
  };
  for (let member = 0; member < members; member++) {
    for (const client of held.keys()) {
      const all = subsets(held[client]!);
      // Of a budget's subsets each is as likely, and π is the share of those that contain the member.
      const mean = all.reduce((sum, set) => {
        const share = planOf(client, 1).members!.length / members;
        return sum + (set.includes(member) ? (n[client]! * delta[client]![member]!) / share : 0) / all.length;
      }, 0);
      assert.ok(Math.abs(mean - n[client]! * delta[client]![member]!) < 1e-12);
    }
  }
  // And the draws do choose every subset: with 60 rounds each of three is missing with a chance of 3·(2/3)⁶⁰ = 8e-11.
  const seen = new Set(Array.from({ length: 60 }, (_, round) => String(planOf(1, round + 1).members)));
  assert.deepEqual([...seen].sort(), ["0,1", "0,2", "1,2"]);
});

test("what is kept is exact, and what was sent with what is owed is all there was", () => {
  const values = Float64Array.from(numbers(3, 40));
  const kept = largest(values, 11);
  assert.equal(kept.filter((value) => value !== 0).length, 11);
  const dropped = values.map((value, i) => value - kept[i]!);
  for (const [i, value] of kept.entries()) assert.ok(value === values[i] || value === 0);
  const square = (all: Float64Array) => all.reduce((sum, value) => sum + value * value, 0);
  assert.ok(Math.abs(square(values) - square(kept) - square(dropped)) < 1e-12);
  assert.ok(Math.min(...kept.filter(Boolean).map(Math.abs)) >= Math.max(...dropped.map(Math.abs)));
  assert.deepEqual([...largest(Float64Array.of(1, -1, 1, 0), 2)], [1, -1, 0, 0]);

  // Over ten rounds, in float32 memory: sums of about 1 with ten roundings of 6e-8 each.
  const strategy = shefl({ members: 2, sigmaMin: 0.25 });
  const setting = settingOf(plainLayout(20, 2), { budgets: [1, 4] });
  let memory = emptyMemory;
  const total = new Float64Array(40);
  const sent = new Float64Array(40);
  for (let round = 0; round < 10; round++) {
    const base = new Float32Array(40);
    const change = Float32Array.from(numbers(round, 40), (value, i) => (i >= 20 ? value / 10 : 0));
    const plan = { kind: { variant: {} }, members: [1] };
    const trained = updateOf(base, change, { plan });
    const view = { client: clientId(0), budget: 1, examples: 1, round: trained.round, memory, draws: drawsOf(1) };
    const reply = strategy.reply!({ ...trained, trained: Uint8Array.of(1, 1), found: {} }, plan, view, setting);
    memory = reply.memory!;
    // σ = 0.25 + 0.75·0.25 of 20 entries.
    assert.equal(reply.values!.filter((value) => value !== 0).length, 9);
    for (let i = 0; i < 40; i++) {
      total[i]! += change[i]!;
      sent[i]! += reply.values![i]!;
    }
  }
  for (let i = 0; i < 40; i++) assert.ok(Math.abs(sent[i]! + memory.vectors.owed![i]! - total[i]!) < 2e-6);
});

test("a class that weak clients alone know moves the further, the less their weight is cut", async () => {
  const members = 4;
  const setting = settingOf(plainLayout(size, members), { budgets: [1, 4] });
  // A strong client pulls every member back to zero in coordinate 0, where a weak one has something to say.
  const base = new Float32Array(members * size);
  const weakValues = base.with(0, 1);
  const of = (values: Float32Array, set: number[], client: number) =>
    updateOf(base, values, {
      client: clientId(client),
      budget: set.length,
      plan: { kind: { variant: {} }, members: set },
      trained: new Uint8Array(members).fill(1),
    });
  const updates = [of(weakValues, [0], 0), of(base, [0, 1, 2, 3], 1)];
  const reached = async (rho: number | "dynamic", target = 0.5) => {
    const strategy = shefl({ members, rho, target });
    return (await aggregate(strategy, serverOf(strategy, base, setting), updates, setting)).parameters[0]!;
  };
  // π = 1/4 and 1: weights 4 and 1, 1 and 1, 1/4 and 1.
  assert.ok(Math.abs((await reached(-1)) - 4 / 5) < 1e-7);
  assert.ok(Math.abs((await reached(0)) - 1 / 2) < 1e-7);
  assert.ok(Math.abs((await reached(1)) - 1 / 5) < 1e-7);
  // Capacities 1/4 and 1 have a mean of 5/8: ρ = 2·(1/2 − 5/8) = −1/4, and ρ = −1 where 0 is aimed at.
  const weight = 4 ** 0.25;
  assert.ok(Math.abs((await reached("dynamic")) - weight / (weight + 1)) < 1e-7);
  assert.ok(Math.abs((await reached("dynamic", 0)) - 4 / 5) < 1e-7);
});

test("an entry that was not sent counts as unchanged, or not at all", async () => {
  const setting = settingOf(plainLayout(2), { budgets: [1] });
  const base = new Float32Array(2);
  const plan = { kind: { variant: {} }, members: [0] };
  const updates = [
    updateOf(base, Float32Array.of(1, 0), { plan }),
    updateOf(base, Float32Array.of(2, 2), { client: clientId(1), plan }),
  ];
  for (const [missing, expected] of [
    ["zero", [1.5, 1]],
    ["skip", [1.5, 2]],
  ] as const) {
    const strategy = shefl({ members: 1, missing });
    const { parameters } = await aggregate(strategy, serverOf(strategy, base, setting), updates, setting);
    assert.deepEqual([...parameters], expected);
  }
});

test("bytes follow the formula, and a client comes to every member within M ÷ m rounds", () => {
  const members = 4;
  const budgets = [1, 2, 4];
  const setting = settingOf(plainLayout(1_000, members), { budgets });
  const strategy = shefl({ members });
  const planOf = (budget: number, round: number) => {
    const view = { client: clientId(7), budget, examples: 1, round: roundOf(round), memory: emptyMemory };
    const at = { participation: participationId(7), draws: drawsOf(round) };
    return strategy.plan!({ ...view, ...at }, serverOf(strategy, [], setting), setting);
  };
  // σ = 1/4 + 3/4·c: 0.4375, 0.625 and 1; eight bytes an entry, or four each when all are sent.
  const up = [1 * 8 * 438, 2 * 4 * 1_000, 4 * 4 * 1_000];
  for (const [at, held] of [1, 2, 4].entries()) {
    const budget = budgets[at]!;
    const plan = planOf(budget, 1);
    assert.equal(plan.members!.length, held);
    assert.deepEqual(plan.bytes, { down: 4 * 1_000 * held, up: up[at] });
    const seen = new Set<number>();
    for (let round = 3; round < 3 + Math.ceil(members / held); round++) {
      for (const member of planOf(budget, round).members!) seen.add(member);
    }
    assert.deepEqual([...seen].sort(), [0, 1, 2, 3], `budget ${budget}`);
  }
});

test("a budget deploys the members it can hold, each with what the option gives it", () => {
  const setting = settingOf(plainLayout(2, 4), { budgets: [1, 2, 8] });
  const parameters = Float32Array.from({ length: 8 }, (_, i) => i);
  const deployed = (activate: "full" | "budget" | "share", budget: number) => {
    const strategy = shefl({ members: 4, activate });
    const { models, mix } = strategy.deploy!(budget, serverOf(strategy, parameters, setting), setting);
    assert.equal(mix, "probabilities");
    return models.map((model) => [[...model.parameters], model.variant.topK]);
  };
  assert.deepEqual(deployed("full", 1), [[[0, 1], 8]]);
  assert.deepEqual(deployed("budget", 2), [[[0, 1], 2]]);
  assert.deepEqual(deployed("share", 8), [
    [[0, 1], 2],
    [[2, 3], 2],
    [[4, 5], 2],
    [[6, 7], 2],
  ]);
});

test("the server remembers when each member was last trained", async () => {
  const members = 3;
  const setting = settingOf(plainLayout(size, members));
  const strategy = shefl({ members });
  const updates = updatesOf(members, [[0], [2]]);
  const server = await aggregate(strategy, serverOf(strategy, updates[0]!.base, setting), updates, setting, 6);
  assert.deepEqual(server.notes, { trainedIn: [6, 0, 6] });
});
