/**
 * How fast does the server take up an update, and how much memory does a cohort need?
 *
 *   npm run bench -- aggregate [--sizes small,large] [--memory <GB>] [--strategies fedavg,flame] [--cohorts 10,1000]
 *
 * Folding is memory traffic: every strategy's `fold` at 1 M parameters, and at 150 M (OLMoE-1B-7B at rank 16) those whose
 * vectors fit into `--memory`, in bytes read and written by formula, beside a plain copy that is measured in turn with it.
 * Then one round of the embedded model with a small and a large cohort. `--sizes none` or `--cohorts none` leaves a half out.
 */
import { parseArgs } from "node:util";
import { median } from "simple-statistics";
import { clientId, participationId, round } from "../src/base/ids.ts";
import { Rng } from "../src/base/random.ts";
import { emptyMemory } from "../src/fl/plan.ts";
import { strategies } from "../src/fl/strategies/registry.ts";
import type { ServerState, Strategy } from "../src/fl/strategy.ts";
import type { Update } from "../src/fl/update.ts";
import { adapterLayout } from "../src/model/adapter.ts";
import { formatTable } from "../src/report/table.ts";
import { parameterLayout } from "../src/tasks/llm/task.ts";
import type { Setting } from "../src/tasks/task.ts";
import { measureCohorts } from "./cohort-memory.ts";
import { benchConfig } from "./step.ts";

/** Of every parameter that the client trained: bytes that a fold reads and writes, and the float64 vectors it needs. */
const traffic: Readonly<Record<string, { readonly bytes: number; readonly vectors: number }>> = {
  // Values, base and the sum of the mean, which is read and written: 4 + 4 + 2·8.
  ...Object.fromEntries(
    ["fedavg", "flame", "fedprox", "fedavgm", "fedadam", "fedadagrad", "fedyogi", "fednova", "qffl"].map(
      (type) => [type, { bytes: 24, vectors: 1 }] as const,
    ),
  ),
  // The mean, over pairs of factors; what a client's rank says of components is a number each.
  ...Object.fromEntries(["trivial", "hetlora", "fslora"].map((type) => [type, { bytes: 24, vectors: 1 }] as const)),
  // Values and the mixture.
  mix: { bytes: 20, vectors: 1 },
  // Values and base for the norm, and the sum.
  dpfedavg: { bytes: 8 + 24, vectors: 1 },
  // Without `memory`.
  ccfao: { bytes: 24, vectors: 2 },
  // The mean; Σ changes, and the change that was sent.
  scaffold: { bytes: 24 + 24, vectors: 4 },
  // The mean; zeros and their copy into λ_i, the step of λ_i, and λ̄.
  fedvra: { bytes: 24 + 24 + 24 + 24, vectors: 5 },
  // Zeros and their copies into m and v; values, base, m, v, both sums, and the largest score, which is mostly read.
  ewwa: { bytes: 48 + 8 + 64 + 8, vectors: 7 },
};

/** Why others have no line: their fold is no traffic of vectors of this layout. */
const otherwise: Readonly<Record<string, string>> = {
  ...Object.fromEntries(["flexlora", "flora", "lora-fair"].map((type) => [type, "multiplies factors"] as const)),
  ...Object.fromEntries(
    ["fedmoe", "hfedmoe", "fft-moe", "shefl", "embracingfl", "fl-games", "split-mix"].map(
      (type) => [type, "the mean, in a layout of its own"] as const,
    ),
  ),
};

const layouts = {
  small: { ...benchConfig, layers: 4, experts: 16, width: 240, expertWidth: 120, rank: 16 },
  large: { ...benchConfig, layers: 16, experts: 64, width: 2_048, expertWidth: 1_024, rank: 16 },
};

export default async function run(options: string[]): Promise<void> {
  const { values } = parseArgs({
    args: options,
    options: {
      sizes: { type: "string", default: "small,large" },
      memory: { type: "string", default: "4" },
      strategies: { type: "string", default: [...strategies.entries.keys()].join() },
      cohorts: { type: "string", default: "10,1000" },
    },
  });
  const wanted = values.strategies.split(",");
  for (const size of ["small", "large"] as const) {
    if (!values.sizes.split(",").includes(size)) continue;
    const { rank, ...config } = layouts[size];
    measureFolds(
      settingOf(parameterLayout(adapterLayout(config, { rank, alpha: rank }))),
      wanted,
      +values.memory * 1e9,
    );
  }
  if (values.cohorts !== "none") await measureCohorts(values.cohorts.split(",").map(Number));
}

function settingOf(layout: Setting["layout"]): Setting {
  const rng = new Rng(1);
  return {
    layout,
    abilities: [],
    clients: 2,
    budgets: [1, 2, 4, 8],
    rate: 1e-3,
    rateFactor: 1,
    epochs: 1,
    draws: (purpose) => rng.at(purpose).at(0),
    examples: () => 8,
    variant: (budget) => ({ topK: budget }),
  };
}

function measureFolds(setting: Setting, wanted: readonly string[], memory: number): void {
  const { size } = setting.layout;
  const [values, base] = [new Float32Array(size).fill(1.5), new Float32Array(size).fill(1)];
  const copied = new Uint8Array(Math.min(12 * size, 6e8)).fill(1);
  const copy = new Uint8Array(copied.length);
  const large = size > 1e7;
  const rows: string[][] = [];
  for (const type of wanted) {
    const strategy = strategies.fromSpec({ type });
    if (traffic[type] === undefined && strategy.folding !== "all") {
      rows.push([strategy.name, otherwise[type] ?? "no formula"]);
      continue;
    }
    const { bytes, vectors } = traffic[type] ?? { bytes: 0, vectors: 0 };
    if (strategy.folding === "all" || 8 * vectors * size > memory) {
      rows.push([strategy.name, strategy.folding === "all" ? "keeps updates until the round ends" : "does not fit"]);
      continue;
    }
    const fold = folding(strategy, setting, values, base);
    const [folds, copies]: [number[], number[]] = [[], []];
    let times = 1;
    for (let repeat = 0; repeat < (large ? 4 : 24); repeat++) {
      const ms = millisecondsOf(fold);
      // As long as the fold, so that what slows the machine down is in both.
      const copyMs = millisecondsOf(() => {
        for (let time = 0; time < times; time++) copy.set(copied);
      });
      folds.push((bytes * size) / ms / 1e6);
      copies.push((2 * copied.length * times) / copyMs / 1e6);
      times = Math.max(1, Math.round((times * ms) / copyMs));
    }
    // The first meet fresh memory, and code that is not compiled yet.
    const [speed, reference] = [median(folds.slice(large ? 1 : 8)), median(copies.slice(large ? 1 : 8))];
    const share = `${((100 * speed) / reference).toFixed(0)} %`;
    const ns = bytes / speed;
    rows.push([strategy.name, ns.toFixed(1), String(bytes), speed.toFixed(1), reference.toFixed(1), share]);
  }
  const titles = ["strategy", "ns/parameter", "B/parameter", "GB/s", "copy GB/s", "share"];
  process.stdout.write(`fold, ${(size / 1e6).toFixed(1)} M parameters\n\n${formatTable(titles, rows)}\n\n`);
}

/** Takes up one update again and again, as that of one client. */
function folding(strategy: Strategy, setting: Setting, values: Float32Array, base: Float32Array): () => void {
  const { layout } = setting;
  const { vectors = {}, notes = null } = strategy.init?.(setting) ?? {};
  const server: ServerState = { parameters: base, vectors, notes };
  const draws = (purpose: string) => new Rng(1).at(purpose).at(0);
  const view = {
    client: clientId(0),
    participation: participationId(0),
    budget: 2,
    examples: 8,
    round: round(1),
    memory: emptyMemory,
    draws,
  };
  const plan = strategy.plan?.(view, server, setting) ?? { kind: { variant: { topK: 2 } } };
  const groups = layout.groups.length;
  const trained = {
    values,
    base,
    steps: 4,
    firstLoss: 2,
    meanLoss: 1,
    trained: new Uint8Array(groups).fill(1),
    counts: new Float64Array(groups).fill(50),
    units: 100,
    personal: new Float32Array(0),
  };
  const found = { loss: Float64Array.of(2), targets: Float64Array.of(1) };
  const { sent = {} } = strategy.reply?.({ ...trained, found }, plan, view, setting) ?? {};
  const update: Update = {
    ...trained,
    ...view,
    participation: participationId(0),
    plan,
    sent,
    discount: 1,
    staleness: 0,
  };
  const at = { round: round(1), draws };
  const sum = strategy.begin(server, setting);
  return () => strategy.fold(sum, update, setting, at);
}

/** Of CPU time: what else the machine does does not count. */
function millisecondsOf(call: () => void): number {
  const begun = process.cpuUsage();
  call();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1_000;
}
