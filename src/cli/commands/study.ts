/**
 * `flame stress` and `flame compare`: strategies × policies × dropout rates × seeds, in parallel, resumable. They ask
 * the same runs different questions.
 */

import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import { formatShare, formatTime } from "../../base/units.ts";
import { requireEngine } from "../../engine/create.ts";
import { strategies } from "../../fl/strategies/registry.ts";
import { outwait } from "../../folder/lock.ts";
import { compareMethods, type Mark } from "../../report/comparison.ts";
import { writeComparison } from "../../report/comparison-page.ts";
import { formatComparison } from "../../report/comparison-sheets.ts";
import { formatSweep, writeSweepReport } from "../../report/sweep.ts";
import { type Scenario, strategyOf } from "../../scenario/define.ts";
import { ownCodeDigest } from "../../scenario/own-code.ts";
import type { Cell, Target } from "../../study/cell.ts";
import { CellFolder, lockIn } from "../../study/cell-folder.ts";
import { timeOfCells } from "../../study/estimate.ts";
import { loadScenario } from "../../study/load-scenario.ts";
import { type CellPlan, cellPlans, type Matrix } from "../../study/matrix.ts";
import type { PlannedStudy, Variation } from "../../study/planned.ts";
import { cellsAtOnce, runCells } from "../../study/run-cells.ts";
import { cellOf, type StoredCell, storedCell, storedCellSchema } from "../../study/stored-cell.ts";
import { factsOf, type TaskFacts } from "../../tasks/facts.ts";
import { colors } from "../screen/colors.ts";
import { exitCodes } from "../screen/failure.ts";
import { onInterrupt } from "../screen/interrupt.ts";
import { ProgressLine } from "../screen/progress-line.ts";
import { terminal } from "../screen/terminal.ts";
import { type NatsFlags, natsOf } from "./nats-flags.ts";
import { quote, reproduce } from "./run.ts";

interface StudyFlags extends NatsFlags {
  readonly strategy: readonly string[];
  readonly policy: readonly string[];
  readonly dropout: readonly number[];
  readonly seeds?: readonly number[];
  readonly rounds?: number;
  readonly workers?: number;
  readonly engine: string;
  readonly timingOnly?: boolean;
  readonly calibration?: string;
  readonly target?: Target;
  readonly against?: string;
  readonly set: readonly string[];
  readonly smoke?: boolean;
  readonly out?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** What is made of the cells that are done. */
interface Study {
  readonly command: "stress" | "compare";
  /** Unless told. */
  readonly seeds: readonly number[];
  /** Found before anything runs. @throws ScenarioError */
  check(plans: readonly CellPlan[], flags: StudyFlags): void;
  /** Writes the report. */
  show(done: readonly DoneCell[], facts: Facts, flags: StudyFlags): Shown;
}

interface DoneCell {
  readonly plan: CellPlan;
  readonly stored: StoredCell;
}

interface Facts {
  readonly into: string;
  /** Whether or not they are done. */
  readonly plans: readonly CellPlan[];
  readonly name: string;
  readonly question: string | null;
  readonly reproduce: string;
}

interface Shown {
  /** For the terminal. */
  readonly text: string;
  /** Its path; of several, a line each. */
  readonly report: string;
}

export const stress = (name: string, flags: StudyFlags): Promise<void> =>
  study(name, flags, {
    command: "stress",
    seeds: [1, 2, 3],
    check() {},
    show(done, { into, plans, ...facts }, { target = null }) {
      const cells = done.map(({ plan, stored }) => cellOf(stored, plan, target));
      return {
        report: writeSweepReport(into, cells, { ...facts, target, task: taskOf(plans) }),
        text: formatSweep(cells, target, taskOf(plans)),
      };
    },
  });

export const compare = (name: string, flags: StudyFlags): Promise<void> =>
  study(name, flags, {
    command: "compare",
    seeds: [1, 2, 3, 4, 5],
    check: (plans, { against }) => void baseOf(plans, against),
    show(done, { into, plans, ...facts }, { target = null, against }) {
      const methods = methodsOf(plans);
      const strong = colors.isColorSupported ? colors.bold : (text: string) => `*${text}`;
      const conditions = [...new Set(done.map(({ plan }) => plan.condition))];
      const shown = conditions.map((condition): Shown => {
        const cells = done
          .filter(({ plan }) => plan.condition === condition)
          .map(({ plan, stored: { cell, curve } }) => ({ ...cell, strategy: methods(plan), curve }));
        const comparison = compareMethods(cells, {
          against: baseOf(plans, against),
          target,
          marks: marksOf(plans),
          task: taskOf(plans),
        });
        const text = formatComparison(comparison, strong);
        if (condition === null) return { report: writeComparison(into, comparison, facts), text };
        const folder = join(into, condition.replaceAll(/[^\w.]+/g, "-"));
        mkdirSync(folder, { recursive: true });
        const report = writeComparison(folder, comparison, { ...facts, name: `${facts.name}: ${condition}` });
        return { report, text: `${colors.bold(condition)}\n\n${text}` };
      });
      return { report: shown.map(({ report }) => report).join("\n"), text: shown.map(({ text }) => text).join("\n") };
    },
  });

/** A method is a strategy, under a policy and a rate where there are several. */
function methodsOf(plans: readonly CellPlan[]): (plan: CellPlan) => string {
  const inOne = plans.filter(({ condition }) => condition === plans[0]!.condition);
  const rates = new Set(inOne.map(({ dropout }) => dropout)).size;
  return ({ label, dropout }) => (rates > 1 ? `${label}, dropout ${formatShare(dropout, 2)}` : label);
}

/** What the task of a matrix calls things. */
const taskOf = ([first]: readonly CellPlan[]): TaskFacts => factsOf(first!.scenario.data.task.type);

/** Methods that are not as their source has them. */
function marksOf(plans: readonly CellPlan[]): Mark[] {
  const methods = methodsOf(plans);
  const marks = plans.map((plan): [string, string] => {
    const { about } = strategies.entries.get(strategyOf(plan.scenario).spec.type) ?? {};
    return [methods(plan), about?.certainty ?? "as published"];
  });
  return [...new Map(marks)]
    .filter(([, certainty]) => certainty !== "as published")
    .map(([method, certainty]) => ({ method, certainty }));
}

/** The method that others are held against: the first unless given. */
function baseOf(plans: readonly CellPlan[], against: string | undefined): string {
  const names = [...new Set(plans.map(methodsOf(plans)))];
  if (against === undefined) return names[0]!;
  if (names.includes(against)) return against;
  throw new ScenarioError(`--against is ${against}, expected one of the methods: ${names.join("; ")}`);
}

async function study(name: string, flags: StudyFlags, kind: Study): Promise<void> {
  if (flags.timingOnly !== true) requireEngine(flags.engine);
  const { scenarios, path, file, study: planned } = await loadScenario(name);
  const [scenario, ...others] = scenarios;
  if (scenario === undefined || others.length > 0) {
    const found = scenarios.map(({ data }) => data.name).join(", ");
    throw new ScenarioError(`${path} has ${scenarios.length} scenarios (${found}), expected one to vary`);
  }
  const matrix = matrixOf(flags, kind, kind.command === "compare" ? planned : null, scenario);
  const source = file === null ? null : ownCodeDigest(file);
  const plans = cellPlans(scenario, matrix, { engine: flags.engine, source });
  kind.check(plans, flags);
  const out = flags.out ?? join("runs", `${kind.command}-${scenario.data.name}${flags.smoke === true ? "-smoke" : ""}`);
  await outwait(lockIn(out), (text) => void terminal.err.write(`${text}\n`));
  const folder = new CellFolder(out, storedCellSchema);
  const abort = new AbortController();
  const listening = await onInterrupt((exitCode) => {
    process.exitCode = exitCode;
    abort.abort();
    if (flags.json !== true) terminal.err.write("ending the cells under way; Ctrl-C again stops at once\n");
  });
  listening.leave({ words: "ended at once; the same command goes on" });
  try {
    const missing = plans.filter(({ key }) => folder.get(key) === undefined);
    const kept = plans.filter(({ key }) => folder.get(key) !== undefined);
    const board = new Board(plans, kept, flags);
    const expected = await tellExpected(missing, flags);
    const begun = performance.now();
    try {
      await runCells({
        name: resolve(path),
        plans: missing,
        engine: flags.engine,
        signal: abort.signal,
        ...given({ workers: flags.workers, ...natsOf(flags) }),
        reproduce: (plan) => reproduce(path, { ...plan.changes, engine: flags.engine }),
        onProcess: listening.takeAlong,
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
    if (expected !== null && flags.json !== true && !abort.signal.aborted) {
      const took = `took ${roughly(performance.now() - begun)}, expected ${roughly(expected)}`;
      terminal.out.write(`${colors.dim(took)}\n`);
    }
    showOutcome(plans, folder, path, scenario.data, flags, kind);
  } finally {
    listening.deafen();
    folder.close();
  }
}

/** What the command line asks for, and where it is silent the file's own study. */
function matrixOf(flags: StudyFlags, kind: Study, planned: PlannedStudy | null, { data }: Scenario): Matrix {
  const { strategy, policy, dropout, seeds, rounds, timingOnly, calibration, set } = flags;
  if (flags.smoke === true && planned === null)
    throw new ScenarioError(`--smoke makes a study small that a scenario file brings along, and ${data.name} has none`);
  const smoke = flags.smoke === true ? planned!.smoke : null;
  const rates = (smoke?.dropouts ?? planned?.dropouts ?? []).map(
    (rate): Variation => ({
      name: `dropout ${formatShare(rate, 2)}`,
      set: data.fleet.map((_, tier) => `fleet[${tier}].dropout=${rate}`),
    }),
  );
  return {
    strategies: strategy.length > 0 ? strategy : (planned?.strategies ?? []),
    variants: planned?.variants ?? [],
    conditions: [...(planned?.conditions ?? []), ...rates],
    policies: policy,
    dropouts: dropout,
    seeds: seeds ?? smoke?.seeds ?? planned?.seeds ?? kind.seeds,
    set: [...(smoke?.set ?? []), ...set],
    ...given({ rounds: rounds ?? smoke?.rounds, timingOnly, calibration }),
  };
}

/** Says how long the cells will take. @returns milliseconds; null where nobody is told */
async function tellExpected(plans: readonly CellPlan[], flags: StudyFlags): Promise<number | null> {
  if (flags.quiet === true || plans.length === 0) return null;
  const { engine } = flags;
  const atOnce = cellsAtOnce({ plans, engine, ...given({ workers: flags.workers }) });
  // A process of cells loads what this one has loaded since its own start.
  const loading = atOnce > 1 ? performance.now() : 0;
  const cells = await timeOfCells(plans, { engine, atOnce });
  if (cells === null) return null;
  const expected = loading + cells;
  if (flags.json === true) {
    const told = { event: "expected", cells: plans.length, atOnce, milliseconds: Math.round(expected) };
    terminal.out.write(`${JSON.stringify(told)}\n`);
  } else {
    const many = atOnce === 1 ? "one cell" : `${atOnce} cells`;
    terminal.out.write(`about ${roughly(expected)} here, ${many} at a time: a step of each budget was timed\n`);
  }
  return expected;
}

/** Real time: nobody needs its fractions. */
const roughly = (time: number): string => formatTime(Math.max(1, Math.round(time / 1_000)) * 1_000);

function showOutcome(
  plans: readonly CellPlan[],
  folder: CellFolder<StoredCell>,
  path: string,
  { name, question = null }: { readonly name: string; readonly question?: string | undefined | null },
  flags: StudyFlags,
  kind: Study,
): void {
  const done = plans.flatMap((plan): DoneCell[] => {
    const stored = folder.get(plan.key);
    return stored === undefined ? [] : [{ plan, stored }];
  });
  const broken = done.filter(({ stored: { cell } }) => cell.violations.length > 0);
  const command = commandLine(path, flags, kind);
  const isComplete = done.length === plans.length;
  const facts = { into: folder.path, plans, name: `${kind.command} ${name}`, question, reproduce: command };
  const shown = done.length === 0 ? null : kind.show(done, facts, flags);
  if (flags.json === true) {
    const ended = { event: "ended", folder: folder.path, cells: done.length, of: plans.length, broken: broken.length };
    terminal.out.write(`${JSON.stringify(ended)}\n`);
  } else {
    if (shown !== null) terminal.out.write(`\n${shown.text}\n`);
    for (const { plan, stored } of broken) {
      const where = `${plan.label}, dropout ${plan.dropout}, seed ${plan.seed}`;
      terminal.out.write(`${colors.red("broken")} ${where}: ${stored.cell.violations.join("; ")}\n`);
    }
    if (shown !== null) terminal.out.write(`${colors.dim(shown.report)}\n`);
    if (!isComplete) {
      terminal.out.write(
        `${done.length} of ${plans.length} cells are done; go on with the same command:\n  ${command}\n`,
      );
    }
  }
  // The signal has set it otherwise.
  if (isComplete) process.exitCode = broken.length > 0 ? exitCodes.failed : exitCodes.ok;
}

/** What the terminal shows while cells run. */
class Board {
  readonly #flags: StudyFlags;
  readonly #line: ProgressLine | null;
  /** Of the cells under way. */
  readonly #rounds = new Map<string, number>();
  readonly #trains: boolean;
  readonly #titleOf: (plan: CellPlan) => string;
  /** Cells, or where they train the rounds of cells: those take long enough to be waited for. */
  #done: number;

  constructor(plans: readonly CellPlan[], kept: readonly CellPlan[], flags: StudyFlags) {
    this.#flags = flags;
    const methods = methodsOf(plans);
    this.#titleOf = (plan) => `${methods(plan)}, seed ${plan.seed}`;
    this.#trains = plans.some(({ scenario }) => !scenario.data.timingOnly);
    const amount = (of: readonly CellPlan[]): number => of.reduce((sum, plan) => sum + this.#worthOf(plan), 0);
    this.#done = amount(kept);
    const isShown = flags.json !== true && flags.quiet !== true;
    if (isShown) {
      const known = kept.length === 0 ? "" : `, ${kept.length} of them done before`;
      terminal.out.write(`${plans.length} cells${known}\n`);
    }
    const unit = this.#trains ? "round" : "cell";
    this.#line = isShown && kept.length < plans.length ? new ProgressLine(unit, amount(plans), this.#done) : null;
  }

  round(plan: CellPlan, round: number): void {
    this.#rounds.set(this.#titleOf(plan), round);
    this.#show();
  }

  cell(plan: CellPlan, cell: Cell): void {
    this.#done += this.#worthOf(plan);
    this.#rounds.delete(this.#titleOf(plan));
    if (this.#flags.json === true) terminal.out.write(`${JSON.stringify({ event: "cell", ...cell })}\n`);
    if (this.#trains) {
      const { symbol } = taskOf([plan]).budget;
      const losses = cell.evaluations
        .map(({ budget, loss }) => `${symbol}=${budget} ${Number(loss).toFixed(3)}`)
        .join("  ");
      this.#line?.note(`${this.#titleOf(plan)}: ${losses}`);
    }
    this.#show();
  }

  close(): void {
    this.#line?.close();
  }

  #worthOf({ scenario }: CellPlan): number {
    return this.#trains ? scenario.data.rounds.count : 1;
  }

  #show(): void {
    const rounds = this.#trains ? [...this.#rounds.values()].reduce((sum, round) => sum + round, 0) : 0;
    const running = [...this.#rounds].map(([title, round]) => `${title}, round ${round}`).join(" | ");
    this.#line?.update(this.#done + rounds, running);
  }
}

/** The command that runs this matrix, for the report and for going on. */
function commandLine(path: string, flags: StudyFlags, { command }: Study): string {
  const {
    strategy,
    policy,
    dropout,
    smoke,
    seeds,
    rounds,
    timingOnly,
    calibration,
    target,
    against,
    set,
    out,
    engine,
  } = flags;
  const words = [`npx flame ${command}`, quote(path)];
  if (strategy.length > 0) words.push(`--strategies ${quote(strategy.join(","))}`);
  if (policy.length > 0) words.push(`--policy ${policy.join(",")}`);
  if (dropout.length > 0) words.push(`--dropout ${dropout.join(",")}`);
  if (smoke === true) words.push("--smoke");
  if (seeds !== undefined) {
    const isRange = seeds.every((seed, at) => seed === at + 1) && seeds.length > 1;
    words.push(`--seeds ${isRange ? seeds.length : `${seeds.join(",")}${seeds.length === 1 ? "," : ""}`}`);
  }
  if (rounds !== undefined) words.push(`--rounds ${rounds}`);
  if (timingOnly === true) words.push("--timing-only");
  if (calibration !== undefined) words.push(`--calibration ${quote(calibration)}`);
  if (engine !== "auto") words.push(`--engine ${engine}`);
  if (target !== undefined) words.push(`--target ${target.budget ?? "mean"}:${target.loss}`);
  if (against !== undefined) words.push(`--against ${quote(against)}`);
  for (const change of set) words.push(`--set ${quote(change)}`);
  if (out !== undefined) words.push(`--out ${quote(out)}`);
  return words.join(" ");
}
