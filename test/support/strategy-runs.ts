/** Every strategy in a run that trains for real, while half of the clients drop out and others come late. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Spec } from "../../src/fl/define.ts";
import { fedbuff } from "../../src/fl/policies/registry.ts";
import { strategies, strategyFromSpec } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import { makePool } from "../../src/run/workforce.ts";
import type { WorkPool } from "../../src/runtime/pools/pool.ts";
import type { Scenario } from "../../src/scenario/define.ts";
import { threeTiers, training } from "./scenarios.ts";
import { smallTasks } from "./task-scenarios.ts";
import type { tinyModel } from "./tiny-model.ts";

const lora = { rank: 2, alpha: 4 };
const slices = { routed: 1, zero: 1, topK: 1 };

/** What the fleet and the rank here ask for where the default is another. */
const fitting: Readonly<Record<string, object>> = {
  "split-mix": { bases: 2, minOne: true },
};

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
  { type: "ewwa", variant: "code", form: "adagrad" },
  { type: "ewwa", remembered: 4 },
  { type: "ccfao", memory: true },
  { type: "dpfedavg", fullWeight: 20, quantile: 0.5, bitNoise: 2 },
  { type: "otaffl", weightRule: "mgda", shadowing: 4, dropAfterScheduling: 0.1 },
  { type: "otaffl", sends: "gradient", paired: true },
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

type StrategyRun = readonly [spec: Spec, task: string];

const runs: readonly StrategyRun[] = [
  ...ofText.map((spec) => [spec, "llm"] as const),
  [{ type: "flame", trainRouters: true, balance: 0.01 }, "attention"],
  [{ type: "fedavg" }, "attention"],
  ...Object.entries(smallTasks).flatMap(([task, { strategies: own }]) => own.map((spec) => [spec, task] as const)),
];

/** Runs with equal texts have the same threads of `sharedPool`. */
function threadsOf([spec, task]: StrategyRun): string {
  const { shape, validation } = strategyFromSpec(spec);
  return JSON.stringify([task, shape, validation]);
}

/** Each strategy on each task that has it, and further options; two on attention beside the experts. */
export const strategyRuns = runs.toSorted((a, b) => threadsOf(a).localeCompare(threadsOf(b)));

const policies = { synchronous: undefined, buffered: fedbuff({ concurrency: 8, buffer: 4 }) };

export type Policy = keyof typeof policies;

const clients = threeTiers.reduce((sum, tier) => sum + tier.clients, 0);

/** Three rounds. */
export const scenarioOf = (
  model: ReturnType<typeof tinyModel>,
  strategy: Strategy,
  task: string,
  policy: Policy,
): Scenario => {
  const small = smallTasks[task];
  const most = small?.budgets ?? Number.POSITIVE_INFINITY;
  return training(model, {
    strategy,
    lora: {
      ...lora,
      ...(strategy.needs?.includes("slices") === true && { slices }),
      ...(task === "attention" && { targets: "experts-and-attention" }),
    },
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
export function sharedPool(workers: number) {
  let pool: WorkPool | undefined;
  let made = "";
  const poolFor = (prepared: Prepared): WorkPool => {
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
  return { poolFor, close: () => pool?.close() };
}

const files = ["events.jsonl", "metrics.jsonl", "participations.jsonl"];
/** Besides them what was trained: of an ensemble a file for each member. */
export const resultsIn = (out: string): string[] => [
  ...files,
  ...readdirSync(join(out, "adapter"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".safetensors"))
    .map((name) => join("adapter", name)),
];
