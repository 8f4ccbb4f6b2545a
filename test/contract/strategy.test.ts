/** What every aggregation strategy owes the server, run on each of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import {
  coordinateMedian,
  fedadagrad,
  fedadam,
  fedavg,
  fedavgm,
  fedyogi,
  flame,
  krum,
  mix,
  multiKrum,
  strategyFromSpec,
  trimmedMean,
} from "../../src/fl/strategies/registry.ts";
import type { AggregationStrategy, GlobalState } from "../../src/fl/strategy.ts";
import { clipped } from "../../src/fl/strategy.ts";
import type { Update } from "../../src/fl/update.ts";
import { aggregate, elementsOf, experts, layout, makeUpdate } from "../support/fl-updates.ts";

interface Promises {
  /** Fewest updates from which identical ones come out as they went in; absent for server optimizers. */
  readonly reproducesFrom?: number;
  /** Sequential mixing depends on the order by design. */
  readonly ordered?: boolean;
}

strategyContract(() => flame(), { reproducesFrom: 1 });
strategyContract(() => flame({ frequencyExponent: 0 }), { reproducesFrom: 1 });
strategyContract(() => flame({ frequencyExponent: 8, frequencyNorm: "share" }), { reproducesFrom: 1 });
strategyContract(() => fedavg(), { reproducesFrom: 1 });
strategyContract(() => fedavg({ weighting: "uniform", absentPolicy: "renormalise" }), { reproducesFrom: 1 });
strategyContract(() => fedavgm({ momentum: 0 }), { reproducesFrom: 1 });
strategyContract(() => fedavgm({ absentPolicy: "renormalise" }), {});
strategyContract(() => fedadam({ biasCorrection: "flower" }), {});
strategyContract(() => fedyogi(), {});
strategyContract(() => fedadagrad(), {});
strategyContract(() => mix(), { reproducesFrom: 1, ordered: true });
strategyContract(() => coordinateMedian(), { reproducesFrom: 1 });
strategyContract(() => trimmedMean(), { reproducesFrom: 1 });
strategyContract(() => krum({ malicious: 1 }), { reproducesFrom: 5 });
strategyContract(() => krum({ malicious: 1, scope: "adapter" }), { reproducesFrom: 5 });
strategyContract(() => multiKrum({ malicious: 0 }), { reproducesFrom: 3 });
strategyContract(() => clipped(flame(), { norm: 1e3 }), { reproducesFrom: 1 });
strategyContract(() => clipped(fedadam(), { norm: 0.5 }), {});

function strategyContract(make: () => AggregationStrategy, { reproducesFrom, ordered = false }: Promises): void {
  const strategy = make();
  const says = `${strategy.name} ${JSON.stringify(strategy.spec)}:`;

  const inAnyOrder = () => {
    for (let seed = 0; seed < 10; seed++) {
      const { state, updates } = randomRound(seed);
      const shuffled = new Rng(seed).at("shuffle").at(0).shuffle(updates.slice());
      const [a, b] = [aggregate(strategy, state, updates), aggregate(strategy, state, shuffled)];
      // Float64 sums in another order differ by about 1e-15; rounding to float32 can make one unit of that, 2⁻²³.
      for (const [i, value] of a.adapter.entries()) {
        const gap = Math.abs(value - b.adapter[i]!);
        assert.ok(
          gap <= 2 ** -23 * Math.abs(value) + 1e-12,
          `seed ${seed}, element ${i}: ${value} and ${b.adapter[i]}`,
        );
      }
    }
  };
  if (!ordered) test(`${says} shuffled updates give the same adapter`, inAnyOrder);

  const reproduces = (from: number) => {
    const { state, updates } = randomRound(1, { everyExpert: true, fromState: true });
    for (let count = from; count < 9; count++) {
      const same = updates.slice(0, 1).flatMap((update) => Array.from({ length: count }, (_, k) => copyOf(update, k)));
      assert.deepEqual(aggregate(strategy, state, same).adapter, updates[0]!.values, `${count} updates`);
    }
  };
  if (reproducesFrom !== undefined) {
    test(`${says} identical updates come out as they went in`, () => reproduces(reproducesFrom));
  }

  test(`${says} a round without updates leaves everything untouched`, () => {
    const before = aggregate(strategy, randomRound(2).state, randomRound(2).updates);
    const after = aggregate(strategy, before, []);
    assert.deepEqual(after, before);
  });

  test(`${says} an expert nobody trained is bit-identical afterwards`, () => {
    const { state, updates } = randomRound(3);
    const warm = aggregate(strategy, state, updates);
    warm.adapter[layout.ranges(4)[0]!.start] = -0;
    const idle = randomRound(7).updates.map((update) => ({ ...update, activations: update.activations.with(4, 0) }));
    const after = aggregate(strategy, warm, idle);
    assert.deepEqual(elementsOf(after.adapter, 4), elementsOf(warm.adapter, 4));
    assert.notDeepEqual(after.adapter, warm.adapter);
  });

  test(`${says} the same updates give the same bytes, and stay as they are`, () => {
    const { state, updates } = randomRound(4);
    const untouched = structuredClone({ state, updates });
    assert.deepEqual(aggregate(strategy, state, updates), aggregate(make(), state, updates));
    assert.deepEqual({ state, updates }, untouched);
  });

  test(`${says} weights are finite, not negative, and zero without a discount`, () => {
    for (const update of randomRound(5).updates) {
      for (let expert = 0; expert < experts; expert++) {
        const weight = strategy.weight(update, expert);
        assert.ok(weight >= 0 && weight < Infinity);
        assert.equal(strategy.weight({ ...update, discount: 0 }, expert), 0);
      }
    }
  });

  test(`${says} its spec is plain data that makes it again`, () => {
    const again = strategyFromSpec(JSON.parse(JSON.stringify(strategy.spec)) as typeof strategy.spec);
    assert.deepEqual([again.name, again.spec], [strategy.name, strategy.spec]);
    const { state, updates } = randomRound(6);
    assert.deepEqual(aggregate(again, state, updates), aggregate(strategy, state, updates));
  });
}

const copyOf = (update: Update, client: number): Update => makeUpdate({ ...sketchOf(update), client });

function sketchOf({ base, values, examples, tokens, activations, topK }: Update) {
  return { base, values, examples, tokens, active: [...activations], topK };
}

/** Eight updates from a common base with deltas of about 0.1; about a fifth of experts is unused by a client. */
function randomRound(
  seed: number,
  { everyExpert = false, fromState = false } = {},
): { state: GlobalState; updates: Update[] } {
  const draws = new Rng(seed).at("strategy-contract").at(0);
  const normals = (scale: number) => Float32Array.from({ length: layout.size }, () => scale * draws.normal());
  const state = { adapter: normals(1), moments: {} };
  const base = fromState ? state.adapter : normals(1);
  const updates = Array.from({ length: 8 }, (_, client) => {
    const noise = normals(0.1);
    return makeUpdate({
      client,
      base,
      values: base.map((value, i) => value + noise[i]!),
      examples: 1 + draws.below(100),
      tokens: 100,
      active: Array.from({ length: experts }, () => (!everyExpert && draws.bernoulli(0.2) ? 0 : 1 + draws.below(99))),
    });
  });
  return { state, updates };
}
