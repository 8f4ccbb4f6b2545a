import assert from "node:assert/strict";
import { test } from "node:test";
import { fedadagrad, fedadam, fedavg, fedavgm, fedyogi, krum } from "../../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../../src/fl/strategy.ts";
import { aggregate, layout, makeUpdate, stateOf } from "../../support/fl-updates.ts";

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

test("weights by what looks familiar are refused around a rule that looks at all updates at once", () => {
  assert.throws(() => krum({ malicious: 1, flood: {} }), /flood\.alpha is 0\.5, expected 0 around krum/);
  assert.match(krum({ malicious: 1, flood: { alpha: 0 } }).name, /flood/);
});
