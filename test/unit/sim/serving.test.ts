import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Rng } from "../../../src/base/random.ts";
import { nextBatch, type Waiting } from "../../../src/sim/serving/batching.ts";
import { type Eviction, evictions, hitsOf } from "../../../src/sim/serving/expert-cache.ts";
import { type ServingSpec, serve, stepTime } from "../../../src/sim/serving/serving.ts";

const traces = fc.array(fc.nat(7), { maxLength: 80 });

test("whoever knows the future has the most hits, and more of them with more slots", () => {
  fc.assert(
    fc.property(traces, fc.integer({ min: 1, max: 8 }), (trace, capacity) => {
      const hits = (eviction: Eviction, slots = capacity) => hitsOf(trace, { capacity: slots, eviction });
      for (const eviction of evictions) assert.ok(hits("belady") >= hits(eviction), eviction);
      assert.ok(hits("belady") >= hitsAtRandom(trace, capacity));
      assert.ok(hits("belady", capacity + 1) >= hits("belady"));
    }),
  );
});

/** Evicts anybody. */
function hitsAtRandom(trace: readonly number[], capacity: number): number {
  const draws = new Rng(trace.length).at("evicted").at(capacity);
  const held: number[] = [];
  let hits = 0;
  for (const expert of trace) {
    if (held.includes(expert)) hits++;
    else if (held.length < capacity) held.push(expert);
    else held[draws.below(capacity)] = expert;
  }
  return hits;
}

test("with room for all there are only cold misses, and without room no hits", () => {
  fc.assert(
    fc.property(traces, fc.constantFrom(...evictions), (trace, eviction) => {
      assert.equal(hitsOf(trace, { capacity: 8, eviction }), trace.length - new Set(trace).size);
      assert.equal(hitsOf(trace, { capacity: 0, eviction }), 0);
    }),
  );
});

test("of eight experts that are used at random, four slots hold half, and 0.72 of uses with foresight", () => {
  const draws = new Rng(7).at("trace").at(0);
  const trace = Array.from({ length: 3_000 }, () => draws.below(8));
  const share = (eviction: Eviction) => hitsOf(trace, { capacity: 4, eviction }) / trace.length;
  // Four standard deviations of 3,000 coins are 0.037.
  assert.ok(Math.abs(share("lru") - 0.5) < 0.037);
  assert.ok(Math.abs(share("belady") - 0.72) < 0.037);
});

test("the least often used goes first, and of these the least recent; a use that is not foreseen is none", () => {
  // Slots hold 0 (twice) and 1 (once) when 2 comes: 1 goes.
  assert.equal(hitsOf([0, 0, 1, 2, 0, 1], { capacity: 2, eviction: "lfu" }), 2);
  // 0, 1 and 2 fill the slots. When 3 comes, 2 is seen one use ahead; of 0 and 1 the higher goes, which was wanted.
  const trace = [0, 1, 2, 3, 2, 1];
  assert.equal(hitsOf(trace, { capacity: 3, eviction: "belady", lookahead: 1 }), 1);
  assert.equal(hitsOf(trace, { capacity: 3, eviction: "belady" }), 2);
});

const waiting = (experts: readonly number[], passed: readonly number[] = []): Waiting[] =>
  experts.map((expert, request) => ({ request, experts: [expert], passed: passed[request] ?? 0 }));

const requestsOf = (all: readonly Waiting[]): number[] => all.map(({ request }) => request);

test("batches by experts take the longest queue, but whoever was passed over too often goes first", () => {
  const all = waiting([5, 3, 5, 3, 3, 1]);
  assert.deepEqual(requestsOf(nextBatch(all, "experts", 4, 9).batch), [1, 3, 4, 0]);
  assert.deepEqual(requestsOf(nextBatch(all, "arrival", 4, 9).batch), [0, 1, 2, 3]);
  const impatient = waiting([5, 3, 5, 3, 3, 1], [0, 0, 0, 0, 0, 2]);
  assert.deepEqual(requestsOf(nextBatch(impatient, "experts", 2, 2).batch), [5, 1]);
  assert.deepEqual(nextBatch([], "experts", 4, 9), { batch: [], rest: [] });
});

const spec: ServingSpec = {
  layers: 4,
  experts: 8,
  active: 1,
  slots: 4,
  requests: 60,
  tokens: 6,
  ahead: 4,
  rate: 100,
  focus: 0.5,
  load: 3,
  compute: 0.5,
  eviction: "belady",
  batching: "experts",
  prefetch: true,
  most: 6,
  patience: 20,
};

test("every token is served exactly once, whatever the policy, and nobody before it came", () => {
  for (const eviction of evictions) {
    for (const batching of ["arrival", "experts"] as const) {
      const served = serve({ ...spec, eviction, batching }, new Rng(3));
      assert.equal(served.tokens, spec.requests * spec.tokens);
      assert.ok(served.latencies.every((latency) => latency >= spec.tokens * spec.layers * spec.compute));
      assert.deepEqual(serve({ ...spec, eviction, batching }, new Rng(3)), served);
    }
  }
});

test("batches by experts need fewer of them than batches by arrival, and random routing as many as the formula says", () => {
  const busy = { ...spec, patience: 1_000, tokens: 4, rate: 1e6, slots: 8, focus: 0, requests: 200 };
  const distinct = (batching: "arrival" | "experts") => {
    const { uses, batches } = serve({ ...busy, batching }, new Rng(5));
    return uses / batches;
  };
  assert.ok(distinct("experts") < 0.6 * distinct("arrival"));
  // E·(1 − (1 − k/E)^n): 400 batches of n tokens, whose means have a standard deviation of about 0.05.
  for (const [most, expected] of [
    [2, 3.5],
    [4, 5.47],
    [8, 7.2],
  ] as const) {
    const { uses, batches } = serve({ ...busy, active: 2, most, batching: "arrival" }, new Rng(6));
    assert.ok(Math.abs(uses / batches - expected) < 0.2, `${uses / batches} experts in a batch of ${most}`);
  }
});

test("what is loaded while the layer before computes costs nothing where computing takes longer", () => {
  assert.equal(stepTime(4, 3, 5, false), 32);
  assert.equal(stepTime(4, 3, 5, true), 23);
  assert.equal(stepTime(4, 5, 3, true), 23);
  assert.equal(stepTime(4, 0, 5, true), 20);
});
