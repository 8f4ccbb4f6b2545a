import assert from "node:assert/strict";
import { test } from "node:test";
import { krumScores } from "../../../src/fl/strategies/krum.ts";
import { coordinateMedian, fedavg, krum, multiKrum, trimmedMean } from "../../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../../src/fl/strategy.ts";
import { aggregate, assertClose, at, makeUpdate, zeros } from "../../support/fl-updates.ts";

const clients = (deltas: readonly number[]) => deltas.map((delta, client) => makeUpdate({ client, delta }));
const result = (strategy: Strategy, deltas: readonly number[]) => at(aggregate(strategy, zeros, clients(deltas)), 0);

const oneLiar = [0, 1, 2, 3, 100];

test("the median of 0, 1, 2, 3 and 100 is 2, and of an even number the middle of two", () => {
  assert.equal(result(coordinateMedian(), oneLiar), 2);
  assert.equal(result(coordinateMedian(), [100, 1, 3, 0]), 2);
});

test("without attack the median of skewed deltas is not their mean", () => {
  const skewed = [0, 0, 0, 1, 9];
  assert.equal(result(coordinateMedian(), skewed), 0);
  assert.equal(result(fedavg({ weighting: "uniform" }), skewed), 2);
});

test("a trimmed mean drops both ends", () => {
  assert.equal(result(trimmedMean({ trim: 0.2 }), oneLiar), 2);
  assertClose(result(trimmedMean({ trim: 0 }), oneLiar), 21.2, 2e-6);
  assert.equal(result(trimmedMean({ trim: 0.49 }), oneLiar), result(coordinateMedian(), oneLiar));
});

test("Krum scores are summed squared distances to the nearest others", () => {
  const scores = krumScores(clients(oneLiar), [{ start: 0, end: 1 }], 1);
  assert.deepEqual([...scores], [5, 2, 2, 5, 19_013]);
});

test("Krum takes the lowest score, ties to the lower client, and Multi-Krum averages the lowest", () => {
  for (const scope of ["expert", "adapter"] as const) {
    assert.equal(result(krum({ malicious: 1, scope }), oneLiar), 1);
    assert.equal(result(multiKrum({ malicious: 1, keep: 3, scope }), oneLiar), 1);
    assertClose(result(multiKrum({ malicious: 0, keep: 5, scope }), oneLiar), 21.2, 2e-6);
  }
});

test("Krum sees small differences beside large common deltas", () => {
  // Squares of 2²³ leave no digits for a gap of 1 when distances come from |x|² + |y|² − 2·x·y in float32.
  const far = [8_388_600, 8_388_601, 8_388_602, 8_388_603, 8_388_700];
  assert.equal(result(krum({ malicious: 1 }), far), 8_388_601);
});

test("with too few clients for its promise Krum changes nothing", () => {
  for (const scope of ["expert", "adapter"] as const) {
    assert.deepEqual(aggregate(krum({ malicious: 1, scope }), zeros, clients([1, 1, 1, 1])), zeros);
  }
});

test("an attack on one expert is judged by the clients of that expert", () => {
  // Over the whole adapter client 0 looks best; on expert 0, which it attacks, it is the outlier.
  const honest = [0, 0.5, 1, 1.5].map((delta, index) => makeUpdate({ client: index + 1, delta }));
  const attacker = makeUpdate({ client: 0, delta: [50, 0.75, 0.75, 0.75, 0.75, 0.75] });
  const next = aggregate(krum({ malicious: 1 }), zeros, [attacker, ...honest]);
  assert.ok(at(next, 0) <= 1.5);
});

test("an expert trained by fewer clients than asked for keeps its values", () => {
  const rare = [0, 5, 5, 5, 5, 5];
  const updates = [0, 1, 2].map((client) => makeUpdate({ client, delta: 1, ...(client > 0 ? { active: rare } : {}) }));
  for (const strategy of [coordinateMedian({ minTrainers: 2 }), trimmedMean({ minTrainers: 2 })]) {
    const next = aggregate(strategy, zeros, updates);
    assert.equal(at(next, 0), 0);
    assert.equal(at(next, 1), 1);
  }
});

test("clients cannot buy influence on a robust strategy by claiming examples", () => {
  for (const strategy of [coordinateMedian(), trimmedMean(), krum(), multiKrum()]) {
    const modest = clients(oneLiar);
    const boastful = modest.map((update, client) => (client === 4 ? { ...update, examples: 1e9 } : update));
    assert.deepEqual(
      aggregate(strategy, zeros, boastful).parameters,
      aggregate(strategy, zeros, modest).parameters,
      strategy.name,
    );
  }
});

test("a discount shrinks the delta a robust rule sees", () => {
  assert.equal(at(aggregate(coordinateMedian(), zeros, [makeUpdate({ delta: 4, discount: 0.25 })]), 0), 1);
});
