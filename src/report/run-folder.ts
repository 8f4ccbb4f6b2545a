/**
 * Reads what a run left behind. Rows are checked on the way in, so that a damaged file is reported with its name and
 * line, and nothing further up has to wonder. Unknown fields pass: a newer run folder stays readable.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { InputError } from "../base/errors.ts";
import { parseAs, parseJson } from "../base/json.ts";
import { parseInput } from "../base/problem.ts";
import { linesOf, readInput } from "../base/text.ts";
import { defaultCommand, largestScenario } from "../folder/run-folder.ts";
import { count } from "../records/counts.ts";
import { type RoundMetrics, roundMetricsSchema } from "../records/metrics.ts";
import { type ParticipationRow, participationSchema } from "../records/participation.ts";
import { factsOf, type TaskFacts, taskTypes } from "../tasks/facts.ts";
import { type PictureSheet, picturesSchema } from "../tasks/pictures.ts";

/** A claim of the scenario and whether the run bore it out. */
export interface JudgedExpectation {
  readonly name: string;
  readonly held: boolean;
  /** What was measured, in a sentence. */
  readonly detail: string;
}

export interface TierFacts {
  readonly name: string;
  readonly clients: number;
  /** Null where the budget is a law or follows from the device. */
  readonly budget: number | null;
}

/** A run as the report needs it. */
export interface RunRecord {
  readonly name: string;
  readonly question: string | null;
  readonly seed: number;
  /** What its task calls things. */
  readonly task: TaskFacts;
  /** `flame(frequencyExponent=2)` */
  readonly strategy: string;
  readonly tiers: readonly TierFacts[];
  /** In the fleet. */
  readonly clients: number;
  /** The resolved scenario, as it stands in the file. */
  readonly scenario: Readonly<Record<string, unknown>>;
  readonly rounds: readonly RoundMetrics[];
  /** Null for a run that has not finished. */
  readonly digest: string | null;
  /** Held-out examples of every evaluation; null without training, and in runs of earlier versions. */
  readonly heldOut: number | null;
  readonly expectations: readonly JudgedExpectation[];
  readonly pictures: readonly PictureSheet[];
  /** What had changed when the run was continued all the same. */
  readonly continuedDespite: readonly string[];
  /** A command to be typed in the run's folder: where the run was begun differs between runs that are the same. */
  readonly reproduce: string;
}

const scenarioSchema = z.looseObject({
  name: z.string(),
  question: z.string().optional(),
  seed: z.number(),
  task: z.looseObject({ type: z.enum(taskTypes) }).default({ type: "llm" }),
  strategy: z.looseObject({ type: z.string() }),
  /** Parts that were code and are not told by their fields. */
  own: z.array(z.string()).default([]),
  /** A budget may also be a law or follow from the device; only a plain number is one for the whole tier. */
  fleet: z.array(
    z.looseObject({ name: z.string(), clients: count, budget: count.nullable().catch(null).default(null) }),
  ),
});

const resultSchema = z.looseObject({
  digest: z.string(),
  heldOut: count.nullable().default(null),
  expectations: z.array(z.object({ name: z.string(), held: z.boolean(), detail: z.string() })),
  continuedDespite: z.array(z.string()).default([]),
  made: z
    .looseObject({
      engine: z
        .string()
        .regex(/^[\w-]+$/)
        .nullable(),
      merge: z.string().nullable(),
    })
    .optional(),
});

/**
 * Reads `scenario.json`, `metrics.jsonl` and, where they are, `result.json` and `pictures.json`.
 *
 * @param keep what of a row is wanted: of a long run all of it is much
 * @throws InputError naming the file and the line
 */
export function readRun(folder: string, keep = (row: RoundMetrics): RoundMetrics => row): RunRecord {
  const scenario = readFile(folder, "scenario.json");
  const {
    name,
    question = null,
    seed,
    task,
    strategy,
    own,
    fleet,
  } = parseInput("scenario.json", scenarioSchema, scenario);
  const result = existsSync(join(folder, "result.json"))
    ? parseInput("result.json", resultSchema, readFile(folder, "result.json"))
    : null;
  const rounds: RoundMetrics[] = [];
  for (const { value, line } of readRows(folder, "metrics.jsonl", roundMetricsSchema)) {
    const before = rounds.at(-1);
    if (before !== undefined && value.round <= before.round) {
      throw new InputError(`metrics.jsonl line ${line}: round ${value.round} follows round ${before.round}`);
    }
    rounds.push(keep(value));
  }
  if (rounds.length === 0) throw new InputError("metrics.jsonl has no rows: the run ended before its first round");
  return {
    name,
    question,
    seed,
    task: factsOf(task.type),
    strategy: own.includes("strategy") ? "own strategy" : describe(strategy),
    tiers: fleet.map(({ name, clients, budget }) => ({ name, clients, budget })),
    clients: fleet.reduce((sum, { clients }) => sum + clients, 0),
    scenario: scenario as RunRecord["scenario"],
    rounds,
    digest: result?.digest ?? null,
    heldOut: result?.heldOut ?? null,
    expectations: result?.expectations ?? [],
    pictures: existsSync(join(folder, "pictures.json"))
      ? parseInput("pictures.json", picturesSchema, readFile(folder, "pictures.json"))
      : [],
    continuedDespite: result?.continuedDespite ?? [],
    reproduce: own.length === 0 ? commandOf(result?.made) : "npx flame verify --rerun .",
  };
}

/** What reaches the last digits and is in no scenario: what trained, and how many clients shared a call. */
function commandOf(made: z.output<typeof resultSchema>["made"]): string {
  const [, clients] = /^(\d+) clients a call$/.exec(made?.merge ?? "") ?? [];
  return [
    defaultCommand,
    ...(made?.engine == null ? [] : [`--engine ${made.engine}`]),
    ...(clients === undefined ? [] : [`--merge ${clients}`]),
  ].join(" ");
}

/** Rows of `participations.jsonl` in file order, one at a time: large fleets leave more than fits in a string. */
export function* readParticipations(folder: string): Generator<ParticipationRow> {
  for (const { value } of readRows(folder, "participations.jsonl", participationSchema)) yield value;
}

export const hasParticipations = (folder: string): boolean => existsSync(join(folder, "participations.jsonl"));

/** With those of its options that are plain. */
function describe({ type, ...rest }: { readonly type: string }): string {
  const options = Object.entries(rest).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value));
  return options.length === 0 ? type : `${type}(${options.map(([key, value]) => `${key}=${value}`).join(", ")})`;
}

const readFile = (folder: string, file: string): unknown =>
  parseJson(readInput(pathIn(folder, file), largestScenario, "refused"), file);

function* readRows<T>(folder: string, file: string, schema: z.ZodType<T>): Generator<{ value: T; line: number }> {
  let line = 0;
  for (const text of linesOf(pathIn(folder, file), "refused")) {
    line++;
    if (text.trim() !== "") yield { value: parseAs(schema, text, `${file} line ${line}`), line };
  }
}

/** The path of a file that a run has to have left. */
function pathIn(folder: string, file: string): string {
  const path = join(folder, file);
  if (!existsSync(path)) throw new InputError(`run folder ${folder} has no ${file}`);
  return path;
}
