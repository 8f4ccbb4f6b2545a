/** `flame stress <scenario>`: strategies × policies × dropout rates × seeds, in parallel, resumable. */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import { formatShare } from "../../base/units.ts";
import { outwait } from "../../folder/lock.ts";
import { formatSweep, writeSweepReport } from "../../report/sweep.ts";
import type { Cell, Target } from "../../study/cell.ts";
import { CellFolder, lockIn } from "../../study/cell-folder.ts";
import { loadScenario } from "../../study/load-scenario.ts";
import { type CellPlan, cellPlans, type Matrix } from "../../study/matrix.ts";
import { runCells } from "../../study/run-cells.ts";
import { cellOf, type StoredCell, storedCell, storedCellSchema } from "../../study/stored-cell.ts";
import { colors } from "../screen/colors.ts";
import { exitCodes } from "../screen/failure.ts";
import { onInterrupt } from "../screen/interrupt.ts";
import { ProgressLine } from "../screen/progress-line.ts";
import { terminal } from "../screen/terminal.ts";
import { quote, reproduce } from "./run.ts";

interface StressFlags {
  readonly strategy: readonly string[];
  readonly policy: readonly string[];
  readonly dropout: readonly number[];
  readonly seeds: readonly number[];
  readonly rounds?: number;
  readonly workers?: number;
  readonly engine: string;
  readonly timingOnly?: boolean;
  readonly calibration?: string;
  readonly target?: Target;
  readonly set: readonly string[];
  readonly out?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export async function stress(name: string, flags: StressFlags): Promise<void> {
  const { scenarios, path, file } = await loadScenario(name);
  const [scenario, ...others] = scenarios;
  if (scenario === undefined || others.length > 0) {
    const found = scenarios.map(({ data }) => data.name).join(", ");
    throw new ScenarioError(`${path} has ${scenarios.length} scenarios (${found}), expected one to vary`);
  }
  const matrix: Matrix = {
    strategies: flags.strategy,
    policies: flags.policy,
    dropouts: flags.dropout,
    seeds: flags.seeds,
    set: flags.set,
    ...given({ rounds: flags.rounds, timingOnly: flags.timingOnly, calibration: flags.calibration }),
  };
  const source = file === null ? null : readFileSync(file, "utf8");
  const plans = cellPlans(scenario, matrix, { engine: flags.engine, source });
  const out = flags.out ?? join("runs", `stress-${scenario.data.name}`);
  await outwait(lockIn(out), (text) => void terminal.err.write(`${text}\n`));
  const folder = new CellFolder(out, storedCellSchema);
  const abort = new AbortController();
  // A second one waits for nothing; every finished cell is on disk.
  const deafen = onInterrupt(() => {
    abort.abort();
    if (flags.json !== true) terminal.err.write("waiting for the cells under way; Ctrl-C again stops at once\n");
  });
  try {
    const missing = plans.filter(({ key }) => folder.get(key) === undefined);
    const board = new Board(plans, plans.length - missing.length, flags);
    try {
      await runCells({
        name: resolve(path),
        plans: missing,
        engine: flags.engine,
        signal: abort.signal,
        ...given({ workers: flags.workers }),
        reproduce: (plan) => reproduce(path, plan.changes),
        onRound: (plan, round) => board.round(plan, round),
        onCell(plan, outcome) {
          const stored = storedCell(plan, outcome);
          folder.add(plan.key, stored);
          board.cell(plan, cellOf(stored, plan, flags.target ?? null));
        },
      });
    } finally {
      board.close();
    }
    showOutcome(plans, folder, path, scenario.data, flags);
  } finally {
    deafen();
    folder.close();
  }
}

function showOutcome(
  plans: readonly CellPlan[],
  folder: CellFolder<StoredCell>,
  path: string,
  { name, question }: { readonly name: string; readonly question?: string | undefined },
  flags: StressFlags,
): void {
  const target = flags.target ?? null;
  const done = plans.flatMap((plan): Cell[] => {
    const stored = folder.get(plan.key);
    return stored === undefined ? [] : [cellOf(stored, plan, target)];
  });
  const broken = done.filter(({ violations }) => violations.length > 0);
  const command = commandLine(path, flags);
  const isComplete = done.length === plans.length;
  const report =
    done.length === 0
      ? null
      : writeSweepReport(folder.path, done, {
          name: `stress ${name}`,
          question: question ?? null,
          target,
          reproduce: command,
        });
  if (flags.json === true) {
    const ended = { event: "ended", folder: folder.path, cells: done.length, of: plans.length, broken: broken.length };
    terminal.out.write(`${JSON.stringify(ended)}\n`);
  } else {
    if (done.length > 0) terminal.out.write(`\n${formatSweep(done, target)}\n`);
    for (const { strategy, dropout, seed, violations } of broken) {
      const where = `${strategy}, dropout ${dropout}, seed ${seed}`;
      terminal.out.write(`${colors.red("broken")} ${where}: ${violations.join("; ")}\n`);
    }
    if (report !== null) terminal.out.write(`${colors.dim(report)}\n`);
    if (!isComplete) {
      terminal.out.write(
        `${done.length} of ${plans.length} cells are done; go on with the same command:\n  ${command}\n`,
      );
    }
  }
  if (broken.length > 0) process.exitCode = exitCodes.failed;
  if (!isComplete) process.exitCode = exitCodes.interrupted;
}

/** What the terminal shows while cells run. */
class Board {
  readonly #flags: StressFlags;
  readonly #line: ProgressLine | null;
  readonly #rounds = new Map<string, number>();
  readonly #trains: boolean;
  #done: number;

  constructor(plans: readonly CellPlan[], done: number, flags: StressFlags) {
    this.#flags = flags;
    this.#done = done;
    this.#trains = plans.some(({ scenario }) => !scenario.data.timingOnly);
    const isShown = flags.json !== true && flags.quiet !== true;
    if (isShown) {
      const kept = done === 0 ? "" : `, ${done} of them done before`;
      terminal.out.write(`${plans.length} cells${kept}\n`);
    }
    this.#line = isShown && done < plans.length ? new ProgressLine("cell", plans.length, done) : null;
  }

  round(plan: CellPlan, round: number): void {
    this.#rounds.set(`${plan.label} ${formatShare(plan.dropout)} seed ${plan.seed}`, round);
    this.#show();
  }

  cell(plan: CellPlan, cell: Cell): void {
    this.#done++;
    const title = `${plan.label} ${formatShare(plan.dropout)} seed ${plan.seed}`;
    this.#rounds.delete(title);
    if (this.#flags.json === true) terminal.out.write(`${JSON.stringify({ event: "cell", ...cell })}\n`);
    if (this.#trains) {
      const losses = cell.evaluations.map(({ topK, loss }) => `k=${topK} ${Number(loss).toFixed(3)}`).join("  ");
      this.#line?.note(`${title}: ${losses}`);
    }
    this.#show();
  }

  close(): void {
    this.#line?.close();
  }

  #show(): void {
    const running = [...this.#rounds].map(([title, round]) => `${title} round ${round}`).join(" | ");
    this.#line?.update(this.#done, running);
  }
}

/** The command that runs this matrix, for the report and for going on. */
function commandLine(path: string, flags: StressFlags): string {
  const { strategy, policy, dropout, seeds, rounds, timingOnly, calibration, target: wanted, set, out, engine } = flags;
  const words = ["npx flame stress", quote(path)];
  if (strategy.length > 0) words.push(`--strategy ${strategy.join(",")}`);
  if (policy.length > 0) words.push(`--policy ${policy.join(",")}`);
  if (dropout.length > 0) words.push(`--dropout ${dropout.join(",")}`);
  const isRange = seeds.every((seed, at) => seed === at + 1) && seeds.length > 1;
  words.push(`--seeds ${isRange ? seeds.length : `${seeds.join(",")}${seeds.length === 1 ? "," : ""}`}`);
  if (rounds !== undefined) words.push(`--rounds ${rounds}`);
  if (timingOnly === true) words.push("--timing-only");
  if (calibration !== undefined) words.push(`--calibration ${quote(calibration)}`);
  if (engine !== "auto") words.push(`--engine ${engine}`);
  if (wanted !== undefined) words.push(`--target ${wanted.topK}:${wanted.loss}`);
  for (const change of set) words.push(`--set ${quote(change)}`);
  if (out !== undefined) words.push(`--out ${quote(out)}`);
  return words.join(" ");
}
