/** `flame calibrate <scenario>`: how fast this machine really trains at each budget, for plans without training. */

import { cpus } from "node:os";
import { writeAtomically } from "../../base/disk.ts";
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import { requireEngine } from "../../engine/create.ts";
import { trainingFlops } from "../../model/accounting.ts";
import { formatTable } from "../../report/table.ts";
import { prepareRun } from "../../run/run.ts";
import type { Calibration } from "../../scenario/calibration.ts";
import { configure } from "../../scenario/configure.ts";
import { loadScenario } from "../../study/load-scenario.ts";
import { millisecondsPerStep, realBatches } from "../../study/step-times.ts";
import { asLlm, type OpenedLlm } from "../../tasks/llm/kind.ts";
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
    ...given({ data: flags.data, model: flags.model }),
    ...(loaded.data.timingOnly ? { set: ["timingOnly=false"] } : {}),
  });
  const prepared = await prepareRun(scenario, { engine });
  const { training } = prepared;
  const llm = asLlm(prepared.task);
  if (llm === null) throw new ScenarioError("only language models are calibrated so far");
  const { config } = llm;
  if (training === null) throw new ScenarioError(`scenario "${scenario.data.name}" does not train`);
  const { setup, spec } = training;
  const trainer = await createEngine({ task: spec, engine });
  try {
    const batches = realBatches(prepared, steps);
    const tokens = batches.reduce((sum, { lengths }) => sum + lengths.reduce((a, b) => a + b, 0), 0) / batches.length;
    const budgets = flags.budgets ?? prepared.budgets;
    for (const budget of budgets) {
      if (budget > config.topK)
        throw new ScenarioError(`--budgets has ${budget}, but the model was trained with ${config.topK}`);
    }
    const times = await millisecondsPerStep(trainer, prepared, batches, budgets, repeats);
    const measured: Calibration["budgets"] = budgets.map((budget, at) => {
      const ms = times[at]!;
      return { budget, tokensPerSecond: round((1_000 * tokens) / ms), millisecondsPerStep: round(ms) };
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
    writeAtomically(to, text);
    terminal.out.write(json === true ? text : shown(calibration, llm, scenario.data.lora.rank, to));
  } finally {
    trainer.dispose();
  }
}

function shown(
  { engine, budgets }: Calibration,
  { config }: Pick<OpenedLlm, "config">,
  rank: number,
  to: string,
): string {
  const most = budgets.reduce((best, budget) => (budget.budget > best.budget ? budget : best));
  const rows = budgets.map(({ budget, tokensPerSecond, millisecondsPerStep = 0 }) => [
    String(budget),
    millisecondsPerStep.toFixed(1),
    tokensPerSecond.toFixed(0),
    `${(tokensPerSecond / most.tokensPerSecond).toFixed(2)} ×`,
    `${(trainingFlops(config, most.budget, rank) / trainingFlops(config, budget, rank)).toFixed(2)} ×`,
  ]);
  const titles = ["k", "ms/step", "tokens/s", `against k=${most.budget}`, "by FLOPs"];
  const table = formatTable(titles, rows);
  return `${colors.dim(`${engine}, one worker`)}\n${table}\n\n${to}: use it with --timing-only --calibration ${to}\n`;
}

const round = (value: number): number => Number(value.toPrecision(4));
