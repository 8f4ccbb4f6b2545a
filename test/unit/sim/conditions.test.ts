/** Many effects at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { Conditions } from "../../../src/sim/script/conditions.ts";
import { equalFleet } from "../../support/sim-world.ts";

const fleet = () => equalFleet({ size: 4, regions: 2, tiers: ["phone", "server"], rate: 1_000 });

test("factors that overlap multiply in the order in which they began, to the last digit, whatever ended between", () => {
  const draws = new Rng(7).at("factors").at(0);
  const conditions = new Conditions(fleet());
  const active: { readonly id: number; readonly target: string; readonly factor: number }[] = [];
  for (let step = 0; step < 400; step++) {
    if (active.length > 0 && draws.bernoulli(0.4)) {
      const [ended] = active.splice(draws.below(active.length), 1);
      conditions.end(ended!.id);
    } else {
      const effect = { target: draws.bernoulli(0.5) ? "all" : "phone", factor: 0.5 + draws.uniform() };
      active.push({ ...effect, id: conditions.begin({ type: "slowdown", ...effect }, Infinity) });
    }
    for (const client of [0, 1, 2, 3]) {
      const tier = fleet().tierNames[fleet().tier[client]!];
      const own = active.filter(({ target }) => target === "all" || target === tier);
      const product = own.reduce((product, { factor }) => product * factor, 1);
      assert.equal(conditions.slowdown(clientId(client)), product);
    }
  }
  const other = new Conditions(fleet());
  other.restore(conditions.snapshot());
  assert.deepEqual(other.snapshot(), conditions.snapshot());
  assert.equal(other.slowdown(clientId(1)), conditions.slowdown(clientId(1)));
});

test("a client's pace does not cost the number of the slowdowns that overlap", () => {
  const conditions = new Conditions(fleet());
  const begun = process.cpuUsage();
  for (let id = 0; id < 40_000; id++) {
    conditions.begin({ type: "slowdown", target: "all", factor: 1.0001 }, Infinity);
    for (const client of [0, 1, 2, 3]) conditions.slowdown(clientId(client));
    conditions.isCutOff(clientId(0));
  }
  // Walking through all of them each time would be 3.2 thousand million steps, some ten seconds.
  assert.ok(process.cpuUsage(begun).user < 2e6);
});
