/** Settings in which a method says that it is another one: the same program, or the same result of two rounds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { given } from "../../src/base/given.ts";
import type { About } from "../../src/fl/about.ts";
import { strategies, strategyFromSpec } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { wrappers } from "../../src/fl/wrappers/define-strategy.ts";
import { encodeProgram } from "../../src/tensor/codec.ts";
import { aggregated, beginning, played, programsOf, unplayed } from "../../src/testing/small-task.ts";

for (const { type, about } of strategies.entries.values()) {
  for (const reduction of about.reduces) check({ type }, reduction, reduction.to!);
}
for (const { about } of Object.values(wrappers)) {
  for (const host of [{ type: "fedavg" }, { type: "scaffold" }]) {
    for (const reduction of about.reduces) check(host, reduction, host);
  }
}

function check(
  from: { readonly type: string },
  { options, gives }: About["reduces"][number],
  to: { readonly type: string },
): void {
  const one = strategyFromSpec({ ...from, ...options });
  // On the task that both can do.
  const other = { ...strategyFromSpec(to), ...given({ needs: one.needs }) };
  test(`${from.type} ${JSON.stringify(options)} gives the ${gives.join(" and the ")} of ${JSON.stringify(to)}`, async () => {
    if (gives.includes("program")) assert.deepEqual(digestsOf(one), digestsOf(other));
    if (gives.includes("bytes")) assert.deepEqual(await twoRounds(one), await twoRounds(other));
    if (gives.includes("values")) {
      const [values, expected] = [await twoRounds(one), await twoRounds(other)];
      for (const [i, value] of expected.entries()) {
        // Two rounds of float64 sums in another order, each rounded to float32 once.
        const gap = Math.abs(values[i]! - value);
        assert.ok(gap <= 2 ** -22 * Math.abs(value) + 1e-9, `element ${i} is ${values[i]}, expected ${value}`);
      }
    }
  });
}

/** Of each budget's plan. */
function digestsOf(strategy: Strategy): readonly (readonly string[])[] {
  const plans = played(strategy, unplayed(strategy, 1), { seed: 1 }).answers.slice(0, 3);
  return plans.map(({ plan }) => programsOf(strategy, plan).programs.map((program) => encodeProgram(program).digest));
}

/** The model after two rounds of the same local training. */
async function twoRounds(strategy: Strategy): Promise<Float32Array> {
  let now = await beginning(strategy, 2);
  for (const round of [1, 2]) {
    const { updates, memories } = played(strategy, now, { seed: 3, round });
    now = { server: await aggregated(strategy, now.server, updates, round), memories };
  }
  return now.server.parameters;
}
