/** Three real rounds of four clients and one that never answers: straight through, and resumed from the middle. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { inScratch } from "../base/disk.ts";
import { megabits, minutes } from "../base/units.ts";
import { digits, pictures } from "../data/images/source.ts";
import { byCategory, iid } from "../data/partition.ts";
import { instructions } from "../data/source.ts";
import { table } from "../data/tables/source.ts";
import type { Strategy } from "../fl/strategy.ts";
import { openRunFolder } from "../folder/run-folder.ts";
import type { Prepared } from "../run/prepare.ts";
import { resume } from "../run/resume.ts";
import { run } from "../run/run.ts";
import { makePool } from "../run/workforce.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";
import { defineScenario } from "../scenario/define.ts";

const lora = { rank: 2, alpha: 4 };

const speaking = {
  lora,
  data: { source: instructions({ examples: 60 }), partition: iid(), maxTokens: 48, heldOut: 0.2 },
};

const restoring = {
  task: { type: "restore" as const },
  data: { source: pictures({ examples: 60, side: 8 }), partition: iid(), heldOut: 0.2 },
};

const seeing = { task: { type: "two-view" as const }, data: { source: digits(), partition: iid() } };

const playing = {
  task: { type: "coloured" as const, heads: 5, representation: [4] },
  data: { source: digits(), partition: byCategory() },
};

const sorting = {
  task: { type: "tabular" as const },
  data: { source: table("iris"), partition: iid(), heldOut: 0.2 },
};

function subjectOf({ needs = [] }: Strategy) {
  if (needs.includes("slices")) return restoring;
  if (needs.includes("heads")) return playing;
  if (needs.includes("cut")) return { ...speaking, task: { type: "refactor" as const } };
  if (needs.includes("gates")) return { ...speaking, task: { type: "pregating" as const } };
  if (needs.includes("labels")) return sorting;
  return needs.includes("modalities") ? seeing : speaking;
}

function scenarioWith(strategy: Strategy) {
  const subject = subjectOf(strategy);
  const most = subject === seeing ? 3 : subject === playing || subject === sorting ? 1 : 2;
  return defineScenario({
    name: "real-round",
    seed: 3,
    ...subject,
    fleet: [
      { name: "laptop", clients: 2, budget: most, tokensPerSecond: 500, uplink: megabits(10) },
      { name: "phone", clients: 2, budget: 1, tokensPerSecond: 200, uplink: megabits(5) },
      { name: "lost", clients: 1, budget: 1, tokensPerSecond: 200, uplink: megabits(5), dropout: 1 },
    ],
    rounds: { count: 3, cohort: 5, deadline: minutes(30) },
    training: { batchSize: 4, maxSteps: 2, learningRate: 1e-2 },
    strategy,
    evaluateAt: [1],
    evaluationExamples: 4,
    evaluateEvery: 3,
  });
}

/** @throws AssertionError where the two differ */
export async function checkRealRound(make: () => Strategy): Promise<void> {
  const pools = new OnePool();
  await inScratch("real-round", async (folder) => {
    const straight = await run(scenarioWith(make()), { out: null, pool: pools.lend(() => {}) });
    const dropped = straight.rows.reduce((sum, row) => sum + row.dropped, 0);
    assert.ok(dropped > 0, "a client drops out");
    const out = join(folder, "run");
    const abort = new AbortController();
    let tasks = 0;
    const interrupting = pools.lend(() => {
      // In the second round: an evaluation and the four clients of the first went before.
      if (++tasks === 7) abort.abort();
    });
    const first = await run(scenarioWith(make()), { out, pool: interrupting, signal: abort.signal });
    assert.equal(first.state, "interrupted");
    const stored = { folder: openRunFolder(out), scenario: scenarioWith(make()), changed: [] };
    const second = await resume(stored, { pool: pools.lend(() => {}) });
    assert.equal(second.digest, straight.digest, "the resumed run has the same events");
    assert.equal(second.adapterDigest, straight.adapterDigest, "the resumed run has the same model");
  }).finally(() => pools.close());
}

/** One worker for all three runs. */
class OnePool {
  #pool: WorkPool | null = null;

  /** @param onTask called with every task that is asked for */
  lend(onTask: () => void): (prepared: Prepared) => WorkPool {
    return (prepared) => {
      this.#pool ??= makePool(prepared, 1, { engine: "auto" });
      const pool = this.#pool;
      return {
        workers: pool.workers,
        diagnostics: pool.diagnostics,
        run(task, isWanted) {
          onTask();
          return pool.run(task, isWanted);
        },
        close: async () => {},
      };
    };
  }

  async close(): Promise<void> {
    await this.#pool?.close();
  }
}
