/**
 * A study: a matrix of runs in a folder, where each cell is kept as it ends.
 *
 *   study.json    what is varied, and where each cell stands     cells.jsonl    the cells that are done
 *   runs/<key>/   the runs themselves, if they are kept
 *
 * The same axes in the same folder go on where they were interrupted; more seeds or levels add to what is there.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import * as z from "zod";
import { onDisk, writeAtomically } from "../base/disk.ts";
import { InputError, ScenarioError } from "../base/errors.ts";
import { given } from "../base/given.ts";
import { readJsonAs } from "../base/json.ts";
import { outwait } from "../folder/lock.ts";
import { stampedFolder } from "../folder/run-folder.ts";
import { refuseOthers } from "../run/options.ts";
import type { NatsAddress } from "../runtime/pools/nats-address.ts";
import { changesSchema } from "../scenario/configure.ts";
import { type Scenario, strategyOf } from "../scenario/define.ts";
import { ownCodeDigest } from "../scenario/own-code.ts";
import { taskTypes } from "../tasks/facts.ts";
import { type StoredCell, storedCellSchema } from "./cell.ts";
import { CellFolder, lockIn, readCells } from "./cell-folder.ts";
import { loadScenario } from "./load-scenario.ts";
import { type CellPlan, type MatrixPlan, planMatrix } from "./matrix/plan.ts";
import { type Axes, matrixOf } from "./matrix/planned.ts";
import { runCells } from "./run-cells.ts";

const coordinateSchema = z.object({ label: z.string(), value: z.number().nullable() });

/** @internal `study.json`. */
export const recordSchema = z.object({
  /** Of the scenario, or of the file with several. */
  name: z.string(),
  question: z.string().nullable(),
  task: z.enum(taskTypes),
  axes: z
    .array(
      z.object({
        id: z.string(),
        title: z.string(),
        role: z.enum(["method", "condition"]),
        levels: z.array(coordinateSchema).readonly(),
      }),
    )
    .readonly(),
  notes: z.array(z.string()).readonly(),
  cells: z.array(
    z.object({
      key: z.string(),
      method: z.string(),
      condition: z.string().nullable(),
      /** The type of its strategy. */
      strategy: z.string(),
      at: z.record(z.string(), coordinateSchema),
      seed: z.int(),
      changes: changesSchema,
    }),
  ),
});
type Planned = z.output<typeof recordSchema>;

/** A planned cell and, once it is done, what it came to. */
export interface StudyCell extends Readonly<Planned["cells"][number]> {
  /** The folder of the run, where that was kept. */
  readonly run: string | null;
  readonly result: StoredCell | null;
}

export interface StudyRecord extends Readonly<Omit<Planned, "cells">> {
  readonly folder: string;
  readonly cells: readonly StudyCell[];
}

export interface StudyOptions {
  /** Where it is kept; cells found there are not run again. `runs/study-<name>-<time>` unless given. */
  readonly out?: string;
  /** Cells at a time; one per core unless given. No result depends on it. */
  readonly workers?: number;
  /** What trains: `auto`, `onnx`, … */
  readonly engine?: string;
  /** A server by which every cell finds workers elsewhere. */
  readonly nats?: NatsAddress;
  /** Takes workers elsewhere with any kind of processor; the last digits may then differ each time, and are not mixed with others. */
  readonly mixedHardware?: boolean;
  /** Keeps the folder of every run, in the place of its curves alone. */
  readonly keepRuns?: boolean;
  /**
   * Ends a run whose held-out loss, in the mean over budgets, is no finite number, or above the base model's twice in a row;
   * it counts as failed.
   */
  readonly stopHopeless?: boolean;
  /** Gives up the cells under way; those that are done stay. */
  readonly signal?: AbortSignal;
  readonly onCell?: (cell: StudyCell) => void;
}

const optionNames: Readonly<Record<keyof StudyOptions, true>> = {
  out: true,
  workers: true,
  engine: true,
  nats: true,
  mixedHardware: true,
  keepRuns: true,
  stopHopeless: true,
  signal: true,
  onCell: true,
};

/**
 * Runs a scenario at every place between the axes, with every seed.
 *
 *   const { cells } = await study("own.ts", { strategies: ["mine", "flame"], dropouts: [0, 0.3], seeds: [1, 2, 3] });
 *
 * @param scenario an object, or a file or name as `flame run` takes it; code that is in no file is run by this process
 * @throws ScenarioError for an option that is none, or a mistake in any cell, before anything runs
 */
export async function study(
  scenario: Scenario | string,
  axes: Axes = {},
  options: StudyOptions = {},
): Promise<StudyRecord> {
  refuseOthers("study", options, optionNames);
  const { scenarios, file } =
    typeof scenario === "string" ? await loadScenario(scenario) : { scenarios: [scenario], file: null };
  const { engine = "auto", stopHopeless = false, mixedHardware = false, out, signal, onCell } = options;
  const plan = planMatrix(scenarios, matrixOf(axes), {
    engine,
    stopHopeless,
    mixedHardware,
    source: file === null ? null : ownCodeDigest(file),
  });
  const folder = out ?? stampedFolder(`study-${scenarios[0]!.data.name}`, new Date());
  const opened = await OpenStudy.open(folder, scenarios, plan, options);
  try {
    await opened.run({ file, ...given({ signal, onCell }) });
    return opened.record;
  } finally {
    opened.close();
  }
}

/** A study as its folder has it, also while it runs. @throws InputError for a folder that is none, or damaged */
export function readStudy(folder: string): StudyRecord {
  const path = join(folder, "study.json");
  if (!existsSync(path)) throw new InputError(`${folder} is not the folder of a study: it has no study.json`);
  const planned = readJsonAs(recordSchema, path);
  const done = readCells(folder, storedCellSchema);
  return recordOf(resolve(folder), planned, (key) => done.get(key) ?? null);
}

const runIn = (folder: string, key: string): string => join(folder, "runs", key);

const recordOf = (folder: string, planned: Planned, resultOf: (key: string) => StoredCell | null): StudyRecord => ({
  ...planned,
  folder,
  cells: planned.cells.map((cell) => withResult(folder, cell, resultOf(cell.key))),
});

function withResult(folder: string, cell: Planned["cells"][number], result: StoredCell | null): StudyCell {
  const run = runIn(folder, cell.key);
  return { ...cell, run: result !== null && existsSync(run) ? run : null, result };
}

export interface CellHooks extends Pick<StudyOptions, "signal" | "onCell"> {
  /** Where the scenarios came from. */
  readonly file: string | null;
  /** The command line of a cell. */
  reproduce?(plan: CellPlan): string;
  /** A process that runs cells has been started. */
  onProcess?(id: number): void;
  onRound?(plan: CellPlan, round: number): void;
}

/** A study whose folder is this process' own until it is closed. */
export class OpenStudy {
  readonly #folder: CellFolder<StoredCell>;
  readonly #planned: Planned;
  readonly #plan: MatrixPlan;
  readonly #options: StudyOptions;

  private constructor(folder: CellFolder<StoredCell>, planned: Planned, plan: MatrixPlan, options: StudyOptions) {
    this.#folder = folder;
    this.#planned = planned;
    this.#plan = plan;
    this.#options = options;
  }

  /** @throws ScenarioError where the folder holds a study of something else; MachineError when another process writes there */
  static async open(
    out: string,
    scenarios: readonly Scenario[],
    plan: MatrixPlan,
    options: StudyOptions & { readonly note?: (text: string) => void },
  ): Promise<OpenStudy> {
    const { data } = scenarios[0]!;
    const path = join(out, "study.json");
    const name = scenarios.map((scenario) => scenario.data.name).join(", ");
    const other = existsSync(path) ? readJsonAs(recordSchema, path).name : name;
    if (other !== name) throw new ScenarioError(`${out} holds a study of ${other}, expected one of ${name}`);
    await outwait(lockIn(out), options.note ?? (() => {}));
    const folder = new CellFolder(out, storedCellSchema);
    const planned: Planned = {
      name,
      question: data.question ?? null,
      task: data.task.type,
      axes: plan.axes.map((axis) => ({ ...axis })),
      notes: plan.notes,
      cells: plan.cells.map(({ name: _, scenario, ...cell }) => ({
        ...cell,
        strategy: strategyOf(scenario).spec.type,
      })),
    };
    writeAtomically(path, `${JSON.stringify(planned, null, 1)}\n`);
    if (options.keepRuns === true)
      onDisk(`cannot write to ${out}`, () => mkdirSync(join(out, "runs"), { recursive: true }));
    return new OpenStudy(folder, planned, plan, options);
  }

  get path(): string {
    return this.#folder.path;
  }

  /** Cells that are yet to be run. */
  get missing(): readonly CellPlan[] {
    return this.#plan.cells.filter(({ key }) => !this.#isDone(key));
  }

  get record(): StudyRecord {
    return recordOf(resolve(this.path), this.#planned, (key) => this.#folder.get(key) ?? null);
  }

  async run({
    file,
    signal = new AbortController().signal,
    onCell,
    onRound,
    onProcess,
    reproduce,
  }: CellHooks): Promise<void> {
    const { workers, nats, mixedHardware, engine = "auto", keepRuns = false, stopHopeless = false } = this.#options;
    await runCells({
      file,
      plans: this.missing,
      engine,
      signal,
      stopHopeless,
      ...given({ workers, nats, mixedHardware, onProcess }),
      folderOf: ({ key }) => (keepRuns ? runIn(this.path, key) : null),
      reproduce: (plan) => reproduce?.(plan) ?? JSON.stringify(plan.changes),
      onRound: (plan, round) => onRound?.(plan, round),
      onCell: ({ key }, cell) => {
        this.#folder.add(key, cell);
        const planned = this.#planned.cells.find((one) => one.key === key)!;
        onCell?.(withResult(resolve(this.path), planned, cell));
      },
    });
  }

  close(): void {
    this.#folder.close();
  }

  /** A run that is to be kept and was not is run again. */
  #isDone(key: string): boolean {
    if (this.#folder.get(key) === undefined) return false;
    return this.#options.keepRuns !== true || existsSync(join(runIn(this.path, key), "scenario.json"));
  }
}
