import assert from "node:assert/strict";
import { test } from "node:test";
import { ScenarioError } from "../../../src/base/errors.ts";
import { clientId } from "../../../src/base/ids.ts";
import {
  fedadagrad,
  fedadam,
  fedavg,
  fedavgm,
  fedyogi,
  flame,
  mix,
  strategyFromSpec,
} from "../../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../../src/fl/strategy.ts";
import { clipUpdate, deltaNorm } from "../../../src/fl/update.ts";
import { clipped } from "../../../src/fl/wrappers/clipped.ts";
import {
  aggregate,
  assertClose,
  at,
  elementsOf,
  layout,
  makeUpdate,
  setting,
  stateOf,
  zeros,
} from "../../support/fl-updates.ts";
import { plainLayout, aggregate as play, serverOf, settingOf, updateOf } from "../../support/quadratic.ts";

test("a frequent expert outweighs a rare one", () => {
  // Weights 2·(5/10)² = 0.5 and 8·(10/10)² = 8, so (0.5·1 + 8·3) / 8.5.
  const updates = [
    makeUpdate({ client: 0, examples: 2, active: 5, delta: 1 }),
    makeUpdate({ client: 1, examples: 8, active: 10, delta: 3 }),
  ];
  assertClose(at(aggregate(flame({ frequencyExponent: 2 }), zeros, updates), 0), 24.5 / 8.5);
});

test("FLAME weighs clients by frequency to the power t, times their examples", () => {
  // f = 0.2 and 0.1: 0.8 and 0.2 at t = 2; with 100 and 300 examples at t = 1, 20 and 30.
  const share = (t: number, examples: [number, number]) =>
    at(
      aggregate(flame({ frequencyExponent: t }), zeros, [
        makeUpdate({ client: 0, examples: examples[0], tokens: 100, active: 20, delta: 1 }),
        makeUpdate({ client: 1, examples: examples[1], tokens: 100, active: 10, delta: 0 }),
      ]),
      0,
    );
  assertClose(share(2, [50, 50]), 0.8);
  assertClose(share(1, [100, 300]), 0.4);
});

test("weights keep their proportion when rare experts meet a large exponent", () => {
  // f = 2⁻³¹ and 2⁻³⁰ at t = 16: weights as small as 2⁻⁴⁹⁶, in proportion 1 to 65,536.
  const strategy = flame({ frequencyExponent: 16 });
  const updates = [1, 2].map((active, client) => makeUpdate({ client, tokens: 2 ** 31, active, delta: client }));
  assert.equal(
    strategy.weight(updates[1]!, 0, setting.layout) / strategy.weight(updates[0]!, 0, setting.layout),
    65_536,
  );
  assertClose(at(aggregate(strategy, zeros, updates), 0), 65_536 / 65_537);
});

test("normalised to shares, eight experts weigh as much as one", () => {
  // Even routing over 16 experts: f is 1/2 for k = 8 and 1/16 for k = 1; a share is 1/16 for both.
  const updates = [
    makeUpdate({ client: 0, budget: 8, tokens: 160, active: 80, delta: 1 }),
    makeUpdate({ client: 1, budget: 1, tokens: 160, active: 10, delta: 0 }),
  ];
  assertClose(at(aggregate(flame({ frequencyNorm: "tokens" }), zeros, updates), 0), 64 / 65);
  assertClose(at(aggregate(flame({ frequencyNorm: "share" }), zeros, updates), 0), 0.5);
});

test("FLAME averages what all tokens pass by examples alone, and FedAvg does not ask what it is", async () => {
  const { groups, ...rest } = plainLayout(1, 2);
  const setting = settingOf({ ...rest, groups: [groups[0]!, { ...groups[1]!, always: true }] });
  const updates = [1, 3].map((examples, client) => {
    const used = { budget: 2, examples, units: 10 * examples, counts: Float64Array.of(5, 10 * examples) };
    return updateOf([0, 0], [4 * client, 4 * client], used);
  });
  for (const strategy of [flame({ frequencyExponent: 4 }), flame({ trainRouters: true }), fedavg()]) {
    const { parameters } = await play(strategy, serverOf(strategy, [0, 0], setting), updates, setting);
    assertClose(parameters[1]!, 3);
  }
  assertClose(flame({ frequencyExponent: 1 }).weight(updates[0]!, 0, setting.layout), 5 / 20);
});

test("a client that never used an expert has no say in it", () => {
  const quiet = [0, 5, 5, 5, 5, 5];
  const updates = [makeUpdate({ client: 0, active: quiet, delta: 9 }), makeUpdate({ client: 1, delta: 1 })];
  const next = aggregate(flame(), zeros, updates);
  assert.equal(at(next, 0), 1);
  assert.equal(at(next, 1), 5);
});

test("FedAvg counts a client without tokens for an expert as unchanged, or leaves it out", () => {
  const updates = [
    makeUpdate({ client: 0, examples: 3, active: [0, 5, 5, 5, 5, 5], delta: 0 }),
    makeUpdate({ client: 1, examples: 1, delta: 8 }),
  ];
  assert.equal(at(aggregate(fedavg({ absentPolicy: "dilute" }), zeros, updates), 0), 2);
  assert.equal(at(aggregate(fedavg({ absentPolicy: "renormalise" }), zeros, updates), 0), 8);
});

test("FedAvg weighs by examples, or every client alike", () => {
  const updates = [makeUpdate({ client: 0, examples: 1, delta: 0 }), makeUpdate({ client: 1, examples: 3, delta: 4 })];
  assert.equal(at(aggregate(fedavg(), zeros, updates), 0), 3);
  assert.equal(at(aggregate(fedavg({ weighting: "uniform" }), zeros, updates), 0), 2);
});

test("a discount damps an update, or gives its weight to the others", () => {
  const updates = [makeUpdate({ client: 0, delta: 4, discount: 0.5 }), makeUpdate({ client: 1, delta: 1 })];
  // (0.5·4 + 1) / 2 against (0.5·4 + 1) / 1.5.
  assert.equal(at(aggregate(fedavg({ discounts: "damp" }), zeros, updates), 0), 1.5);
  assert.equal(at(aggregate(fedavg({ discounts: "reweigh" }), zeros, updates), 0), 2);
});

test("deltas of stale updates are added to the present adapter", () => {
  const base = new Float32Array(layout.size).fill(10);
  const state = stateOf(new Float32Array(layout.size).fill(100));
  assert.equal(at(aggregate(flame(), state, [makeUpdate({ base, delta: 2 })]), 0), 102);
});

test("server momentum settles at the mean delta over one minus beta", () => {
  const strategy = fedavgm({ momentum: 0.9, serverLearningRate: 0.5 });
  let state = zeros;
  for (let round = 0; round < 300; round++) state = aggregate(strategy, state, [makeUpdate({ delta: 0.25 })]);
  const next = aggregate(strategy, state, [makeUpdate({ delta: 0.25 })]);
  // 0.5 · 0.25 / 0.1; the adapter is near 375, where a float32 step is 3e-5.
  assertClose(at(next, 0) - at(state, 0), 1.25, 6e-5);
});

test("without momentum FedAvgM is FedAvg", () => {
  const updates = [makeUpdate({ client: 0, examples: 3, delta: 0.1 }), makeUpdate({ client: 1, delta: -0.7 })];
  assert.deepEqual(
    aggregate(fedavgm({ momentum: 0 }), zeros, updates).parameters,
    aggregate(fedavg(), zeros, updates).parameters,
  );
});

const firstStep = (strategy: Strategy, delta = 0.5) => at(aggregate(strategy, zeros, [makeUpdate({ delta })]), 0);

test("the first steps of the adaptive servers are those of the formula", () => {
  const options = { serverLearningRate: 0.1, tau: 1e-3 };
  // Six or seven digits are given, so half a unit of the last.
  assertClose(firstStep(fedadam(options)), 0.0980202, 5e-8);
  assertClose(firstStep(fedadam({ ...options, initialVariance: "zero" })), 0.0980392, 5e-8);
  assertClose(firstStep(fedadam({ ...options, initialVariance: "zero", biasCorrection: "flower" })), 0.0727902, 5e-8);
  assertClose(firstStep(fedadagrad({ ...options, initialVariance: "zero" })), 0.0998004, 5e-8);
  assertClose(firstStep(fedyogi(options)), 0.09802, 5e-8);
});

test("the adaptive servers follow their recurrences for many rounds", () => {
  const beta1 = 0.9;
  const beta2 = 0.99;
  const tau = 1e-3;
  const rules = {
    fedadam: (v: number, d: number) => beta2 * v + (1 - beta2) * d * d,
    fedyogi: (v: number, d: number) => v - (1 - beta2) * d * d * Math.sign(v - d * d),
    fedadagrad: (v: number, d: number) => v + d * d,
  };
  const make = { fedadam, fedyogi, fedadagrad };
  for (const type of ["fedadam", "fedyogi", "fedadagrad"] as const) {
    const strategy = make[type]({ beta1, tau, serverLearningRate: 0.01 });
    let [state, m, v, x] = [zeros, 0, tau * tau, 0];
    for (let round = 1; round <= 50; round++) {
      const delta = Math.fround(Math.sin(round));
      state = aggregate(strategy, state, [makeUpdate({ delta })]);
      m = beta1 * m + (1 - beta1) * delta;
      v = rules[type](v, delta);
      x = Math.fround(x + (0.01 * m) / (Math.sqrt(v) + tau));
    }
    assertClose(at(state, 0), x, 1e-6, type);
  }
});

test("a huge tau turns the adaptive servers into FedAvg", () => {
  const options = { beta1: 0, tau: 1e6, serverLearningRate: 1e6, initialVariance: "zero" } as const;
  for (const strategy of [fedadam(options), fedyogi(options), fedadagrad(options)]) {
    assertClose(firstStep(strategy, 0.5), 0.5, 1e-5);
  }
});

test("as tau vanishes the adaptive servers no longer see the scale of the deltas", () => {
  for (const make of [fedadam, fedyogi, fedadagrad]) {
    const strategy = make({ tau: 1e-9, serverLearningRate: 0.1 });
    assertClose(firstStep(strategy, 0.01), firstStep(strategy, 10), 1e-6);
  }
});

test("an expert nobody trained rests, whatever the server's momentum", () => {
  const busy = [0, 5, 5, 5, 5, 5];
  for (const strategy of [fedavgm(), fedadam(), fedyogi(), fedadagrad({ beta1: 0.9 })]) {
    const before = aggregate(strategy, zeros, [makeUpdate({ delta: 1 })]);
    const after = aggregate(strategy, before, [makeUpdate({ active: busy, delta: 1 })]);
    assert.deepEqual(elementsOf(after.parameters, 0), elementsOf(before.parameters, 0), strategy.name);
    assert.notDeepEqual(elementsOf(after.parameters, 1), elementsOf(before.parameters, 1), strategy.name);
    for (const moment of ["m", "v"]) {
      const { start } = layout.ranges(0)[0]!;
      assert.equal(after.vectors[moment]?.[start], before.vectors[moment]?.[start], strategy.name);
    }
  }
});

test("mixing goes a share of the way to the client's adapter, one client after the other", () => {
  const state = stateOf(new Float32Array(layout.size).fill(8));
  const updates = [
    makeUpdate({ client: 0, delta: 4, discount: 0.5 }),
    makeUpdate({ client: 1, delta: 0, discount: 0.25 }),
  ];
  // 8 → 6 → 4.5: the deltas' base, 0, plays no part.
  assert.equal(at(aggregate(mix(), state, updates), 0), 4.5);
});

test("with a full share the last arrival wins, bit for bit", () => {
  const values = Float32Array.from({ length: layout.size }, (_, i) => Math.fround(Math.exp(i - 20)));
  const state = stateOf(new Float32Array(layout.size).fill(1e6));
  const updates = [makeUpdate({ client: 0, delta: 3 }), makeUpdate({ client: 1, values })];
  assert.deepEqual(aggregate(mix(), state, updates).parameters, values);
});

test("clipping shortens a delta to the bound and keeps its direction", () => {
  const long = makeUpdate({ delta: [3, -4, 0, 0, 0, 0] });
  const short = clipUpdate(long, 2);
  // Nine elements of 3 and nine of −4: the norm is √(81 + 144) = 15.
  assertClose(deltaNorm(long), 15, 1e-12);
  assertClose(deltaNorm(short), 2, 1e-12);
  const next = aggregate(clipped(fedavg(), { norm: 2 }), zeros, [long]);
  assertClose(at(next, 0), (3 * 2) / 15);
  assertClose(at(next, 1), (-4 * 2) / 15);
  assert.equal(clipUpdate(long, 15.1), long);
});

test("an update without change survives clipping", () => {
  assert.deepEqual(
    aggregate(clipped(flame(), { norm: 1 }), zeros, [makeUpdate({ delta: 0 })]).parameters,
    zeros.parameters,
  );
});

test("a mistake in a strategy names field, expectation and value", () => {
  assert.throws(() => flame({ frequencyExponent: -1 }).weight, {
    name: "ScenarioError",
    message: "strategy.frequencyExponent is -1, expected at least 0",
  });
  assert.throws(() => strategyFromSpec({ type: "fedpox" }), ScenarioError);
  assert.throws(
    () => strategyFromSpec({ type: "flame", temperature: 2 }),
    /strategy.temperature is not a field that exists here/,
  );
  assert.throws(() => clipped(flame(), { norm: 0 }), /strategy.clipNorm is 0, expected more than 0/);
  assert.throws(
    () => strategyFromSpec({ type: "fedavgm", momentum: 1 }),
    /strategy.momentum is 1, expected less than 1/,
  );
});

test("with the population counted, who is not there counts as unchanged", async () => {
  const setting = settingOf(plainLayout(1), { clients: 4, examples: (client) => 1 + client });
  const updates = [0, 2].map((client) =>
    updateOf([0], [1 + client], { client: clientId(client), examples: setting.examples(client) }),
  );
  const after = async (weighting: "examples" | "uniform") => {
    const strategy = fedavg({ population: true, weighting });
    return (await play(strategy, serverOf(strategy, [0], setting), updates, setting)).parameters[0]!;
  };
  // Deltas 1 and 3 of clients with 1 and 3 of all ten examples, or two of four clients.
  assertClose(await after("examples"), (1 * 1 + 3 * 3) / 10);
  assertClose(await after("uniform"), (1 + 3) / 4);
});
