/** A round is opened and folded a few updates at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { coordinateMedian, fedavg } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { run } from "../../src/run/run.ts";
import type { WorkPool } from "../../src/runtime/pools/pool.ts";
import { folderOfFile } from "../support/folders.ts";
import { training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";
import { toyPool } from "../support/toy-engine.ts";

const model = tinyModel(folderOfFile());

/** A round of 24 clients, and the most updates that were trained and not folded yet at any time. */
async function mostUnfolded(plain: Strategy): Promise<{ readonly most: number; readonly folded: number }> {
  let [trained, folded, most] = [0, 0, 0];
  const strategy: Strategy = {
    ...plain,
    spec: { type: "watched" },
    fold(...given) {
      folded++;
      plain.fold(...given);
    },
  };
  const pool = (prepared: Prepared): WorkPool => {
    const inner = toyPool(prepared);
    return {
      workers: 1,
      diagnostics: inner.diagnostics,
      close: () => inner.close(),
      async run(task, isWanted) {
        const result = await inner.run(task, isWanted);
        if (task.work === "train") most = Math.max(most, ++trained - folded);
        return result;
      },
    };
  };
  const rounds = { count: 1, cohort: 24, deadline: 600_000 };
  const fleet = [{ name: "phone", clients: 24, budget: 2, tokensPerSecond: 3_000, uplink: 1e6 }];
  await run(training(model, { strategy, rounds, fleet }), { out: null, pool });
  return { most, folded };
}

test("of a large cohort only a few updates are there at a time, unless the strategy needs them all", async () => {
  const streamed = await mostUnfolded(fedavg());
  assert.equal(streamed.folded, 24);
  // Four begun when they came in, the four next in order, and the one that is being folded.
  assert.ok(streamed.most <= 9, `${streamed.most} updates waited`);
  assert.deepEqual(await mostUnfolded(coordinateMedian()), { most: 24, folded: 24 });
});
