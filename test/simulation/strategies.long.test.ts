/**
 * Every strategy trains for real while half of the clients drop out and others come late, under a policy that waits or, with
 * every other commit, under one that does not: for any number of workers, and resumed again and again, it leaves the same
 * bytes.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { strategyFromSpec } from "../../src/fl/strategies/registry.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { resultsIn, scenarioOf, sharedPool, strategyRuns } from "../support/strategy-runs.ts";
import { firstSeed } from "../support/swarm/commit-seed.ts";
import { tinyModel } from "../support/tiny-model.ts";
import { assertLawful, watched } from "../support/watched-strategy.ts";

const folder = folderOfFile();
const model = tinyModel(folder);
const reproduce = "npx flame run strategies";

const { seed } = firstSeed();

/** Each strategy on each task with every commit; of further options a third, and another third two commits later. */
const cases = strategyRuns.filter(
  ([{ type }, task], at) =>
    strategyRuns.findIndex((other) => other[0].type === type && other[1] === task) === at ||
    (at + Math.floor(seed / 2)) % 3 === 0,
);

const pools = { one: sharedPool(1), three: sharedPool(3) };
after(() => Promise.all(Object.values(pools).map(({ close }) => close())));

let late = 0;

for (const each of cases) {
  const [spec, task] = each;
  const number = strategyRuns.indexOf(each);
  // The other policy is the next strategy's, and this one's with another commit.
  const policy = (number + seed) % 2 === 0 ? "synchronous" : "buffered";
  const at = (name: string) => join(folder, `${number}-${policy}-${name}`);
  let events = 0;

  const title = `${JSON.stringify(spec)}, ${task}, ${policy}`;

  test(`${title}: the dead have no weight, and only counted updates are remembered`, async () => {
    const { diagnostics } = await run(scenarioOf(model, strategyFromSpec(spec), task, policy), {
      out: at("one"),
      reproduce,
      pool: pools.one.poolFor,
    });
    events = diagnostics.events!;
    const seen: Parameters<typeof watched>[1] = [];
    const own = watched(strategyFromSpec(spec), seen);
    await run(scenarioOf(model, own, task, policy), { out: at("watched"), reproduce, pool: pools.three.poolFor });
    assertSameRun(at("watched"), at("one"), "three workers and updates that are overwritten", resultsIn(at("one")));
    const ended = assertLawful(at("watched"), seen);
    assert.ok(ended.counted! > 0 && ended.dropped! > 0, JSON.stringify(ended));
    late += ended.late ?? 0;
  });

  test(`${title}: three workers and one in turn, resumed again and again, leave the bytes of one`, async () => {
    const out = at("legs");
    const again = () => ({ reproduce, signal: interruptAfter(Math.ceil(events / 4)) });
    let { state } = await run(scenarioOf(model, strategyFromSpec(spec), task, policy), {
      out,
      pool: pools.three.poolFor,
      ...again(),
    });
    let legs = 1;
    for (; state === "interrupted"; legs++) {
      const pool = legs % 2 === 0 ? pools.three : pools.one;
      ({ state } = await resume(await loadRun(out), { pool: pool.poolFor, ...again() }));
    }
    assert.ok(legs >= 4, `${legs} legs`);
    assertSameRun(out, at("one"), `in ${legs} legs`, resultsIn(at("one")));
  });
}

test("there were late updates to be left out", () => assert.ok(late > 0, `${late} were late`));
