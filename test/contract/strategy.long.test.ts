/** The whole suite that is exported for strategies of one's own, real rounds and all, on every strategy. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fedavg } from "../../src/fl/strategies/registry.ts";
import { testStrategy } from "../../src/testing/strategy.ts";
import { allStrategies } from "../support/all-strategies.ts";

for (const [make, promises] of allStrategies) {
  const { name, spec } = make();
  test(`${name} ${JSON.stringify(spec)} keeps what every strategy owes, resumed rounds too`, async () => {
    const findings = await testStrategy(make, promises);
    assert.equal(findings.length, 12);
    assert.deepEqual(
      findings.filter(({ problem }) => problem !== null),
      [],
    );
  });
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
