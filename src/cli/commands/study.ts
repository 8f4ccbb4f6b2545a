/**
 * `flame stress`, `flame compare` and `flame sweep`: one matrix of runs, with other defaults. In parallel, resumable.
 */
import { isAbsolute, join, relative } from "node:path";
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import { formatTime } from "../../base/units.ts";
import { requireEngine } from "../../engine/create.ts";
import { stampedFolder } from "../../folder/run-folder.ts";
import { writeReport } from "../../report/report.ts";
import { type Comparison, comparisonOf } from "../../report/study/comparison.ts";
import { writeStudyReport } from "../../report/study/page.ts";
import { checkPlots } from "../../report/study/plots.ts";
import { formatComparison } from "../../report/study/sheets.ts";
import { writeTimeline } from "../../report/timeline.ts";
import { ownCodeDigest } from "../../scenario/own-code.ts";
import { failureOf, type Target } from "../../study/cell.ts";
import { timeOfCells } from "../../study/estimate.ts";
import { loadScenario } from "../../study/load-scenario.ts";
import { type CellPlan, planMatrix, titleOf } from "../../study/matrix/plan.ts";
import { type Axes, matrixOf, type PlannedStudy, type Sample } from "../../study/matrix/planned.ts";
import { cellsAtOnce } from "../../study/run-cells.ts";
import { OpenStudy, type StudyRecord } from "../../study/study.ts";
import { colors } from "../screen/colors.ts";
import { exitCodes } from "../screen/failure.ts";
import { onInterrupt } from "../screen/interrupt.ts";
import { StudyBoard } from "../screen/study-board.ts";
import { terminal, wrapped } from "../screen/terminal.ts";
import { type NatsFlags, natsOf } from "./nats-flags.ts";
import { quote, reproduce } from "./run.ts";

interface StudyFlags extends NatsFlags {
  readonly strategy: readonly string[];
  readonly policy: readonly string[];
  readonly sampler: readonly string[];
  readonly dropout: readonly number[];
  readonly attackers: readonly string[];
  readonly vary: Readonly<Record<string, readonly unknown[]>>;
  readonly sample?: Sample;
  readonly seeds?: readonly number[];
  readonly rounds?: number;
  readonly workers?: number;
  readonly engine: string;
  readonly base?: string;
  readonly timingOnly?: boolean;
  readonly calibration?: string;
  readonly target?: Target;
  readonly against?: string;
  readonly plot: readonly string[];
  readonly keepRuns?: boolean;
  readonly stopHopeless?: boolean;
  readonly set: readonly string[];
  readonly smoke?: boolean;
  readonly out?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** What a command asks where neither the command line nor the scenario's file says it. */
interface Defaults {
  readonly command: "stress" | "compare" | "sweep";
  readonly seeds: readonly number[];
  readonly dropouts: readonly number[];
}

export const stress = (name: string, flags: StudyFlags): Promise<void> =>
  runStudy(name, flags, { command: "stress", seeds: [1, 2, 3], dropouts: [0, 0.2, 0.4, 0.6] });

export const compare = (name: string, flags: StudyFlags): Promise<void> =>
  runStudy(name, flags, { command: "compare", seeds: [1, 2, 3, 4, 5], dropouts: [] });

export const sweep = (name: string, flags: StudyFlags): Promise<void> =>
  runStudy(name, flags, { command: "sweep", seeds: [1, 2, 3], dropouts: [] });

async function runStudy(name: string, flags: StudyFlags, defaults: Defaults): Promise<void> {
  if (flags.timingOnly !== true) requireEngine(flags.engine);
  const { scenarios, path, file, study: planned } = await loadScenario(name);
  const [{ data }] = scenarios as [(typeof scenarios)[number]];
  const axes = axesOf(flags, defaults, planned, path);
  if (defaults.command === "sweep" && Object.keys(axes.vary ?? {}).length === 0) {
    throw new ScenarioError("a sweep varies a field: --vary data.partition.alpha=0.1,1");
  }
  const source = file === null ? null : ownCodeDigest(file);
  const stopHopeless = flags.stopHopeless === true;
  const { engine, mixedHardware = false } = flags;
  const plan = planMatrix(scenarios, matrixOf(axes), { engine, source, stopHopeless, mixedHardware });
  const against = baseOf(plan.cells, flags.against);
  await checkPlots(flags.plot, plan.cells, { engine, target: flags.target ?? null });
  const out = flags.out ?? stampedFolder(`${defaults.command}-${data.name}${flags.smoke ? "-smoke" : ""}`, new Date());
  const { workers, keepRuns } = flags;
  const opened = await OpenStudy.open(out, scenarios, plan, {
    engine,
    stopHopeless,
    ...given({ workers, keepRuns, ...natsOf(flags) }),
    note: (text) => void terminal.err.write(`${text}\n`),
  });
  const abort = new AbortController();
  // A second one waits for nothing; every finished cell is on disk.
  const listening = await onInterrupt((exitCode) => {
    process.exitCode = exitCode;
    abort.abort();
    if (flags.json !== true) terminal.err.write("ending the cells under way; Ctrl-C again stops at once\n");
  });
  const again = commandLine(path, { ...flags, out }, defaults);
  listening.leave({ words: `ended at once; this goes on: ${again}` });
  try {
    const { missing } = opened;
    const board = new StudyBoard(plan.cells, missing, flags);
    for (const note of plan.notes) board.note(note);
    const expected = await tellExpected(missing, flags);
    const begun = performance.now();
    try {
      await opened.run({
        file,
        signal: abort.signal,
        reproduce: (cell) => reproduce(path, { ...cell.changes, engine }),
        onProcess: listening.takeAlong,
        onRound: (cell, round) => board.round(cell, round),
        onCell(cell) {
          board.cell(cell);
          if (cell.run === null || cell.result!.digest === null) return;
          writeTimeline(cell.run);
          writeReport(cell.run);
        },
      });
    } finally {
      board.close();
    }
    if (expected !== null && flags.json !== true && !abort.signal.aborted) {
      const took = `took ${roughly(performance.now() - begun)}, expected ${roughly(expected)}`;
      terminal.out.write(`${colors.dim(took)}\n`);
    }
    showOutcome(opened.record, { path, against, out }, flags, defaults);
  } finally {
    listening.deafen();
    opened.close();
  }
}

/** What the command line asks for, where it is silent the file's own study, and then what the command is for. */
function axesOf(flags: StudyFlags, defaults: Defaults, planned: PlannedStudy | null, path: string): Axes {
  const { strategy, policy, sampler, dropout, attackers, vary, sample, seeds, rounds, timingOnly, calibration } = flags;
  const smoke = flags.smoke === true ? planned?.smoke : null;
  if (smoke === undefined)
    throw new ScenarioError(`--smoke makes a study small that a scenario file brings along, and ${path} has none`);
  const either = <Item>(said: readonly Item[], other: readonly Item[] | undefined): Item[] => [
    ...(said.length > 0 ? said : (other ?? [])),
  ];
  return {
    strategies: either(strategy, planned?.strategies),
    policies: either(policy, planned?.policies),
    samplers: either(sampler, planned?.samplers),
    attackers: either(attackers, planned?.attackers),
    dropouts: either(dropout, smoke?.dropouts ?? planned?.dropouts ?? defaults.dropouts),
    vary: Object.keys(vary).length > 0 ? copied(vary) : (planned?.vary ?? {}),
    sample: sample ?? planned?.sample ?? null,
    variants: planned?.variants ?? [],
    conditions: planned?.conditions ?? [],
    seeds: [...(seeds ?? smoke?.seeds ?? planned?.seeds ?? defaults.seeds)],
    set: [...(smoke?.set ?? []), ...(flags.base === undefined ? [] : [`base=${flags.base}`]), ...flags.set],
    ...given({ rounds: rounds ?? smoke?.rounds, timingOnly, calibration }),
  };
}

const copied = (vary: StudyFlags["vary"]): Record<string, unknown[]> =>
  Object.fromEntries(Object.entries(vary).map(([path, values]) => [path, [...values]]));

/** The method that others are held against: the first unless given. */
function baseOf(plans: readonly CellPlan[], against: string | undefined): string {
  const names = [...new Set(plans.map(({ method }) => method))];
  if (against === undefined) return names[0]!;
  if (names.includes(against)) return against;
  throw new ScenarioError(`--against is ${against}, expected one of the methods: ${names.join("; ")}`);
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

interface Outcome {
  /** Of the scenario, as the user would type it again. */
  readonly path: string;
  readonly against: string;
  /** The folder, likewise. */
  readonly out: string;
}

function showOutcome(
  record: StudyRecord,
  { path, against, out }: Outcome,
  flags: StudyFlags,
  defaults: Defaults,
): void {
  const done = record.cells.filter(({ result }) => result !== null);
  const broken = done.filter(({ result }) => result!.cell.violations.length > 0);
  const failed = done.filter(({ result }) => failureOf(result!.cell) !== null);
  const isComplete = done.length === record.cells.length;
  const again = commandLine(path, flags, defaults);
  let report: string | null = null;
  let text = "";
  if (done.length > 0) {
    const comparison = compared(record, { against, target: flags.target ?? null, pairs: flags.plot });
    report = writeStudyReport(comparison, { title: `${defaults.command} ${record.name}`, reproduce: again });
    text = formatComparison(comparison, colors.isColorSupported ? colors.bold : (found) => `*${found}`);
  }
  if (flags.json === true) {
    const counts = { cells: done.length, of: record.cells.length, failed: failed.length, broken: broken.length };
    terminal.out.write(`${JSON.stringify({ event: "ended", folder: record.folder, ...counts })}\n`);
  } else {
    if (report !== null)
      terminal.out.write(
        `\n${text
          .split("\n")
          .map((line) => wrapped(line))
          .join("\n")}\n`,
      );
    for (const cell of broken) {
      terminal.out.write(`${colors.red("broken")} ${titleOf(cell)}: ${cell.result!.cell.violations.join("; ")}\n`);
    }
    if (report !== null) terminal.out.write(`${colors.dim(near(report))}\n`);
    if (!isComplete) {
      terminal.out.write(
        `${done.length} of ${record.cells.length} cells are done; this goes on:\n  ${commandLine(path, { ...flags, out }, defaults)}\n`,
      );
    }
  }
  // The signal has set it otherwise.
  if (isComplete) process.exitCode = broken.length > 0 ? exitCodes.failed : exitCodes.ok;
}

/** What there is to plot only the cells tell: a mistake in that must not lose sight of them. */
function compared(record: StudyRecord, question: Parameters<typeof comparisonOf>[1]): Comparison {
  try {
    return comparisonOf(record, question);
  } catch (error) {
    terminal.err.write(`the cells that are done are kept: --out ${quote(near(record.folder))} goes on with them\n`);
    throw error;
  }
}

/** Relative where that is inside the working folder. */
function near(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") || isAbsolute(short) ? path : join(short);
}

/** The command that runs this matrix, for the report and for going on. */
function commandLine(path: string, flags: StudyFlags, { command }: Defaults): string {
  const words = [`npx flame ${command}`, quote(path)];
  const add = (name: string, value: string | number | undefined): void => {
    if (value !== undefined && value !== "") words.push(`--${name} ${quote(String(value))}`);
  };
  const { seeds, target, sample } = flags;
  const isRange = seeds?.every((seed, at) => seed === at + 1) === true && seeds.length > 1;
  add("strategies", flags.strategy.join(","));
  add("policy", flags.policy.join(","));
  add("sampler", flags.sampler.join(","));
  add("dropout", flags.dropout.join(","));
  add("attackers", flags.attackers.join(","));
  for (const [field, values] of Object.entries(flags.vary)) {
    add(
      "vary",
      `${field}=${values.map((value) => (typeof value === "string" ? value : JSON.stringify(value))).join(",")}`,
    );
  }
  add("sample", sample === undefined ? "" : `${sample.by === "latin" ? "latin:" : ""}${sample.count}`);
  if (flags.smoke === true) words.push("--smoke");
  if (seeds !== undefined) add("seeds", isRange ? seeds.length : `${seeds.join(",")}${seeds.length === 1 ? "," : ""}`);
  add("rounds", flags.rounds);
  if (flags.timingOnly === true) words.push("--timing-only");
  add("calibration", flags.calibration);
  add("base", flags.base);
  add("engine", flags.engine === "auto" ? "" : flags.engine);
  add("target", target === undefined ? "" : `${target.budget ?? "mean"}:${target.loss}`);
  add("against", flags.against);
  for (const pair of flags.plot) add("plot", pair);
  if (flags.stopHopeless === true) words.push("--stop-hopeless");
  if (flags.mixedHardware === true) {
    add("nats", flags.nats);
    words.push("--mixed-hardware");
  }
  if (flags.keepRuns === true) words.push("--keep-runs");
  for (const change of flags.set) add("set", change);
  add("out", flags.out);
  return words.join(" ");
}
