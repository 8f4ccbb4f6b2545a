/** What the clients of a run without training hold. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dirichlet, iid } from "../../src/data/partition.ts";
import { prepareRun } from "../../src/run/run.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { timingOnly } from "../support/scenarios.ts";

const clients = 2_000;
const fleetWith = async (data: ScenarioInput["data"], tokensPerSecond = 300) => {
  const fleet = [{ name: "phone", clients, budget: 1, tokensPerSecond, uplink: 60_000 }];
  return (await prepareRun(timingOnly({ fleet, ...(data === undefined ? {} : { data }) }), {})).fleet;
};
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;

test("a number of examples is what every client holds, and their tokens follow from it", async () => {
  const { examples, tokens } = await fleetWith({ sizes: { examplesPerClient: 20, tokensPerExample: 60 } });
  assert.deepEqual(new Set(examples), new Set([20]));
  assert.deepEqual(new Set(tokens), new Set([1_200]));
});

test("a law of sizes is drawn from once per client", async () => {
  const law = { type: "log-normal", mean: 100, cv: 1 } as const;
  const { examples } = await fleetWith({ sizes: { examplesPerClient: law, tokensPerExample: 60 } });
  const middle = mean(examples);
  const variance = mean(Array.from(examples, (value) => (value - middle) ** 2));
  // Standard error of the mean: 100/√2000 = 2.2; of the cv, with a log-normal's long tail, about 0.05.
  assert.ok(Math.abs(middle - 100) < 4 * 2.24, `${middle}`);
  assert.ok(Math.abs(Math.sqrt(variance) / middle - 1) < 0.2, `${Math.sqrt(variance) / middle}`);
});

test("a partition that is given spreads the examples, and leaves their number", async () => {
  const sizes = { examplesPerClient: 50, tokensPerExample: 60 };
  const { examples } = await fleetWith({ sizes, partition: dirichlet({ alpha: 0.3 }) });
  assert.equal(mean(examples), 50);
  assert.ok(new Set(examples).size > 50);
  const even = await fleetWith({ sizes, partition: iid() });
  assert.deepEqual(new Set(even.examples), new Set([50]));
});

test("a client with more than 2³² tokens has all of them, whether its size is drawn or dealt", async () => {
  const sizes = { examplesPerClient: 2_500_000, tokensPerExample: 2_000 };
  for (const data of [{ sizes }, { sizes, partition: iid() }]) {
    const { tokens } = await fleetWith(data, 1e12);
    // The spread of a sum of 2.5 million lengths is 0.8 million of 5·10⁹.
    assert.ok(
      tokens.every((count) => Math.abs(count / 5e9 - 1) < 1e-3),
      `${tokens[0]}`,
    );
  }
  const many = await fleetWith({ sizes: { examplesPerClient: 5_000_000_000, tokensPerExample: 100 } }, 1e12);
  assert.deepEqual([many.examples[0], many.tokens[0]], [5e9, 5e11]);
});

test("sizes that cannot be are named with their field", () => {
  const law = { type: "uniform", min: 5, max: 2 } as const;
  assert.throws(
    () => timingOnly({ data: { sizes: { examplesPerClient: law, tokensPerExample: 60 } } }),
    /data\.sizes\.examplesPerClient\.max is 2, expected at least min, which is 5/,
  );
  assert.throws(
    () => timingOnly({ data: { sizes: { examplesPerClient: 0, tokensPerExample: 60 } } }),
    /data\.sizes\.examplesPerClient is 0, expected more than 0/,
  );
  const spread = { type: "exponential", mean: 40 } as const;
  const partition = dirichlet({ alpha: 1 });
  assert.throws(
    () => timingOnly({ data: { sizes: { examplesPerClient: spread, tokensPerExample: 60 }, partition } }),
    /data\.sizes\.examplesPerClient is .*, expected a number, the mean that data\.partition spreads/,
  );
});
