/**
 * Every strategy trains for real while half of the clients drop out and others come late, under a policy that waits or, with
 * every other commit, under one that does not: for any number of workers, and resumed again and again, it leaves the same
 * bytes.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Spec } from "../../src/fl/define.ts";
import { fedbuff } from "../../src/fl/policies/registry.ts";
import { strategies, strategyFromSpec } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { makePool } from "../../src/run/workforce.ts";
import type { WorkPool } from "../../src/runtime/pools/pool.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { threeTiers, training } from "../support/scenarios.ts";
import { firstSeed } from "../support/swarm/commit-seed.ts";
import { smallTasks } from "../support/task-scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";
import { assertLawful, watched } from "../support/watched-strategy.ts";

const folder = folderOfFile();
const model = tinyModel(folder);
const reproduce = "npx flame run strategies";
const lora = { rank: 2, alpha: 4 };
const slices = { routed: 1, zero: 1, topK: 1 };

/** What the fleet and the rank here ask for where the default is another. */
const fitting: Readonly<Record<string, object>> = { "split-mix": { bases: 2, minOne: true } };

/** Methods that need what a plain language model has not; they have cases of their own below. */
const elsewhere = ["bmsfed", "fl-games", "mixture-of-ranks", "read-me", "read-me-gates"];

const ofText: readonly Spec[] = [
  ...[...strategies.entries.keys()]
    .filter((type) => !elsewhere.includes(type))
    .map((type) => ({ type, ...fitting[type] })),
  { type: "scaffold", control: "gradient" },
  { type: "fednova", momentum: 0.9, optimizer: "sgd" },
  { type: "fedvra", aRule: "heterogeneity" },
  { type: "fedvra", serverMode: "stale" },
  { type: "ewwa", variant: "code" },
  { type: "ccfao", memory: true },
  { type: "otaffl", weightRule: "mgda", shadowing: 4, dropAfterScheduling: 0.1 },
  { type: "hfedmoe", budgets: { 1: 0.2 }, rankBy: "importance", routerWeights: "row", participation: "usage" },
  { type: "fedmoe", warmUp: 1, patience: 1, validation: 0.4 },
  { type: "fedmoe", warmUp: 0, patience: 1, weighting: "tokens", trainRouters: false, balance: 0 },
  { type: "hetlora", gamma: 0.5, lambda: 0.1, scale: "classic", scoreScope: "module" },
  { type: "flexlora", ranks: { 1: 1, 2: 2, 4: 2 }, splitSigma: "sqrt", scale: "classic", experts: "all" },
  { type: "flora", accumulate: "stack", compressEvery: 2, compressRank: 3 },
  { type: "fslora", serverOptimizer: "adamw", optimizer: "sgd", localLearningRate: 0.1, indices: "sent" },
  { type: "lora-fair", ranks: "share" },
  { type: "fft-moe", experts: 4, kept: 2, activate: "budget", auxiliary: "switch", sendOnlyUsed: true },
  { type: "shefl", members: 2, assign: "random", activate: "share", rho: -1, missing: "skip", compress: { keep: 0.5 } },
  { type: "embracingfl", layers: { 1: 1, 2: 2 }, downloads: "model", experts: "own", compress: { keep: 0.5 } },
  { type: "split-mix", bases: 2, minOne: true, use: "merged", temperature: 2, compress: { keep: 0.5 } },
  { type: "split-mix", bases: 2, minOne: true, order: "best", validation: 0.3 },
  { type: "mixture-of-ranks", zeroPenalty: "input" },
  { type: "flame", flood: {}, compress: { keep: 0.2, levels: 15 }, clipNorm: 1 },
];

const all: readonly (readonly [spec: Spec, task: string])[] = [
  ...ofText.map((spec) => [spec, "llm"] as const),
  ...Object.entries(smallTasks).flatMap(([task, { strategies: own }]) => own.map((spec) => [spec, task] as const)),
];

const { seed } = firstSeed();

/** Each strategy on each task with every commit; of further options one half, and the other half two commits later. */
const cases = all.filter(
  ([{ type }, task], at) =>
    all.findIndex((other) => other[0].type === type && other[1] === task) === at ||
    (at + Math.floor(seed / 2)) % 2 === 0,
);

const policies = { synchronous: undefined, buffered: fedbuff({ concurrency: 8, buffer: 4 }) };

const clients = threeTiers.reduce((sum, tier) => sum + tier.clients, 0);

const scenario = (strategy: Strategy, task: string, policy: keyof typeof policies) => {
  const small = smallTasks[task];
  const most = small?.budgets ?? Number.POSITIVE_INFINITY;
  return training(model, {
    strategy,
    lora: strategy.needs?.includes("slices") === true ? { ...lora, slices } : lora,
    ...small?.fields(clients),
    fleet: threeTiers.map((tier) => ({ ...tier, dropout: 0.5, budget: Math.min(tier.budget, most) })),
    rounds: {
      count: 3,
      cohort: 8,
      ...(policies[policy] === undefined ? { deadline: 2_000, minUpdates: 2 } : { policy: policies[policy] }),
    },
    training: { batchSize: 8, learningRate: 1e-2 },
    checkpoints: { every: 1, keep: 9 },
  });
};

/** Threads that one run after the other has, until a strategy asks for other settings. */
function shared(workers: number): (prepared: Prepared) => WorkPool {
  let pool: WorkPool | undefined;
  let made = "";
  after(() => pool?.close());
  return (prepared) => {
    const { data: _, partition: __, evaluation: ___, ...settings } = prepared.training!.setup;
    const wanted = JSON.stringify([
      prepared.task.type,
      prepared.task.layout.size,
      prepared.training!.spec.shape,
      settings,
    ]);
    if (made !== wanted) {
      pool?.close();
      pool = makePool(prepared, workers, { engine: "auto" });
      made = wanted;
    }
    const { diagnostics, run } = pool!;
    return { workers, diagnostics, run: run.bind(pool), close: async () => {} };
  };
}

const pools = { one: shared(1), three: shared(3) };

const files = ["events.jsonl", "metrics.jsonl", "participations.jsonl"];
/** Besides them what was trained: of an ensemble a file for each member. */
const resultsIn = (out: string): string[] => [
  ...files,
  ...readdirSync(join(out, "adapter"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".safetensors"))
    .map((name) => join("adapter", name)),
];

let late = 0;

for (const each of cases) {
  const [spec, task] = each;
  const number = all.indexOf(each);
  // The other policy is the next strategy's, and this one's with another commit.
  const policy = (number + seed) % 2 === 0 ? "synchronous" : "buffered";
  const at = (name: string) => join(folder, `${number}-${policy}-${name}`);
  let events = 0;

  const title = `${JSON.stringify(spec)}, ${task}, ${policy}`;

  test(`${title}: the dead have no weight, and only counted updates are remembered`, async () => {
    const { diagnostics } = await run(scenario(strategyFromSpec(spec), task, policy), {
      out: at("one"),
      reproduce,
      pool: pools.one,
    });
    events = diagnostics.events!;
    const seen: Parameters<typeof watched>[1] = [];
    const own = watched(strategyFromSpec(spec), seen);
    await run(scenario(own, task, policy), { out: at("watched"), reproduce, pool: pools.three });
    assertSameRun(at("watched"), at("one"), "three workers and updates that are overwritten", resultsIn(at("one")));
    const ended = assertLawful(at("watched"), seen);
    assert.ok(ended.counted! > 0 && ended.dropped! > 0, JSON.stringify(ended));
    late += ended.late ?? 0;
  });

  test(`${title}: three workers and one in turn, resumed again and again, leave the bytes of one`, async () => {
    const out = at("legs");
    const again = () => ({ reproduce, signal: interruptAfter(Math.ceil(events / 4)) });
    let { state } = await run(scenario(strategyFromSpec(spec), task, policy), { out, pool: pools.three, ...again() });
    let legs = 1;
    for (; state === "interrupted"; legs++) {
      const pool = legs % 2 === 0 ? pools.three : pools.one;
      ({ state } = await resume(await loadRun(out), { pool, ...again() }));
    }
    assert.ok(legs >= 4, `${legs} legs`);
    assertSameRun(out, at("one"), `in ${legs} legs`, resultsIn(at("one")));
  });
}

test("there were late updates to be left out", () => assert.ok(late > 0, `${late} were late`));
