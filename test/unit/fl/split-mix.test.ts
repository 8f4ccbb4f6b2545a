/** What Split-Mix owes: fair use of bases, independence, and what mixing does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round as roundOf } from "../../../src/base/ids.ts";
import { fedavg, splitMix } from "../../../src/fl/strategies/registry.ts";
import { changedBy } from "../../../src/fl/strategies/shapes/adversary.ts";
import { affordableBases } from "../../../src/fl/strategies/shapes/split-mix.ts";
import { together } from "../../../src/tasks/scores.ts";
import type { StepContext } from "../../../src/tasks/steps.ts";
import { gradients } from "../../../src/tensor/autodiff.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import type { Tensor } from "../../../src/tensor/graph/ir.ts";
import { reduceMean, reduceSum, scale, square, sub } from "../../../src/tensor/ops/arithmetic.ts";
import { layoutOfPairs, productIn } from "../../support/low-rank.ts";
import { close } from "../../support/method-goldens.ts";
import {
  aggregate,
  drawsOf,
  emptyMemory,
  plainLayout,
  serverOf,
  settingOf,
  updateOf,
} from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";
import { batchOf } from "../../support/small-model.ts";

const size = 5;
const bases = 8;
const budgets = [1, 2, 4, 8];
const setting = settingOf(plainLayout(size, bases), { budgets });
const numbers = (of: number, length = size) => Float32Array.from({ length }, (_, i) => Math.sin(1 + 7 * of + 3 * i));

/** Bases of the client that is invited as the `turn`-th. */
const basesAt = (turn: number, budget: number) => {
  const strategy = splitMix({ bases });
  const view = {
    client: clientId(turn % 20),
    participation: participationId(turn),
    budget,
    examples: 1,
    round: roundOf(1 + Math.floor(turn / 10)),
    memory: emptyMemory,
    draws: drawsOf(turn),
  };
  return strategy.plan!(view, serverOf(strategy, [], setting), setting);
};

test("first picks take turns, through all rounds, in an order that changes", () => {
  const firsts = Array.from({ length: 5 * bases }, (_, turn) => basesAt(turn, 1).members![0]!);
  const cycles = Array.from({ length: 5 }, (_, cycle) => firsts.slice(cycle * bases, (cycle + 1) * bases));
  for (const cycle of cycles) assert.deepEqual(cycle.toSorted(), [0, 1, 2, 3, 4, 5, 6, 7]);
  // Two of five shuffles of eight are the same with a chance of 10 ÷ 8!.
  assert.equal(new Set(cycles.map(String)).size, 5);
});

test("with budgets 8-4-2-1 every base is trained about as often by every class of clients", () => {
  const visits = 800;
  for (const budget of budgets) {
    const counts = new Array<number>(bases).fill(0);
    for (let turn = 0; turn < visits; turn++) {
      const { members } = basesAt(4 * turn + budgets.indexOf(budget), budget);
      assert.equal(new Set(members).size, budget);
      for (const base of members!) counts[base]!++;
    }
    const expected = (visits * budget) / bases;
    const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // Seven degrees of freedom: 24.3 is passed once in a thousand; seeds are fixed, so it is either passed or not.
    assert.ok(chiSquare < 24.3, `budget ${budget}: ${counts}`);
  }
});

test("a budget has as many bases as it affords, travels with these, and is refused when that is none", () => {
  for (const budget of budgets) {
    const { members, bytes } = basesAt(3, budget);
    assert.equal(members!.length, budget);
    assert.deepEqual(bytes, { down: 4 * budget * size, up: 4 * budget * size });
  }
  assert.equal(affordableBases(0.3, 10), 3, "although 0.3 · 10 might be less in binary");
  const [problem, ...others] = splitMix({ bases: 4 }).problems!(setting);
  assert.match(problem!.text, /4, of which a budget of 1 of 8 affords none; expected fewer, or minOne/);
  assert.deepEqual(others, []);
  assert.deepEqual(splitMix({ bases: 4, minOne: true }).problems!(setting), []);
});

test("where everybody trains everything, bases are as many independent FedAvg runs", async () => {
  const strategy = splitMix({ bases: 3 });
  const layout = plainLayout(size, 3);
  const base = numbers(9, 3 * size);
  const updates = [0, 1, 2].map((client) =>
    updateOf(base, numbers(client, 3 * size), {
      client: clientId(client),
      examples: 2 + client,
      plan: { kind: { variant: {} }, members: [0, 1, 2] },
      trained: new Uint8Array(3).fill(1),
    }),
  );
  const all = settingOf(layout);
  const { parameters } = await aggregate(strategy, serverOf(strategy, base, all), updates, all);
  for (let member = 0; member < 3; member++) {
    const part = (values: Float32Array) => values.slice(member * size, (member + 1) * size);
    const own = updates.map((update) => ({ ...update, values: part(update.values), base: part(update.base) }));
    const alone = settingOf(plainLayout(size));
    const expected = await aggregate(fedavg(), serverOf(fedavg(), part(base), alone), own, alone);
    assert.deepEqual(part(parameters), expected.parameters);
  }
});

test("mixed logits lose at most what bases lose on average, in any order; one base is that base", () => {
  const classes = 4;
  const batch = batchOf([Array.from({ length: 9 }, (_, i) => i % classes)], 9);
  const logits = [0, 1, 2].map((base) => numbers(base, 8 * classes).map((value) => 3 * value));
  const mixed = (some: readonly Float32Array[]) =>
    together(
      some.map((of) => ({ logits: of, counts: new Float32Array(1) })),
      batch,
      "logits",
    ).losses as Float32Array;
  const own = logits.map((of) => mixed([of]));
  const all = mixed(logits);
  for (const [at, loss] of all.entries()) {
    const mean = own.reduce((sum, losses) => sum + losses[at]! / own.length, 0);
    // Jensen; float32 losses of about 3.
    assert.ok(loss <= mean + 1e-6, `${loss} of ${mean}`);
  }
  close(mixed(logits.toReversed()), [...all]);
  const deployed = splitMix({ bases }).deploy!(4, serverOf(splitMix(), numbers(1, 8 * size), setting), setting);
  assert.equal(deployed.mix, "logits");
  assert.deepEqual(
    deployed.models.map(({ parameters }) => parameters),
    [0, 1, 2, 3].map((base) => numbers(1, 8 * size).slice(base * size, (base + 1) * size)),
  );
});

test("the masked loss sets logits of absent classes to zero, and the temperature divides them", () => {
  const [targets, classes] = [3, 5];
  const graph = new Graph();
  const inputs = {
    logits: graph.input("logits", "float32", [targets, classes]),
    targets: graph.input("targets", "int32", [targets]),
    losses: graph.input("losses", "float32", [targets]),
  };
  const pass = { logits: inputs.logits, losses: inputs.losses, batch: { targets: inputs.targets } };
  const { objective } = splitMix({ maskedLoss: true, temperature: 2 }).steps!({ variant: {} }, setting);
  const at = { pass, mean: (t: unknown) => t } as unknown as StepContext;
  const logits = [...numbers(2, targets * classes)];
  const labels = [1, 4, 1];
  const outputs = { losses: objective!(at) };
  const feeds = { logits, targets: labels, losses: new Array<number>(targets).fill(0) };
  const expected = labels.map((label, row) => {
    const seen = logits.slice(row * classes, (row + 1) * classes).map((z, c) => (c === 1 || c === 4 ? z / 2 : 0));
    return Math.log(seen.reduce((sum, z) => sum + Math.exp(z), 0)) - seen[label]!;
  });
  close(interpret({ name: "masked", inputs, outputs }, feeds).losses!, expected, 1e-12);
});

test("low-rank bases have a part of the rank each, and merged they add the mean of their products", () => {
  const one = layoutOfPairs(
    [
      { outputs: 6, inputs: 5 },
      { outputs: 3, inputs: 4 },
    ],
    4,
  );
  const pairs = [0, 1].flatMap((base) =>
    one.pairs.map((pair) => ({ ...pair, a: pair.a + base * one.size, b: pair.b + base * one.size })),
  );
  const lora = settingOf({ ...plainLayout(one.size, 2), pairs }, { budgets: [1, 2] });
  const strategy = splitMix({ bases: 2, use: "merged" });
  const view = { client: clientId(0), budget: 1, examples: 1, round: roundOf(1), memory: emptyMemory };
  const invited = { ...view, participation: participationId(0), draws: drawsOf(1) };
  const plan = strategy.plan!(invited, serverOf(strategy, [], lora), lora);
  assert.deepEqual(plan.scope, { components: { first: 2 } });
  assert.equal(plan.bytes!.up, 4 * 2 * (6 + 5 + 3 + 4));
  const parameters = numbers(4, 2 * one.size);
  const { models } = strategy.deploy!(2, { parameters, vectors: {}, notes: null }, lora);
  assert.equal(models.length, 1);
  for (const pair of one.pairs) {
    const [first, second] = [parameters, parameters.subarray(one.size)].map((values) => productIn(values, pair, 2));
    const mean = first!.map((row, i) => row.map((value, j) => (value + second![i]![j]!) / 2));
    // Products of two float32 factors of about 1.
    close(productIn(models[0].parameters, pair).flat(), mean.flat(), 1e-6);
  }
  assert.match(splitMix({ bases: 8 }).problems!(lora)[0]!.text, /expected at most lora.rank, 4/);
  assert.match(splitMix({ use: "merged" }).problems!(setting)[0]!.text, /for low-rank bases/);
});

test("the best bases go first: by what clients that kept examples said of them, last time; ties by number", async () => {
  const strategy = splitMix({ bases: 4, order: "best", minOne: true });
  const four = settingOf(plainLayout(size, 4), { budgets: [1, 2, 4] });
  let server = serverOf(strategy, numbers(1, 4 * size), four);
  const first = (budget: number) =>
    strategy.deploy!(budget, server, four).models.map(({ parameters }) =>
      [0, 1, 2, 3].findIndex((base) => parameters[0] === server.parameters[base * size]),
    );
  assert.deepEqual(first(2), [0, 1]);
  const said = (members: readonly number[], right: readonly number[], discount = 1) =>
    updateOf(server.parameters, server.parameters, {
      plan: { kind: { variant: {} }, members },
      trained: new Uint8Array(4),
      sent: { right: Float64Array.from(right), seen: new Float64Array(right.length).fill(10) },
      discount,
    });
  // Of base 0 3 + 9 of 20, of base 2 8 of 10, of base 3 6 of 10; nobody spoke of base 1.
  server = await aggregate(strategy, server, [said([0, 3], [3, 6]), said([0, 2], [9, 8])], four);
  assert.deepEqual(server.notes, [0.6, 0, 0.8, 0.6]);
  assert.deepEqual([first(1), first(4)], [[2], [2, 0, 3, 1]]);
  server = await aggregate(strategy, server, [said([2], [1]), said([1], [10], 0)], four);
  assert.deepEqual(server.notes, [0.6, 0, 0.1, 0.6], "what is not counted says nothing");
  const plan = basesAt(0, 2);
  assert.equal(plan.inputs, undefined);
});

test("a base says how many targets it gets right at its own place", () => {
  const graph = new Graph();
  const inputs = {
    logits: graph.input("logits", "float32", [3, 2]),
    targets: graph.input("targets", "int32", [3]),
    losses: graph.input("losses", "float32", [3]),
    base: graph.input("base", "float32", [1]),
  };
  const pass = { logits: inputs.logits, losses: inputs.losses, batch: { targets: inputs.targets } };
  const { validate } = splitMix({ bases: 3, order: "best" }).steps!({ variant: {} }, setting);
  const probe = validate as (at: StepContext) => { right: Tensor; seen: Tensor };
  const outputs = probe({ graph, pass, given: { base: inputs.base } } as unknown as StepContext);
  const feeds = { logits: [1, 2, 4, 3, 0, 9], targets: [1, 1, 1], losses: [0, 0, 0], base: [2] };
  const found = interpret({ name: "right", inputs, outputs }, feeds);
  assert.deepEqual(
    [[...found.right!], [...found.seen!]],
    [
      [0, 0, 2],
      [0, 0, 3],
    ],
  );
});

test("an adversary climbs the loss, no further than ε and not out of [0, 1]", () => {
  const graph = new Graph();
  const x = graph.input("x", "float32", [1, 4]);
  const target = graph.constant([0.5, 0.5, 0.5, 1], [1, 4]);
  // Half the squared distance rises away from the target, where there is any.
  const lossAt = (at: Tensor) => reduceSum(square(sub(at, target)), [0, 1], true);
  const changed = changedBy({ x, epsilon: 0.1, steps: 4 }, lossAt);
  const found = interpret({ name: "adversary", inputs: { x }, outputs: { changed } }, { x: [0.6, 0.2, 0.5, 0.05] });
  close(found.changed!, [0.7, 0.1, 0.5, 0], 1e-12);
  assert.throws(() => gradients(reduceSum(changed, [0, 1], true), [x]), /does not influence/, "it is a constant");
});

test("robust training weighs both losses; rescaling and it are for networks on images, and off unless asked for", () => {
  const strategy = splitMix({ bases: 2, robust: { share: 0.25, steps: 2, use: 0.5 }, rescale: "both" });
  assert.deepEqual(strategy.shape, { members: 2, norms: 2, rescale: "both" });
  assert.deepEqual(splitMix({ bases: 2 }).shape, { members: 2 });
  const graph = new Graph();
  const inputs = {
    x: graph.input("x", "float32", [2, 3]),
    targets: graph.input("targets", "int32", [2]),
    losses: graph.input("losses", "float32", [2]),
  };
  const again = (x: Tensor, norm: number) => scale(x, 1 + norm);
  const pass = {
    logits: again(inputs.x, 0),
    again,
    losses: inputs.losses,
    batch: { x: inputs.x, targets: inputs.targets },
  };
  const mean = (t: Tensor) => reduceMean(t, [0], true);
  const { objective } = strategy.steps!({ variant: {} }, setting);
  const outputs = { loss: objective!({ pass, mean, graph } as unknown as StepContext) };
  const x = [0.5, 0.2, 0.9, 0.4, 0.6, 0.1];
  const targets = [0, 2];
  const lossOf = (values: readonly number[], by: number) =>
    targets.reduce((sum, target, row) => {
      const z = values.slice(3 * row, 3 * row + 3).map((value) => by * value);
      return sum + (Math.log(z.reduce((all, value) => all + Math.exp(value), 0)) - z[target]!) / 2;
    }, 0);
  // The loss falls in the target's logit and rises in the others, so that is where each pixel goes, as far as ε lets it.
  const worst = x.map((value, i) => value + (targets[Math.floor(i / 3)] === i % 3 ? -8 / 255 : 8 / 255));
  const found = interpret({ name: "robust", inputs, outputs }, { x, targets, losses: [0, 0] });
  close(found.loss!, [0.75 * lossOf(x, 1) + 0.25 * lossOf(worst, 2)], 1e-12);
  const pairs = layoutOfPairs([{ outputs: 6, inputs: 5 }], 4);
  const lora = settingOf({ ...plainLayout(pairs.size, 2), pairs: pairs.pairs }, { budgets: [1, 2] });
  assert.deepEqual(
    strategy.problems!(lora).map(({ path }) => path),
    ["robust", "rescale"],
  );
});
