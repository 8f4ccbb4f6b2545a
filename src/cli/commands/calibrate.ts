/** `flame calibrate <scenario>`: how fast this machine really trains at each budget, for plans without training. */

import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { streamAtomically } from "../../base/disk.ts";
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import { requireEngine } from "../../engine/create.ts";
import { formatTable } from "../../report/table.ts";
import { prepareRun } from "../../run/run.ts";
import type { Calibration } from "../../scenario/calibration.ts";
import { configure } from "../../scenario/configure.ts";
import { loadScenario } from "../../study/load-scenario.ts";
import { millisecondsPerStep, realBatches } from "../../study/step-times.ts";
import { factsOf } from "../../tasks/facts.ts";
import type { OpenedTask } from "../../tasks/kind.ts";
import { createEngine } from "../../tasks/open/create-engine.ts";
import { colors } from "../screen/colors.ts";
import { terminal } from "../screen/terminal.ts";

interface CalibrateFlags {
  readonly to: string;
  readonly budgets?: readonly number[];
  readonly repeats: number;
  readonly engine: string;
  readonly data?: string;
  readonly model?: string;
  readonly base?: string;
  readonly json?: boolean;
}

/** In one measurement. */
const steps = 6;

export async function calibrate(
  name: string,
  { to, repeats, engine: asked, json, ...flags }: CalibrateFlags,
): Promise<void> {
  const engine = requireEngine(asked);
  const loaded = (await loadScenario(name)).scenarios[0]!;
  const scenario = configure(loaded, {
    ...given({ data: flags.data, model: flags.model, base: flags.base }),
    ...(loaded.data.timingOnly ? { set: ["timingOnly=false"] } : {}),
  });
  const prepared = await prepareRun(scenario, { engine });
  const { training, task } = prepared;
  if (training === null) throw new ScenarioError(`scenario "${scenario.data.name}" does not train`);
  const { setup, spec } = training;
  const trainer = await createEngine({ task: spec, engine });
  try {
    const batches = realBatches(prepared, steps);
    const units = batches.reduce((sum, { lengths }) => sum + lengths.reduce((a, b) => a + b, 0), 0) / batches.length;
    const budgets = flags.budgets ?? prepared.budgets;
    for (const budget of budgets) {
      const problem = task.budgetProblem(budget);
      if (problem !== null) throw new ScenarioError(`--budgets has ${budget}, but ${problem}`);
    }
    const times = await millisecondsPerStep(trainer, prepared, batches, budgets, repeats);
    const measured: Calibration["budgets"] = budgets.map((budget, at) => {
      const ms = times[at]!;
      return { budget, tokensPerSecond: round((1_000 * units) / ms), millisecondsPerStep: round(ms) };
    });
    const calibration: Calibration = {
      machine: cpus()[0]?.model ?? "unknown",
      engine: trainer.name,
      model: prepared.inputs.model,
      batchSize: setup.batchSize,
      length: setup.length,
      budgets: measured,
    };
    const text = `${JSON.stringify(calibration, null, 2)}\n`;
    await streamAtomically(to, async (file) => writeFileSync(file, text));
    terminal.out.write(json === true ? text : shown(calibration, task, to));
  } finally {
    trainer.dispose();
  }
}

function shown({ engine, budgets, length = 1 }: Calibration, { type, task }: OpenedTask, to: string): string {
  const { target, budget: called } = factsOf(type);
  const flops = (budget: number) => task.cost(task.budget.variant(budget)).training;
  const most = budgets.reduce((best, budget) => (budget.budget > best.budget ? budget : best));
  const rows = budgets.map(({ budget, tokensPerSecond, millisecondsPerStep = 0 }) => [
    String(budget),
    millisecondsPerStep.toFixed(1),
    tokensPerSecond.toFixed(0),
    `${(tokensPerSecond / most.tokensPerSecond).toFixed(2)} ×`,
    `${(flops(most.budget) / flops(budget)).toFixed(2)} ×`,
  ]);
  const titles = [
    called.symbol,
    "ms/step",
    `${length > 1 ? "token" : target}s/s`,
    `against ${called.symbol}=${most.budget}`,
    "by FLOPs",
  ];
  const table = formatTable(titles, rows);
  return `${colors.dim(`${engine}, one worker`)}\n${table}\n\n${to}: use it with --timing-only --calibration ${to}\n`;
}

const round = (value: number): number => Number(value.toPrecision(4));
