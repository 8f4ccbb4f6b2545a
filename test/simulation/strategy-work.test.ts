/** Heavy arithmetic at the end of a round is done by the pool. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { MachineError } from "../../src/base/errors.ts";
import { fedavg } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { doWork } from "../../src/fl/works.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import type { WorkPool } from "../../src/runtime/pools/pool.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";
import { countingPool, scrambledPool, toyPool } from "../support/toy-engine.ts";

const folder = folderOfFile();
const model = tinyModel(folder);
const reproduce = "npx flame run works";

type Finishing = Parameters<Strategy["finish"]>[3];

/** FedAvg that asks for three products at once when a round ends, and moves on by what it is told. */
const asking = (ask: (at: Finishing, parameters: Float32Array) => Promise<number>): Strategy => {
  const plain = fedavg();
  return {
    ...plain,
    name: "asking",
    spec: { type: "asking" },
    async finish(sum, server, setting, at) {
      const next = await plain.finish(sum, server, setting, at);
      const cosine = await ask(at, next.parameters);
      return { ...next, parameters: next.parameters.map((value) => value * (1 - 1e-3 * cosine)) };
    },
  };
};

const vectorsOf = (parameters: Float32Array): Float64Array[] => [
  Float64Array.from(parameters),
  Float64Array.from(parameters).toReversed(),
];

const byPool = asking(async (at, parameters) => {
  const vectors = vectorsOf(parameters);
  const asked = [1, 2, 3].map(() => at.work("gram", { vectors }));
  const products = (await Promise.all(asked)).map(({ products }) => products[0]![1]!);
  assert.equal(new Set(products).size, 1);
  return products[0]!;
});

const scenario = (strategy: Strategy) => training(model, { strategy, checkpoints: { every: 1, keep: 9 } });

/** As threads do. */
const clockedPool = (prepared: Prepared): WorkPool => {
  const inner = toyPool(prepared);
  return {
    workers: 1,
    diagnostics: inner.diagnostics,
    run: (task, isWanted) => {
      performance.now();
      return inner.run(task, isWanted);
    },
    close: () => inner.close(),
  };
};

test("what a strategy asks for is what this thread would have found, whichever worker is first", async () => {
  const here = asking(async (_at, parameters) => doWork("gram", { vectors: vectorsOf(parameters) }).products[0]![1]!);
  const { adapterDigest: expected } = await run(scenario(here), { out: null, pool: toyPool });
  const done: string[] = [];
  for (const pool of [countingPool(done), scrambledPool, clockedPool]) {
    assert.equal((await run(scenario(byPool), { out: null, pool })).adapterDigest, expected);
  }
  assert.equal(done.filter((work) => work === "compute").length, 9, "three works in each of three rounds");
});

test("a run that is cut off asks for the work of its open round again", async () => {
  const files = ["events.jsonl", "metrics.jsonl", "participations.jsonl"];
  const straight = await run(scenario(byPool), { out: join(folder, "straight"), reproduce, pool: toyPool });
  const source = { file: "works.ts", digest: "0".repeat(64), changes: {} };
  for (const share of [0.3, 0.7, 0.95]) {
    const out = join(folder, `cut-${share}`);
    const signal = interruptAfter(Math.floor(share * straight.diagnostics.events!));
    assert.equal((await run(scenario(byPool), { out, reproduce, source, pool: toyPool, signal })).state, "interrupted");
    const cut = await loadRun(out, async () => ({ scenario: scenario(byPool), source }));
    const { adapterDigest } = await resume(cut, { reproduce, pool: toyPool });
    assert.equal(adapterDigest, straight.adapterDigest);
    assertSameRun(out, join(folder, "straight"), `cut off after ${share}`, files);
  }
});

test("a work that fails ends the run with the strategy, the work and what went wrong", async () => {
  const wrong = asking(async (at) => {
    await at.work("gram", { vectors: 7 as unknown as Float64Array[] });
    return 0;
  });
  await assert.rejects(
    run(scenario(wrong), { out: null, pool: toyPool }),
    /server handling "timer": strategy asking asked for "gram", which failed: vectors\.map is not a function/,
  );
});

test("workers that die under a work are a failure of the machine, not of the strategy", async () => {
  const dying = (prepared: Prepared): WorkPool => {
    const inner = toyPool(prepared);
    return {
      workers: 1,
      diagnostics: inner.diagnostics,
      run: (task, isWanted) =>
        task.work === "compute" ? Promise.reject(new MachineError("worker lost 3 times")) : inner.run(task, isWanted),
      close: () => inner.close(),
    };
  };
  await assert.rejects(run(scenario(byPool), { out: null, pool: dying }), (error) => {
    assert.ok(error instanceof MachineError);
    assert.match(error.message, /strategy asking asked for "gram", which failed: worker lost 3 times/);
    return true;
  });
});
