/**
 * The suite that is exported for strategies of one's own, on every strategy. Real rounds are trained on one for each task, and
 * with each commit on a twelfth of the others: `strategies.long.test.ts` resumes every strategy there is.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fedavg, strategies } from "../../src/fl/strategies/registry.ts";
import { testStrategy } from "../../src/testing/strategy.ts";
import { allStrategies, wrappedIn, wrapping } from "../support/all-strategies.ts";
import { firstSeed } from "../support/swarm/commit-seed.ts";

const { seed } = firstSeed();
const needs = allStrategies.map(([make]) => (make().needs ?? []).join());

for (const [at, [make, promises]] of allStrategies.entries()) {
  const { name, spec } = make();
  const realRound = at === needs.indexOf(needs[at]!) || (at + seed) % 12 === 0;
  test(`${name} ${JSON.stringify(spec)} keeps what every strategy owes${realRound ? ", resumed rounds too" : ""}`, async () => {
    const findings = await testStrategy(make, promises, { realRound });
    assert.equal(findings.length, realRound ? 12 : 11);
    assert.deepEqual(
      findings.filter(({ problem }) => problem !== null),
      [],
    );
  });
}

/** An eighth with each commit: what goes around a strategy takes nothing from what it owes. */
const wrapped = [...strategies.entries.keys()].flatMap((type) =>
  Object.keys(wrapping).map((by) => [by, type] as const),
);

for (const [by, type] of wrapped.filter((_, at) => (at + seed) % 8 === 0)) {
  const make = () => wrappedIn(by, type);
  if (refuses(make)) continue;
  test(`${type} with ${by} around it keeps what every strategy owes`, async () => {
    // Of two means, each rounded to float32, the last digit may turn on the order.
    const ordered = type === "mix" || by === "flood";
    const findings = await testStrategy(
      make,
      { masked: true, ordered, restless: type === "dpfedavg" },
      { realRound: false },
    );
    assert.deepEqual(
      findings.filter(({ problem }) => problem !== null),
      [],
    );
  });
}

function refuses(make: () => unknown): boolean {
  try {
    make();
    return false;
  } catch {
    return true;
  }
}

test("a strategy that remembers something on its own is found out when it is resumed", async () => {
  const forgetful = () => {
    let rounds = 0;
    const plain = fedavg();
    return {
      ...plain,
      spec: { type: "forgetful" },
      begin: (...given: Parameters<typeof plain.begin>) => {
        rounds++;
        return plain.begin(...given);
      },
      weight: (...given: Parameters<typeof plain.weight>) => plain.weight(...given) * rounds,
      plan: ({ budget }: { budget: number }) => ({
        kind: { variant: { topK: budget } },
        learningRate: 0.01 * (rounds + 1),
      }),
    };
  };
  const found = (await testStrategy(forgetful)).at(-1)!;
  assert.match(String(found.problem), /resumed run/);
});
