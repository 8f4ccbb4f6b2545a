/**
 * Draws what a method does in a real run, small enough to be run for every method: the task's first metric over rounds, at
 * each budget, and beside it FedAvg in the same scenario. Equal runs give equal bytes.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { MethodFacts } from "../src/cli/screen/method-facts.ts";
import { digits, pictures } from "../src/data/images/source.ts";
import { byCategory, dirichlet, shards } from "../src/data/partition.ts";
import { instructions } from "../src/data/source.ts";
import { strategyFromSpec } from "../src/fl/strategies/registry.ts";
import type { RoundMetrics } from "../src/records/metrics.ts";
import { draw, endLabels, lines } from "../src/report/figure.ts";
import { byteUnit, roundTicks, written } from "../src/report/numbers.ts";
import { run } from "../src/run/run.ts";
import { defineScenario, type ScenarioInput } from "../src/scenario/define.ts";
import { factsOf } from "../src/tasks/facts.ts";

type Fields = Omit<ScenarioInput, "name" | "seed" | "strategy">;

const fleetOf = (...budgets: readonly number[]) =>
  budgets.map((budget) => ({ name: `budget ${budget}`, clients: 4, budget, tokensPerSecond: 500, uplink: 1e6 }));

/** One for each task that a method can be shown on. */
const scenarios = {
  llm: {
    lora: { rank: 8, alpha: 16 },
    data: {
      source: instructions({ examples: 1_500 }),
      partition: dirichlet({ alpha: 0.5, minimum: 8 }),
      maxTokens: 48,
    },
    fleet: fleetOf(4, 2, 1),
    rounds: { count: 6, cohort: 4 },
    training: { batchSize: 16, maxSteps: 3, learningRate: 5e-3 },
    evaluateEvery: 2,
    evaluateAt: [4, 1],
    evaluationExamples: 48,
  },
  vision: {
    task: { type: "vision", network: { type: "mlp", hidden: [64, 32] } },
    data: { source: digits(), partition: dirichlet({ alpha: 1 }), heldOut: 0.2 },
    fleet: fleetOf(3, 2, 1),
    rounds: { count: 16, cohort: 8 },
    training: { batchSize: 16, learningRate: 5e-3 },
    evaluateEvery: 2,
    evaluateAt: [3, 1],
    evaluationExamples: 360,
  },
  coloured: {
    task: {
      type: "coloured",
      environments: [
        { flip: 0.1, share: 3 },
        { flip: 0.9, share: 1 },
      ],
    },
    data: { source: digits(), partition: byCategory() },
    fleet: [{ name: "site", clients: 2, budget: 1, tokensPerSecond: 1_000, uplink: 1e6 }],
    rounds: { count: 120, cohort: 2 },
    training: { batchSize: 32, learningRate: 1e-2, clipNorm: null },
    evaluateEvery: 10,
  },
  "two-view": {
    task: { type: "two-view", views: { type: "coloured", tie: 0.8 } },
    data: { source: digits(), partition: dirichlet({ alpha: 3 }), heldOut: 360 },
    fleet: fleetOf(3, 2, 1),
    rounds: { count: 12, cohort: 4 },
    evaluateEvery: 2,
    training: { epochs: 2, batchSize: 16, learningRate: 3e-3 },
    evaluationExamples: 360,
  },
  restore: {
    task: { type: "restore", topK: 4 },
    data: { source: pictures({ examples: 600, side: 16 }), partition: dirichlet({ alpha: 0.3 }), heldOut: 100 },
    fleet: fleetOf(4, 2, 1),
    rounds: { count: 8, cohort: 4 },
    evaluateEvery: 2,
    training: { epochs: 2, batchSize: 8, learningRate: 5e-3 },
    evaluateAt: [4, 1],
    evaluationExamples: 100,
  },
  pregating: {
    task: { type: "pregating" },
    data: {
      source: instructions({ examples: 800 }),
      partition: dirichlet({ alpha: 0.3 }),
      heldOut: 0.1,
      maxTokens: 48,
    },
    fleet: fleetOf(8, 4, 1),
    rounds: { count: 8, cohort: 4 },
    evaluateEvery: 2,
    training: { maxSteps: 8, batchSize: 16, learningRate: 3e-3 },
    evaluateAt: [8, 1],
    evaluationExamples: 64,
  },
  refactor: {
    task: { type: "refactor", experts: 4, share: 0.5 },
    data: {
      source: instructions({ examples: 800 }),
      partition: shards({ categories: 2 }),
      heldOut: 0.1,
      maxTokens: 48,
    },
    fleet: fleetOf(4, 2, 1),
    rounds: { count: 8, cohort: 4 },
    evaluateEvery: 2,
    training: { maxSteps: 2, batchSize: 16, learningRate: 3e-3 },
    evaluateAt: [4, 1],
    evaluationExamples: 64,
  },
} as const satisfies Readonly<Record<string, Fields>>;

type Shown = keyof typeof scenarios;

/** What of a method's options these scenarios ask to be another than usual. */
const fitting: Readonly<Record<string, object>> = {
  // Plain SGD steps as far at a hundred times the rate.
  ccfao: { type: "ccfao", localLearningRate: 0.5, serverLearningRate: 0.01 },
  // Beside the updates of eight clients the noise of a strong promise is louder than what they learn.
  dpfedavg: { type: "dpfedavg", sampled: 0.7, bound: 1, noise: 0.2 },
  fednova: { type: "fednova", localLearningRate: 0.5 },
  fedvra: { type: "fedvra", localLearningRate: 0.5 },
  scaffold: { type: "scaffold", localLearningRate: 0.5 },
  compress: { type: "fedavg", compress: { keep: 0.1 } },
  clipNorm: { type: "fedavg", clipNorm: 1 },
  "fl-games": { type: "fl-games", optimizer: "sgd", box: 2, weighting: "uniform", representationRate: 1 },
  flood: { type: "fedavg", flood: {} },
  krum: { type: "krum", malicious: 1 },
  // Its other solver takes a minute for the matrices of this model.
  "lora-fair": { type: "lora-fair", solver: "l2-closed" },
  mix: { type: "mix" },
  overTheAir: { type: "fedavg", overTheAir: {} },
  serverStep: { type: "fedavg", serverStep: { type: "adam" } },
  "split-mix": { type: "split-mix", bases: 4, minOne: true },
};

const first = ["pregating", "refactor", "restore", "two-view", "coloured"] as const;

/** Where a method is shown: on the task that it alone is for, else on digits, else on text. */
function taskOf({ tasks, wraps }: MethodFacts): Shown {
  if (wraps) return "vision";
  const own = first.find((task) => tasks.includes(task) && !tasks.includes("vision"));
  return own ?? (tasks.includes("vision") ? "vision" : "llm");
}

const played = new Map<string, Promise<readonly RoundMetrics[]>>();

/** The rows of a run; the same run is played once. */
function rowsOf(task: Shown, spec: { readonly type: string }): Promise<readonly RoundMetrics[]> {
  const key = JSON.stringify([task, spec]);
  const scenario = defineScenario({
    ...(scenarios[task] as Fields),
    name: "picture",
    seed: 1,
    strategy: strategyFromSpec(spec),
  });
  const rows = played.get(key) ?? run(scenario, { out: null }).then(({ rows }) => rows);
  played.set(key, rows);
  return rows;
}

const folder = join(import.meta.dirname, "..", "docs", "methods", "pictures");
const fileOf = (name: string): string => join(folder, `${name}.svg`);

/** What a picture shows, as it says of itself; null where there is none. */
export function captionOf(name: string): string | null {
  try {
    return /<desc>([\s\S]*?)<\/desc>/.exec(readFileSync(fileOf(name), "utf8"))?.[1] ?? null;
  } catch {
    return null;
  }
}

export async function drawPicture(method: MethodFacts): Promise<void> {
  const { name } = method;
  const task = taskOf(method);
  const facts = factsOf(task);
  const [metric] = facts.metrics;
  const spec = (fitting[name] ?? { type: name }) as { readonly type: string };
  const rows = await rowsOf(task, spec);
  // Nothing else learns on a model that is cut.
  const others =
    task === "refactor" || task === "pregating" || name === "fedavg" ? [] : await rowsOf(task, { type: "fedavg" });
  const by = metric.form === "share" ? 100 : 1;
  const pointsAt = (of: readonly RoundMetrics[], budget: number) =>
    of.flatMap(({ round, evaluations }) =>
      evaluations.filter((at) => at.budget === budget).map((at) => ({ round, value: by * metric.of(at) })),
    );
  const all = [...new Set(rows.flatMap(({ evaluations }) => evaluations.map(({ budget }) => budget)))];
  // Where every budget runs the same model, one line is all.
  const isSame = (a: number, b: number) => JSON.stringify(pointsAt(rows, a)) === JSON.stringify(pointsAt(rows, b));
  const budgets = all.filter((budget, at) => !all.slice(0, at).some((other) => isSame(other, budget)));
  const named = (budget: number): string => (budgets.length === 1 ? "" : `${facts.budget.symbol} = ${budget}`);
  const series = [
    ...(others.length === 0
      ? []
      : [{ style: { label: "FedAvg", colour: "var(--other)", dash: "4 3" }, points: pointsAt(others, budgets[0]!) }]),
    ...budgets.map((budget, at) => ({
      style: {
        label: named(budget) || name,
        colour: `var(--s${at})`,
        dash: null,
      },
      points: pointsAt(rows, budget),
    })),
  ];
  const longest = Math.max(...series.map(({ style }) => style.label.length));
  const axes = { x: ({ round }: Point) => round, y: ({ value }: Point) => value };
  const unit = { share: " (%)", decibel: " (dB)", number: "" }[metric.form];
  const label = `${metric.title} over rounds`;
  const plot = draw(
    {
      ariaLabel: label,
      height: 240,
      marginRight: longest > 10 ? 14 + 7 * longest : 74,
      x: { label: "round →", ...roundTicks(rows) },
      y: { label: `↑ ${metric.title}${unit}`, grid: true, nice: true },
      marks: lines(series, { ...axes, title: () => "" }),
    },
    endLabels(series, axes),
  );
  const last = rows.at(-1)!;
  const ends = last.evaluations
    .filter(({ budget }) => budgets.includes(budget))
    .map((at) => `${written(metric, at)}${named(at.budget) && ` at ${named(at.budget)}`}`);
  const bytes = [last.downloadBytes, last.uploadBytes].map((sum) => {
    const { unit, divisor } = byteUnit(sum);
    return `${(sum / divisor).toFixed(1)} ${unit}`;
  });
  const { type, ...options } = spec;
  const given = Object.keys(options).length === 0 ? "" : ` with ${JSON.stringify(options).replaceAll('"', "")}`;
  const beside =
    others.length === 0 ? "" : `; dashed, plain FedAvg${named(budgets[0]!) && ` at ${named(budgets[0]!)}`}`;
  const caption = `${type}${given} on the task ${task}, one seed: after ${last.round} rounds ${metric.title} is ${ends.join(", ")}${beside}. ${bytes[0]} went down and ${bytes[1]} up.`;
  writeFileSync(fileOf(name), `${standalone(plot, caption)}\n`);
}

interface Point {
  readonly round: number;
  readonly value: number;
}

/** The colours of the report, in a drawing that stands alone, on light pages and on dark ones. */
function standalone(svg: string, caption: string): string {
  const style = `<style>svg{color:#24292f;--s0:#3452c7;--s1:#0b8a83;--s2:#d9730d;--other:#6b7686;--panel:#fff;font-family:system-ui,sans-serif}@media(prefers-color-scheme:dark){svg{color:#d6dde6;--s0:#8ea6ff;--s1:#3fcabf;--s2:#ffa251;--other:#aab4c3;--panel:#0d1117}}</style>`;
  const escaped = caption.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const open = svg.indexOf(">") + 1;
  const root = svg.slice(0, open).replace("<svg ", `<svg xmlns="http://www.w3.org/2000/svg" `);
  return `${root}<desc>${escaped}</desc>${style}${svg.slice(open)}`.replaceAll("<title></title>", "");
}
