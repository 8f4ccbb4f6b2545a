import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bulyan,
  coordinateMedian,
  fedavg,
  geometricMedian,
  krum,
  multiKrum,
  trimmedMean,
} from "../../../src/fl/strategies/registry.ts";
import { krumScores } from "../../../src/fl/strategies/robust/krum.ts";
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
    // Values 1, 2 and 0 of clients with 1, 3 and 5 examples: (1 + 3·2 + 5·0) / 9.
    const sized = clients(oneLiar).map((update, at) => ({ ...update, examples: [5, 1, 3, 1, 1][at]! }));
    const weighed = aggregate(multiKrum({ malicious: 1, keep: 3, scope, weighting: "examples" }), zeros, sized);
    assertClose(at(weighed, 0), 7 / 9);
  }
});

test("Krum sees small differences beside large common deltas", () => {
  // Squares of 2²³ leave no digits for a gap of 1 when distances come from |x|² + |y|² − 2·x·y in float32.
  const far = [8_388_600, 8_388_601, 8_388_602, 8_388_603, 8_388_700];
  assert.equal(result(krum({ malicious: 1 }), far), 8_388_601);
});

test("Bulyan hears 2, 3.5, 1, 4.5 and 0, and averages the three nearest to their median", () => {
  assertClose(result(bulyan({ malicious: 1 }), [0, 1, 2, 3.5, 4.5, 6, 1_000]), 13 / 6, 1e-6);
  // Six are too few for one liar: the trimmed mean of 1, 2, 3.5 and 4.5. Two change nothing.
  assertClose(result(bulyan({ malicious: 1 }), [0, 1, 2, 3.5, 4.5, 1_000]), 11 / 4, 1e-6);
  assert.deepEqual(aggregate(bulyan({ malicious: 1 }), zeros, clients([1, 1])), zeros);
  assertClose(result(bulyan({ malicious: 0 }), oneLiar), 21.2, 2e-6);
});

/** Deltas in the plane: a client's first two parameters of expert 0, nothing else. */
const planar = (points: readonly (readonly [number, number])[], examples: readonly number[] = []) =>
  points.map(([x, y], client) => {
    const values = zeros.parameters.slice();
    values.set([x, y]);
    const active = [5, 0, 0, 0, 0, 0];
    return makeUpdate({
      client,
      values,
      active,
      ...(examples[client] !== undefined && { examples: examples[client] }),
    });
  });
const medianOf = (points: Parameters<typeof planar>[0], options: Parameters<typeof geometricMedian>[0] = {}) => {
  const [whole, own] = (["adapter", "expert"] as const).map(
    (scope) => aggregate(geometricMedian({ ...options, scope }), zeros, planar(points)).parameters,
  );
  assert.deepEqual(whole, own);
  return [own![0]!, own![1]!] as const;
};
const four = [
  [0, 0],
  [4, 0],
  [0, 3],
  [50, 50],
] as const;

test("the geometric median of three near points and a far one is (12/7, 12/7), wherever on its ray the far one lies", () => {
  // In float32 parameters; the figures are those of the closed form, where the diagonals of the four cross.
  const whole = { iterations: 10_000, tolerance: 1e-12 };
  for (const far of [50, 500, 5_000]) {
    const [x, y] = medianOf([...four.slice(0, 3), [far, far]], whole);
    assertClose(x, 12 / 7, 1e-5);
    assertClose(y, 12 / 7, 1e-5);
  }
  const [x, y] = medianOf(four);
  assertClose(x, 2.388, 5e-4);
  assertClose(y, 1.873, 5e-4);
});

test("no step of the geometric median raises the sum of distances; equal deltas are theirs, and half the weight decides", () => {
  const total = ([x, y]: readonly [number, number]) => four.reduce((sum, [a, b]) => sum + Math.hypot(x - a, y - b), 0);
  const sums = [0, 1, 2, 3, 5, 8, 13, 21].map((iterations) => total(medianOf(four, { iterations })));
  for (const [at, sum] of sums.slice(1).entries()) assert.ok(sum <= sums[at]! + 1e-6, `${sum} after ${sums[at]}`);
  assert.deepEqual(
    medianOf([
      [2, 3],
      [2, 3],
      [2, 3],
    ]),
    [2, 3],
  );
  const heavy = geometricMedian({ iterations: 10_000, weighting: "examples" });
  const { parameters } = aggregate(heavy, zeros, planar(four, [1, 1, 1, 30]));
  assertClose(parameters[0]!, 50, 1e-3);
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
  for (const strategy of [coordinateMedian(), trimmedMean(), krum(), multiKrum(), bulyan(), geometricMedian()]) {
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
