import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round as roundOf } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { bottleneckOf, linkOf, momentsOf, scaleOf } from "../../../src/fl/channel.ts";
import { emptyMemory } from "../../../src/fl/plan.ts";
import {
  ccfao,
  fedadagrad,
  fedadam,
  fedavg,
  fedavgm,
  fedyogi,
  krum,
  otaffl,
  strategies,
} from "../../../src/fl/strategies/registry.ts";
import type { ServerState, Strategy } from "../../../src/fl/strategy.ts";
import type { wrappers } from "../../../src/fl/wrappers/define-strategy.ts";
import { wrappedIn } from "../../support/all-strategies.ts";
import { aggregate, layout, makeUpdate, setting, stateOf, zeros } from "../../support/fl-updates.ts";
import { drawsOf, workHere } from "../../support/quadratic.ts";

const updates = [
  makeUpdate({ client: 0, delta: 0.01, examples: 3 }),
  makeUpdate({ client: 1, delta: -0.02, examples: 5 }),
];

async function twoRounds(strategy: Strategy) {
  const start = stateOf(new Float32Array(layout.size));
  const first = await aggregate(strategy, start, updates);
  return (await aggregate(strategy, first, updates)).parameters;
}

const rate = 0.05;
const channel = {
  snr: 10,
  noiseless: false,
  shadowing: 0,
  minGain: 0,
  phaseError: 0,
  paired: false,
  dropAfterScheduling: 0,
};
const pairs: readonly [string, Strategy, Strategy][] = [
  [
    "momentum",
    fedavg({ serverStep: { type: "momentum", learningRate: 0.5, beta1: 0.9 } }),
    fedavgm({ momentum: 0.9, serverLearningRate: 0.5 }),
  ],
  [
    "adam",
    fedavg({ serverStep: { type: "adam", learningRate: rate } }),
    fedadam({ serverLearningRate: rate, weighting: "examples" }),
  ],
  [
    "yogi",
    fedavg({ serverStep: { type: "yogi", learningRate: rate } }),
    fedyogi({ serverLearningRate: rate, weighting: "examples" }),
  ],
  [
    "adagrad",
    fedavg({ serverStep: { type: "adagrad", learningRate: rate, beta1: 0.9 } }),
    fedadagrad({ serverLearningRate: rate, weighting: "examples", beta1: 0.9 }),
  ],
];

for (const [name, wrapped, whole] of pairs) {
  test(`averaging with the server optimizer ${name} around it is the method of that name`, async () => {
    const [found, expected] = [await twoRounds(wrapped), await twoRounds(whole)];
    // The wrapper sees what the mean changes rounded to float32.
    for (const [i, value] of expected.entries()) {
      assert.ok(Math.abs(found[i]! - value) <= 1e-4 * Math.abs(value) + 1e-7, `${i}: ${found[i]} and ${value}`);
    }
    assert.ok(expected.some((value) => value !== 0));
  });
}

test("a robust rule may have a server optimizer", async () => {
  const strategy = krum({ malicious: 0, serverStep: { type: "adam" } });
  const three = [0, 1, 2].map((client) => makeUpdate({ client, delta: 0.01 * (client + 1) }));
  assert.match(strategy.name, /\+adam\(η=0\.01\)$/);
  const start = stateOf(new Float32Array(layout.size));
  assert.notDeepEqual((await aggregate(strategy, start, three)).parameters, start.parameters);
});

const robust = ["bulyan", "coordinate-median", "geometric-median", "krum", "multi-krum", "trimmed-mean"];
const notOfLoss = ["fedmoe", "read-me", "read-me-gates"];
const ofProducts = ["flexlora", "flora", "lora-fair"];

/** Each wrapper, whom it cannot be put around, and what is said of that. */
const refusals: Readonly<
  Record<keyof typeof wrappers, readonly (readonly [types: readonly string[], says: RegExp])[]>
> = {
  flood: [
    [[...robust, "otaffl"], /^strategy\.flood\.alpha is 0\.5, expected 0 around .*: its second mean would count whom/],
    [ofProducts, /^strategy\.flood\.alpha is 0\.5, expected 0 around .*: its second mean is one of deltas/],
    [["dpfedavg"], /^strategy\.flood\.alpha is 0\.5, expected 0 around .*: its second mean would show of a client/],
    [
      notOfLoss,
      /^strategy\.flood\.schedule is "sigmoid-normalised", expected "off" around .*: its objective is not made/,
    ],
  ],
  compress: [[["bmsfed", "read-me"], /^strategy\.compress: .* throws away what clients learn in its prelude/]],
  clipNorm: [],
  overTheAir: [
    [[...robust, "otaffl"], /^strategy\.overTheAir: .* looks at all updates at once/],
    [ofProducts, /^strategy\.overTheAir: .* sums products of factors/],
    [["ewwa", "fedvra"], /^strategy\.overTheAir: .* works on each client's update/],
  ],
  serverStep: [[ofProducts, /^strategy\.serverStep: .* sums products/]],
};

for (const [wrapper, refused] of Object.entries(refusals)) {
  test(`${wrapper} goes around any strategy, or is refused with the names of both`, () => {
    for (const type of strategies.entries.keys()) {
      const make = () => wrappedIn(wrapper, type);
      const [, says] = refused.find(([types]) => types.includes(type)) ?? [];
      if (says === undefined) assert.match(make().name, /\+/, type);
      else assert.throws(make, { name: "ScenarioError", message: says }, type);
    }
  });
}

test("what a rule cannot have from a wrapper is left out of it by an option", () => {
  assert.match(krum({ malicious: 1, flood: { alpha: 0 } }).name, /flood/);
  assert.throws(() => ccfao({ memory: true, overTheAir: {} }), /ccfao\(amsgrad,memory\) works on each client's update/);
});

test("what is heard over the air is the mean with noise of the power that the weakest client's channel sets", async () => {
  const values = (scale: number) => Float32Array.from({ length: layout.size }, (_, i) => scale * Math.sin(i));
  const two = [makeUpdate({ client: 0, values: values(0.1) }), makeUpdate({ client: 1, values: values(0.2) })];
  const start = stateOf(new Float32Array(layout.size));
  const plain = aggregate(fedavg(), start, two).parameters;
  const air = fedavg({ overTheAir: { snr: 10 } });
  const off: number[] = [];
  const expected: number[] = [];
  for (let round = 1; round <= 300; round++) {
    const sum = air.begin(start, setting);
    const at = { round: roundOf(round), draws: (purpose: string) => new Rng(round).at(purpose).at(0), work: workHere };
    for (const update of two) air.fold(sum, update, setting, at);
    const { parameters } = air.finish(sum, start, setting, at) as ServerState;
    const { ranges } = setting.layout.groups[0]!;
    const places = ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));
    const moments = two.map(({ values }) => momentsOf((i) => values[i]!, ranges));
    const links = two.map(({ client }) => linkOf(client, setting, at, channel));
    const scale = scaleOf(
      [0.5, 0.5],
      moments.map(({ variance }) => variance),
      links.map(({ gain }) => gain),
    );
    expected.push(10 ** (-10 / 10) / 2 / scale ** 2);
    for (const i of places) off.push((parameters[i]! - plain[i]!) / Math.sqrt(expected.at(-1)!));
  }
  const mean = off.reduce((sum, x) => sum + x, 0) / off.length;
  const variance = off.reduce((sum, x) => sum + x * x, 0) / off.length;
  // Four standard errors of 2,700 standard normal numbers, and of their squares.
  assert.ok(Math.abs(mean) < 4 / Math.sqrt(off.length), `mean ${mean}`);
  assert.ok(Math.abs(variance - 1) < 4 * Math.sqrt(2 / off.length), `variance ${variance}`);
});

test("the client whose power sets the noise of most groups is named", async () => {
  assert.deepEqual(bottleneckOf([0.5, 0.5], [1, 4], [1, 0.5]), { scale: 0.5, at: 1 });
  const strategy = otaffl({ epsilon: 0, shadowing: 8 });
  const values = (scale: number) => Float32Array.from({ length: layout.size }, (_, i) => scale * Math.sin(i));
  const three = [1, 1, 1e4].map((scale, client) => makeUpdate({ client, values: values(scale) }));
  const start = stateOf(new Float32Array(layout.size));
  const sent = three.map((update) => ({ ...update, sent: { loss: 1 } }));
  const after = await aggregate(strategy, start, sent);
  // No channel here is ten thousand times as good as another.
  assert.equal(strategy.report!(after, start, setting).bottleneck, 2);
});

test("two parameters to a symbol take half the channel, and the noise stays", async () => {
  const after = async (paired: boolean) => {
    const air = fedavg({ overTheAir: { snr: 10, paired } });
    const start = stateOf(new Float32Array(layout.size));
    const { parameters } = await aggregate(air, start, updates);
    return { parameters, uses: air.report!(start, start, setting).channelUses };
  };
  const [alone, paired] = [await after(false), await after(true)];
  assert.deepEqual([alone.uses, paired.uses], [layout.size, layout.size / 2]);
  assert.deepEqual(paired.parameters, alone.parameters);
});

test("its plan sends mean and variance of each group ahead of the update", () => {
  const client = {
    client: clientId(0),
    budget: 2,
    examples: 1,
    round: roundOf(1),
    memory: emptyMemory,
    draws: drawsOf(1),
    participation: participationId(0),
  };
  const plan = fedavg({ overTheAir: {} }).plan!(client, zeros, setting);
  assert.deepEqual(plan.preliminary, { up: 16 * setting.layout.groups.length, down: 8 * setting.layout.groups.length });
});
