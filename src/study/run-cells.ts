/**
 * Runs the cells of a matrix side by side, each in a process of one worker: no core is idle between the rounds of one
 * cell while there is another. Which cell is ready first reaches nothing but the order of lines in cells.jsonl.
 */
import { availableParallelism } from "node:os";
import { given } from "../base/given.ts";
import { chooseEngine } from "../engine/create.ts";
import { engineNameOf } from "../engine/names.ts";
import { hasCode, scenarioToJson } from "../scenario/define.ts";
import type { StoredCell } from "./cell.ts";
import { CellProcesses } from "./cell-processes.ts";
import { sourceOf } from "./load-scenario.ts";
import type { CellPlan } from "./matrix/plan.ts";
import { type CellOptions, runCell } from "./run-cell.ts";

export interface CellRun extends Pick<CellOptions, "engine" | "nats" | "mixedHardware" | "stopHopeless" | "signal"> {
  /** Where the scenarios came from; null for none, and then those with code are run by this process, cell by cell. */
  readonly file: string | null;
  readonly plans: readonly CellPlan[];
  /** Cells at a time; one per core unless given, and one on a GPU. */
  readonly workers?: number;
  /** Where the cell's run is kept, if it is. */
  folderOf(plan: CellPlan): string | null;
  reproduce(plan: CellPlan): string;
  /** A process that runs cells has been started. */
  onProcess?(id: number): void;
  onRound(plan: CellPlan, round: number): void;
  onCell(plan: CellPlan, cell: StoredCell): void;
}

/** Resolves when every cell is done, or, once interrupted, when those under way have been given up. */
export async function runCells(cells: CellRun): Promise<void> {
  const { file, plans, engine, nats, mixedHardware, stopHopeless, signal } = cells;
  const isAlone = file === null && plans.some(({ scenario }) => hasCode(scenarioToJson(scenario)));
  const count = isAlone ? 1 : cellsAtOnce(cells);
  // A process takes a second to start; with one at a time this one does as well.
  const processes = count > 1 ? new CellProcesses(signal, cells.onProcess) : null;
  const waiting = [...plans];
  const work = async (): Promise<void> => {
    for (let plan = waiting.shift(); plan !== undefined && !signal.aborted; plan = waiting.shift()) {
      const cell = plan;
      const { name, changes, scenario } = cell;
      const job = {
        engine,
        ...given({ nats, mixedHardware }),
        stopHopeless,
        out: cells.folderOf(cell),
        reproduce: cells.reproduce(cell),
      };
      const onRound = (round: number) => cells.onRound(cell, round);
      const json = scenarioToJson(scenario);
      const outcome = await (processes === null
        ? runCell(scenario, { ...job, source: sourceOf(file, changes), signal, onRound })
        : processes.run({ ...job, scenario: hasCode(json) ? { file: file!, name, changes } : { json } }, onRound));
      if (outcome !== null) cells.onCell(cell, outcome);
    }
  };
  try {
    await Promise.all(Array.from({ length: count }, work));
  } finally {
    processes?.close();
  }
}

/** A device has one owner. */
export function cellsAtOnce({ plans, workers, engine }: Pick<CellRun, "plans" | "workers" | "engine">): number {
  const trains = plans.some(({ scenario }) => !scenario.data.timingOnly);
  const most = trains && chooseEngine(engineNameOf(engine)).gpu ? 1 : (workers ?? availableParallelism());
  return Math.min(plans.length, most);
}
