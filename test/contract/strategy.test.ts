/** What every strategy owes the simulator, by the suite that is exported for strategies of one's own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { strategies, strategyFromSpec } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { wrappers } from "../../src/fl/wrappers/define-strategy.ts";
import { type Finding, testStrategy } from "../../src/testing/strategy.ts";
import { allStrategies } from "../support/all-strategies.ts";

/** Each strategy, and whatever goes around one, once; other options are in the long part. */
const once = allStrategies.filter(([make], i) => {
  const { spec } = make();
  const isWrapped = Object.keys(spec).some((field) => field in wrappers);
  return isWrapped || i === allStrategies.findIndex(([other]) => other().spec.type === spec.type);
});

const titleOf = ({ name, spec }: Strategy): string => `${name} ${JSON.stringify(spec)}`;

for (const [make, promises] of once) {
  test(`${titleOf(make())} keeps what every strategy owes`, async () => {
    assert.deepEqual(failures(await testStrategy(make, promises, { realRound: false })), []);
  });
}

for (const [make] of allStrategies) {
  test(`${titleOf(make())}: its spec is plain data that makes it again`, () => {
    const strategy = make();
    const again = strategyFromSpec(JSON.parse(JSON.stringify(strategy.spec)) as typeof strategy.spec);
    assert.deepEqual([again.name, again.spec], [strategy.name, strategy.spec]);
  });
}

test("every strategy there is goes through the suite", () => {
  const tested = new Set(allStrategies.map(([make]) => make().spec.type));
  assert.deepEqual(
    [...strategies.entries.keys()].filter((type) => !tested.has(type)),
    [],
  );
});

const failures = (findings: readonly Finding[]): string[] =>
  findings.flatMap(({ check, problem }) => (problem === null ? [] : [`${check}: ${problem}`]));
