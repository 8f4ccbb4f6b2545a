/**
 * Runs the cells of a matrix side by side, each in a process of one worker: no core is idle between the rounds of one
 * cell while there is another. Which cell is ready first reaches nothing but the order of lines in cells.jsonl.
 */
import { availableParallelism } from "node:os";
import { given } from "../base/given.ts";
import { chooseEngine } from "../engine/create.ts";
import { engineNameOf } from "../engine/names.ts";
import type { NatsAddress } from "../runtime/pools/nats-server.ts";
import { CellProcesses } from "./cell-processes.ts";
import { type CellOutcome, type CellPlan, runCell } from "./matrix.ts";

export interface CellRun {
  /** As the user named the scenario. */
  readonly name: string;
  readonly plans: readonly CellPlan[];
  /** Cells at a time; one per core unless given, and one on a GPU. */
  readonly workers?: number;
  readonly engine: string;
  /** A server by which every cell finds workers elsewhere. */
  readonly nats?: NatsAddress;
  readonly signal: AbortSignal;
  reproduce(plan: CellPlan): string;
  /** A process that runs cells has been started. */
  onProcess?(id: number): void;
  onRound(plan: CellPlan, round: number): void;
  onCell(plan: CellPlan, outcome: CellOutcome): void;
}

/** Resolves when every cell is done, or, once interrupted, when those under way have been given up. */
export async function runCells({ name, plans, engine, nats, signal, reproduce, ...rest }: CellRun): Promise<void> {
  const count = cellsAtOnce({ plans, engine, ...rest });
  // A process takes a second to start; with one at a time this one does as well.
  const processes = count > 1 ? new CellProcesses(signal, rest.onProcess) : null;
  const waiting = [...plans];
  const work = async (): Promise<void> => {
    for (let plan = waiting.shift(); plan !== undefined && !signal.aborted; plan = waiting.shift()) {
      const cell = plan;
      const job = { name, changes: cell.changes, engine, ...given({ nats }), reproduce: reproduce(cell) };
      const onRound = (round: number) => rest.onRound(cell, round);
      const outcome = await (processes === null
        ? runCell(cell.scenario, { ...job, signal, onRound })
        : processes.run(job, onRound));
      if (outcome !== null) rest.onCell(cell, outcome);
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
