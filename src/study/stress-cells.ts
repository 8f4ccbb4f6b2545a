/**
 * Runs the cells of a stress matrix side by side. Cells that only simulate timing keep a process busy each; cells that
 * train share the worker pool of their seed, two at a time, so that the pool has work while one of them aggregates.
 * Which cell is ready first reaches nothing but the order of lines in cells.jsonl.
 */
import { availableParallelism } from "node:os";
import { isEngineName } from "../engine/names.ts";
import type { Prepared } from "../run/prepare.ts";
import { makePool } from "../run/workforce.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";
import { CellProcesses } from "./cell-processes.ts";
import { type CellOutcome, runCell, type StressPlan } from "./stress.ts";

export interface CellRun {
  /** As the user named the scenario. */
  readonly name: string;
  readonly plans: readonly StressPlan[];
  readonly workers?: number;
  readonly engine: string;
  readonly signal: AbortSignal;
  reproduce(plan: StressPlan): string;
  onRound(plan: StressPlan, round: number): void;
  onCell(plan: StressPlan, outcome: CellOutcome): void;
}

/** Resolves when every cell is done, or, once interrupted, when those under way have come to an end. */
export function runCells(cells: CellRun): Promise<void> {
  return cells.plans.every(({ scenario }) => scenario.data.timingOnly) ? runTimedCells(cells) : runTrainedCells(cells);
}

async function runTimedCells({ name, plans, workers, signal, reproduce, onCell }: CellRun): Promise<void> {
  const count = Math.min(plans.length, workers ?? availableParallelism());
  // A process takes a second to start; with one at a time this one does as well.
  const processes = count > 1 ? new CellProcesses() : null;
  const waiting = [...plans];
  const work = async (): Promise<void> => {
    for (let plan = waiting.shift(); plan !== undefined && !signal.aborted; plan = waiting.shift()) {
      const command = reproduce(plan);
      const outcome = await (processes === null
        ? runCell(plan.scenario, { workers: 0, signal, reproduce: command })
        : processes.run({ name, changes: plan.changes, reproduce: command }));
      if (outcome !== null) onCell(plan, outcome);
    }
  };
  try {
    await Promise.all(Array.from({ length: count }, work));
  } finally {
    processes?.close();
  }
}

const cellsAtOnce = 2;

async function runTrainedCells(cells: CellRun): Promise<void> {
  const { plans, engine, signal, reproduce, onRound, onCell } = cells;
  const workers = cells.workers ?? availableParallelism();
  for (const seed of new Set(plans.map((plan) => plan.seed))) {
    const shared = new SharedPool((prepared) => {
      const { lora } = plans[0]!.scenario.data;
      return makePool(prepared, workers, { engine: isEngineName(engine) ? engine : "auto", lora });
    });
    const waiting = plans.filter((plan) => plan.seed === seed);
    const work = async (): Promise<void> => {
      for (let plan = waiting.shift(); plan !== undefined && !signal.aborted; plan = waiting.shift()) {
        const cell = plan;
        const outcome = await runCell(cell.scenario, {
          workers,
          engine,
          signal,
          reproduce: reproduce(cell),
          pool: shared.lend,
          onRound: (round) => onRound(cell, round),
        });
        if (outcome !== null) onCell(cell, outcome);
      }
    };
    try {
      await Promise.all(Array.from({ length: cellsAtOnce }, work));
    } finally {
      await shared.close();
    }
  }
}

/** One pool for all cells of a seed: their data, partition and base model are the same. */
class SharedPool {
  readonly #make: (prepared: Prepared) => WorkPool;
  #pool: WorkPool | null = null;

  constructor(make: (prepared: Prepared) => WorkPool) {
    this.#make = make;
  }

  readonly lend = (prepared: Prepared): WorkPool => {
    this.#pool ??= this.#make(prepared);
    const pool = this.#pool;
    return {
      workers: pool.workers,
      get diagnostics() {
        return pool.diagnostics;
      },
      run: (task, isWanted) => pool.run(task, isWanted),
      close: async () => {},
    };
  };

  async close(): Promise<void> {
    await this.#pool?.close();
  }
}
