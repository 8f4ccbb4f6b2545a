/**
 * Reads what a run left behind. Rows are checked on the way in, so that a damaged file is reported with its name and
 * line, and nothing further up has to wonder. Unknown fields pass: a newer run folder stays readable.
 */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { z } from "zod";
import { InputError, messageOf } from "../base/errors.ts";
import { parseInput } from "../base/problem.ts";
import { linesOf, readText } from "../base/text.ts";
import { defaultCommand, largestScenario } from "../folder/run-folder.ts";
import { count } from "../records/counts.ts";
import { type RoundMetrics, roundMetricsSchema } from "../records/metrics.ts";
import { type ParticipationRow, participationSchema } from "../records/participation.ts";

/** A claim of the scenario and whether the run bore it out. */
export interface Expectation {
  readonly name: string;
  readonly held: boolean;
  /** What was measured, in a sentence. */
  readonly detail: string;
}

export interface TierFacts {
  readonly name: string;
  readonly clients: number | null;
  readonly topK: number | null;
}

/** A run as the report needs it. */
export interface RunRecord {
  readonly name: string;
  readonly question: string | null;
  readonly seed: number | null;
  readonly strategy: string | null;
  readonly tiers: readonly TierFacts[];
  /** Clients in the fleet; null when the scenario does not say. */
  readonly clients: number | null;
  /** The resolved scenario, as it stands in the file. */
  readonly scenario: Readonly<Record<string, unknown>>;
  readonly rounds: readonly RoundMetrics[];
  readonly digest: string | null;
  readonly expectations: readonly Expectation[];
  /** What had changed when the run was continued all the same. */
  readonly continuedDespite: readonly string[];
  /** A command to be typed in the run's folder: where the run was begun differs between runs that are the same. */
  readonly reproduce: string;
}

/** A budget may also be a law or follow from the device; only a plain number is one for the whole tier. */
const plainCount = count.optional().catch(undefined);
const tierSchema = z.looseObject({ name: z.string(), clients: plainCount, topK: plainCount });

const scenarioSchema = z.looseObject({
  name: z.string().optional(),
  question: z.string().optional(),
  description: z.string().optional(),
  seed: z.number().optional(),
  strategy: z.unknown().optional(),
  /** Parts that were code and are not told by their fields. */
  own: z.array(z.string()).optional(),
  fleet: z.union([z.array(tierSchema), z.looseObject({ tiers: z.array(tierSchema) })]).optional(),
});

const resultSchema = z.looseObject({
  digest: z.string().optional(),
  expectations: z
    .array(z.looseObject({ name: z.string(), held: z.boolean(), detail: z.string().optional() }))
    .optional(),
  continuedDespite: z.array(z.string()).optional(),
});

/**
 * Reads `scenario.json`, `metrics.jsonl` and, where the run got that far, `result.json`.
 *
 * @throws InputError naming the file and the line
 */
export function readRun(folder: string): RunRecord {
  const scenario = readJson(folder, "scenario.json", scenarioSchema);
  const result = existsSync(join(folder, "result.json")) ? readJson(folder, "result.json", resultSchema) : {};
  const rounds: RoundMetrics[] = [];
  for (const { value, line } of readRows(folder, "metrics.jsonl", roundMetricsSchema)) {
    const before = rounds.at(-1);
    if (before !== undefined && value.round <= before.round) {
      throw new InputError(`metrics.jsonl line ${line}: round ${value.round} follows round ${before.round}`);
    }
    rounds.push(value);
  }
  if (rounds.length === 0) throw new InputError("metrics.jsonl has no rows: the run ended before its first round");
  const tiers = tierFacts(scenario, rounds);
  const known = tiers.every(({ clients }) => clients !== null);
  return {
    name: scenario.name ?? basename(folder),
    question: scenario.question ?? scenario.description ?? null,
    seed: scenario.seed ?? null,
    strategy: scenario.own?.includes("strategy") === true ? "own strategy" : describe(scenario.strategy),
    tiers,
    clients: known ? tiers.reduce((sum, { clients }) => sum + clients!, 0) : null,
    scenario,
    rounds,
    digest: result.digest ?? null,
    expectations: (result.expectations ?? []).map(({ name, held, detail }) => ({ name, held, detail: detail ?? "" })),
    continuedDespite: result.continuedDespite ?? [],
    reproduce: scenario.own === undefined ? defaultCommand : "npx flame verify --rerun .",
  };
}

/** Rows of `participations.jsonl` in file order, one at a time: large fleets leave more than fits in a string. */
export function* readParticipations(folder: string): Generator<ParticipationRow> {
  for (const { value } of readRows(folder, "participations.jsonl", participationSchema)) yield value;
}

export const hasParticipations = (folder: string): boolean => existsSync(join(folder, "participations.jsonl"));

/** `flame(t=2)` from `{ name: "flame", t: 2 }` or from a string that says so already. */
export function describe(spec: unknown): string | null {
  if (typeof spec === "string") return spec;
  if (typeof spec !== "object" || spec === null) return null;
  const { name, kind, type, ...rest } = spec as Record<string, unknown>;
  const title = [name, kind, type].find((word) => typeof word === "string");
  if (typeof title !== "string") return null;
  const options = Object.entries(rest).filter(([, value]) => ["number", "string", "boolean"].includes(typeof value));
  if (options.length === 0 || title.includes("(")) return title;
  return `${title}(${options.map(([key, value]) => `${key}=${value}`).join(", ")})`;
}

/** Tiers in the scenario's order; those that only the metrics know come after. */
function tierFacts(scenario: z.infer<typeof scenarioSchema>, rounds: readonly RoundMetrics[]): TierFacts[] {
  const { fleet } = scenario;
  const declared = fleet === undefined ? [] : Array.isArray(fleet) ? fleet : fleet.tiers;
  const facts = declared.map(({ name, clients, topK }) => ({ name, clients: clients ?? null, topK: topK ?? null }));
  const seen = new Set(facts.map(({ name }) => name));
  for (const { tiers } of rounds) {
    for (const { tier } of tiers) {
      if (!seen.has(tier)) facts.push({ name: tier, clients: null, topK: null });
      seen.add(tier);
    }
  }
  return facts;
}

function readJson<T>(folder: string, file: string, schema: z.ZodType<T>): T {
  const path = pathIn(folder, file);
  return parseInput(file, schema, parse(readText(path, largestScenario, "refused"), file));
}

function* readRows<T>(folder: string, file: string, schema: z.ZodType<T>): Generator<{ value: T; line: number }> {
  let line = 0;
  for (const text of linesOf(pathIn(folder, file), "refused")) {
    line++;
    if (text.trim() === "") continue;
    const where = `${file} line ${line}`;
    yield { value: parseInput(where, schema, parse(text, where)), line };
  }
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const start = text.slice(0, 40);
    throw new InputError(`${where}: expected JSON, got ${JSON.stringify(start)} (${messageOf(cause)})`, { cause });
  }
}

function pathIn(folder: string, file: string): string {
  const path = join(folder, file);
  if (!existsSync(path)) throw new InputError(`run folder ${folder} has no ${file}`);
  return path;
}
