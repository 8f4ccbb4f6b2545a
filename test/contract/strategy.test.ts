/** What every aggregation strategy owes the server, run on each of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { emptyMemory } from "../../src/fl/plan.ts";
import {
  ccfao,
  coordinateMedian,
  ewwa,
  fedadagrad,
  fedadam,
  fedavg,
  fedavgm,
  fedmoe,
  fednova,
  fedprox,
  fedvra,
  fedyogi,
  flame,
  hfedmoe,
  krum,
  mix,
  multiKrum,
  otaffl,
  qffl,
  scaffold,
  strategyFromSpec,
  trimmedMean,
} from "../../src/fl/strategies/registry.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import type { Update } from "../../src/fl/update.ts";
import { clipped } from "../../src/fl/wrappers/clipped.ts";
import { aggregate, elementsOf, experts, layout, makeUpdate, setting, stateOf } from "../support/fl-updates.ts";
import { drawsOf } from "../support/quadratic.ts";

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
strategyContract(() => fedprox({ mu: 0.1 }), { reproducesFrom: 1 });
strategyContract(() => scaffold(), {});
strategyContract(() => fednova(), {});
strategyContract(() => qffl({ q: 1 }), {});
strategyContract(() => fedvra(), {});
strategyContract(() => ewwa(), {});
strategyContract(() => ccfao(), {});
strategyContract(() => otaffl({ noiseless: true }), {});
strategyContract(() => fedmoe(), { reproducesFrom: 1 });
strategyContract(() => fedmoe({ warmUp: 0, weighting: "tokens" }), {});
strategyContract(() => hfedmoe(), {});
strategyContract(() => hfedmoe({ tau: 0, routerWeights: "row" }), { reproducesFrom: 1 });
strategyContract(() => hfedmoe({ tau: 0, participation: "usage", normalise: false }), { reproducesFrom: 1 });
strategyContract(() => clipped(flame(), { norm: 1e3 }), { reproducesFrom: 1 });
strategyContract(() => clipped(fedadam(), { norm: 0.5 }), {});

function strategyContract(make: () => Strategy, { reproducesFrom, ordered = false }: Promises): void {
  const strategy = make();
  const says = `${strategy.name} ${JSON.stringify(strategy.spec)}:`;

  const inAnyOrder = () => {
    for (let seed = 0; seed < 10; seed++) {
      const { state, updates } = randomRound(strategy, seed);
      const shuffled = new Rng(seed).at("shuffle").at(0).shuffle(updates.slice());
      const [a, b] = [aggregate(strategy, state, updates), aggregate(strategy, state, shuffled)];
      // Float64 sums in another order differ by about 1e-15; rounding to float32 can make one unit of that, 2⁻²³.
      for (const [i, value] of a.parameters.entries()) {
        const gap = Math.abs(value - b.parameters[i]!);
        assert.ok(
          gap <= 2 ** -23 * Math.abs(value) + 1e-12,
          `seed ${seed}, element ${i}: ${value} and ${b.parameters[i]}`,
        );
      }
    }
  };
  if (!ordered) test(`${says} shuffled updates give the same adapter`, inAnyOrder);

  const reproduces = (from: number) => {
    const { state, updates } = randomRound(strategy, 1, { everyExpert: true, fromState: true });
    for (let count = from; count < 9; count++) {
      const same = updates.slice(0, 1).flatMap((update) => Array.from({ length: count }, (_, k) => copyOf(update, k)));
      assert.deepEqual(aggregate(strategy, state, same).parameters, updates[0]!.values, `${count} updates`);
    }
  };
  if (reproducesFrom !== undefined) {
    test(`${says} identical updates come out as they went in`, () => reproduces(reproducesFrom));
  }

  test(`${says} a round without updates leaves everything untouched`, () => {
    const before = aggregate(strategy, randomRound(strategy, 2).state, randomRound(strategy, 2).updates);
    const after = aggregate(strategy, before, []);
    assert.deepEqual(after, before);
  });

  test(`${says} an expert nobody trained is bit-identical afterwards`, () => {
    const { state, updates } = randomRound(strategy, 3);
    const warm = aggregate(strategy, state, updates);
    warm.parameters[layout.ranges(4)[0]!.start] = -0;
    const idle = randomRound(strategy, 7).updates.map((update) => ({
      ...update,
      counts: update.counts.with(4, 0),
      trained: update.trained.with(4, 0),
    }));
    const after = aggregate(strategy, warm, idle);
    assert.deepEqual(elementsOf(after.parameters, 4), elementsOf(warm.parameters, 4));
    assert.notDeepEqual(after.parameters, warm.parameters);
  });

  test(`${says} the same updates give the same bytes, and stay as they are`, () => {
    const { state, updates } = randomRound(strategy, 4);
    const untouched = structuredClone({ state, updates });
    assert.deepEqual(aggregate(strategy, state, updates), aggregate(make(), state, updates));
    assert.deepEqual({ state, updates }, untouched);
  });

  test(`${says} weights are finite, not negative, and zero without a discount`, () => {
    for (const update of randomRound(strategy, 5).updates) {
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
    const { state, updates } = randomRound(strategy, 6);
    assert.deepEqual(aggregate(again, state, updates), aggregate(strategy, state, updates));
  });
}

const copyOf = (update: Update, client: number): Update => {
  const { plan, sent } = update;
  return { ...makeUpdate({ ...sketchOf(update), client }), plan, sent };
};

function sketchOf({ base, values, examples, units, counts, budget }: Update) {
  return { base, values, examples, tokens: units, active: [...counts], topK: budget };
}

/** Eight updates from a common base with deltas of about 0.1; about a fifth of experts is unused by a client. */
function randomRound(
  strategy: Strategy,
  seed: number,
  { everyExpert = false, fromState = false } = {},
): { state: ServerState; updates: Update[] } {
  const draws = new Rng(seed).at("strategy-contract").at(0);
  const normals = (scale: number) => Float32Array.from({ length: layout.size }, () => scale * draws.normal());
  const state = stateOf(normals(1), strategy);
  const base = fromState ? state.parameters : normals(1);
  const updates = Array.from({ length: 8 }, (_, client) => {
    const noise = normals(0.1);
    const update = makeUpdate({
      client,
      base,
      values: base.map((value, i) => value + noise[i]!),
      examples: 1 + draws.below(100),
      tokens: 100,
      active: Array.from({ length: experts }, () => (!everyExpert && draws.bernoulli(0.2) ? 0 : 1 + draws.below(99))),
    });
    return answered(strategy, update, state);
  });
  return { state, updates };
}

/** The update with what the client's part of the strategy makes of it, after a loss of 2 nats on each of its tokens. */
function answered(strategy: Strategy, update: Update, server: ServerState): Update {
  const { client, budget, examples, round, units } = update;
  const view = { client, budget, examples, round, memory: emptyMemory, draws: drawsOf(1) };
  const plan = strategy.plan?.(view, server, setting) ?? update.plan;
  const found = {
    loss: Float64Array.of(2 * units),
    targets: Float64Array.of(units),
    tokens: Float64Array.of(units),
    usage: update.counts,
    importance: update.counts,
    active: update.counts,
    used: update.counts,
  };
  const { values = update.values, sent = {} } = strategy.reply?.({ ...update, found }, plan, view, setting) ?? {};
  return { ...update, plan, values, sent };
}
