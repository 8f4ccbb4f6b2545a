import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import * as z from "zod";
import { sha256 } from "../base/digest.ts";
import { inScratch } from "../base/disk.ts";
import { InputError, MachineError } from "../base/errors.ts";
import { given } from "../base/given.ts";
import { parseAs } from "../base/json.ts";
import { linesOf, readText } from "../base/text.ts";
import {
  filesIn,
  largestScenario,
  openRunFolder,
  type RunFolder,
  type RunRecord,
  readRecord,
  readResult,
} from "../folder/run-folder.ts";
import { readCheckpoint } from "../folder/saved-state.ts";
import { broken } from "../folder/seal.ts";
import { readAdapterFolder } from "../model/formats/adapters/adapter-folder.ts";
import { readHuggingFaceConfig } from "../model/formats/hf-config.ts";
import { noCounts, outcomes, sumOf } from "../records/counts.ts";
import { roundMetricsSchema } from "../records/metrics.ts";
import { participationSchema } from "../records/participation.ts";
import { lookAtInputs } from "../run/inputs.ts";
import type { RunOptions } from "../run/options.ts";
import { embeddedModel } from "../run/package.ts";
import { type LoadedRun, loadRun, type Reload } from "../run/resume.ts";
import { run } from "../run/run.ts";
import { recordedScenario } from "../run/trained-adapter.ts";
import { digestOfLines } from "../sim/kernel/trace.ts";
import { compareRuns, isSame } from "./diff.ts";
import { type EventRow, EventRules } from "./event-rules.ts";

export interface Check {
  readonly name: string;
  /** Null: there was nothing to check. */
  readonly holds: boolean | null;
  /** What was found, in words. */
  readonly found: string;
}

type Found = Omit<Check, "name">;

export interface Verification {
  readonly checks: readonly Check[];
  /** What somebody who relies on the run should know. */
  readonly remarks: readonly string[];
}

export const holds = ({ checks }: Verification): boolean => checks.every((check) => check.holds !== false);

/** @throws InputError when the folder holds no run */
export async function verifyRun(path: string): Promise<Verification> {
  const folder = openRunFolder(path);
  const record = readRecord(folder);
  const remarks: string[] = [];
  if (record?.state !== "finished") {
    remarks.push(`the run has not finished (${record?.state ?? "it never began"}): only what there is was checked`);
  }
  const unsealed = [folder.report, folder.timeline].filter(existsSync).map((path) => basename(path));
  if (unsealed.length > 0) remarks.push(`not checked: ${unsealed.join(" and ")}, which are made from the rest`);
  const tally = new EventTally();
  const checks = [
    await check("the event log has the digest that the result states", () => checkDigest(folder, tally)),
    await check("clients have one part at a time, and no more updates are counted than were heard", () =>
      checkRules(folder),
    ),
    await check("events, participations and rounds tell the same story", () => tally.compare(folder)),
    await check("the adapter has the digest that the result states", () => checkAdapter(folder)),
    await check("every checkpoint is whole", () => checkCheckpoints(folder)),
    await check("the files are those that the run left when it had finished", () => checkSeal(folder, record)),
  ];
  return { checks, remarks: [...remarks, ...(await lookAtInputs(path).catch(asRemark))] };
}

/** What is wrong with the record of how a run was made is what a check has found already. */
function asRemark(error: unknown): string[] {
  if (error instanceof InputError || error instanceof MachineError) return [error.message];
  throw error;
}

/** Runs the scenario again, in a folder that is gone afterwards, and compares bytes. */
export async function verifyByRerun(
  path: string,
  options: Pick<RunOptions, "workers" | "engine">,
  reload?: Reload,
): Promise<Check> {
  const name = "the scenario gives these very bytes when it is run again";
  const loaded = await loadRun(path, reload);
  if (loaded.changed.length > 0) return { name, holds: false, found: loaded.changed.join(", ") };
  return inScratch("verify", async (folder) => {
    const again = join(folder, "run");
    await rerun(loaded, { ...options, out: again });
    const difference = compareRuns(path, again);
    if (isSame(difference)) return { name, holds: true, found: "events, metrics, participations and adapter" };
    const { events, metrics, participations, draws, files } = difference;
    const parts = [
      ...(events === null ? [] : [`event ${events.line}`]),
      ...(metrics === null ? [] : [`row ${metrics.line} of metrics`]),
      ...(participations === null ? [] : [`participation row ${participations.line}`]),
      ...(draws === null ? [] : [`draws of "${draws.purpose}" in round ${draws.round}`]),
      ...files,
    ];
    return { name, holds: false, found: `first differences: ${parts.join(", ")}` };
  });
}

function rerun({ folder, scenario, source }: LoadedRun, options: RunOptions) {
  const record = readRecord(folder);
  return run(scenario, {
    ...options,
    engine: options.engine ?? record?.made.engine ?? "auto",
    merge: options.merge ?? record?.merge ?? "auto",
    ...(record === null ? {} : { reproduce: record.reproduce, startedIn: record.startedIn }),
    ...given({ source }),
  });
}

/** What goes wrong with the files is what the check is there to find. */
async function check(name: string, find: () => Found | Promise<Found>): Promise<Check> {
  try {
    return { name, ...(await find()) };
  } catch (error) {
    if (!(error instanceof InputError || error instanceof MachineError)) throw error;
    return { name, holds: false, found: error.message };
  }
}

/** A process that was killed leaves its files cut off anywhere; the next one cuts them where its checkpoint was. */
const unfinished: Found = { holds: null, found: "the run has not finished" };

async function checkDigest(folder: RunFolder, tally: EventTally): Promise<Found> {
  const result = readResult(folder);
  if (result === null) return unfinished;
  if (!keepsEvents(folder)) return { holds: null, found: 'the scenario kept none: its trace is "digest"' };
  function* lines(): Generator<string> {
    let at = 0;
    for (const line of linesOf(folder.events, "refused")) {
      tally.event(rowOf(eventSchema, line, folder.events, ++at), at);
      yield line;
    }
  }
  const found = await digestOfLines(lines());
  return result.digest === found
    ? { holds: true, found: `${tally.events} events, ${found.slice(0, 16)}…` }
    : { holds: false, found: `the log gives ${found}, the result states ${result.digest}` };
}

function checkRules(folder: RunFolder): Found {
  if (!existsSync(folder.events) || !keepsEvents(folder)) return { holds: null, found: "there is no event log" };
  const rules = new EventRules();
  let line = 0;
  for (const text of linesOf(folder.events, "refused")) rules.see(rowOf(eventSchema, text, folder.events, ++line));
  return { holds: true, found: `${line} events` };
}

const keepsEvents = ({ scenario }: RunFolder): boolean =>
  rowOf(z.looseObject({ trace: z.unknown() }), readText(scenario, largestScenario, "refused"), scenario, 1).trace !==
  "digest";

/** What the event log says of participations, held against the other two files; where there is none, they alone. */
class EventTally {
  events = 0;
  #time = 0;
  #invited = 0;
  readonly #outcomes = new Map<unknown, unknown>();
  readonly #closed: EventRow[] = [];

  event(row: EventRow, line: number): void {
    this.events++;
    if (!(row.t >= this.#time))
      throw new InputError(`events.jsonl line ${line}: time goes from ${this.#time} to ${row.t}`);
    this.#time = row.t;
    if (row.type === "sent" && row.message === "train") this.#invited++;
    if (row.type === "round-closed") this.#closed.push(row);
    if (row.type !== "ended") return;
    const { participation, outcome } = row;
    if (this.#outcomes.has(participation)) {
      throw new InputError(`events.jsonl line ${line}: participation ${participation} ends a second time`);
    }
    this.#outcomes.set(participation, outcome);
  }

  compare(folder: RunFolder): Found {
    if (readResult(folder) === null) return unfinished;
    const hasEvents = keepsEvents(folder);
    const totals = noCounts();
    let line = 0;
    for (const text of linesOf(folder.participations, "refused")) {
      const { participation, outcome } = rowOf(participationSchema, text, folder.participations, ++line);
      const traced = hasEvents ? this.#outcomes.get(participation) : outcome;
      if (traced !== outcome) {
        return no(`participation ${participation} was ${outcome}, and by the event log ${String(traced ?? "nothing")}`);
      }
      totals[outcome]++;
    }
    const ended = hasEvents ? this.#outcomes.size : line;
    if (line !== ended) return no(`${ended} participations ended, ${line} have a row`);
    let round = 0;
    let summed = noCounts();
    for (const text of linesOf(folder.metrics, "refused")) {
      const row = rowOf(roundMetricsSchema, text, folder.metrics, round + 1);
      const closed = hasEvents ? this.#closed[round] : { round, t: row.closedAt, counted: row.counted };
      round++;
      if (closed?.round !== row.round || closed.t !== row.closedAt || closed.counted !== row.counted) {
        return no(`round ${row.round} of metrics.jsonl is not closed like that in the event log`);
      }
      summed = sumOf([summed, row]);
      const weight = row.weights.reduce((sum, part) => sum + part.weight, 0);
      if (row.counted > 0 && !(Math.abs(weight - 1) < 1e-6)) {
        return no(`the weights of round ${row.round} sum to ${weight}, expected 1`);
      }
    }
    const wasInvited = hasEvents ? this.#invited : line;
    if (summed.invited !== wasInvited) return no(`${summed.invited} invitations in metrics, and in fact ${wasInvited}`);
    const closed = hasEvents ? this.#closed.length : round;
    if (round !== closed) return no(`${round} rounds in metrics, ${closed} in events`);
    for (const key of outcomes) {
      if (summed[key] !== totals[key]) return no(`${summed[key]} ${key} in metrics, ${totals[key]} in rows`);
    }
    return { holds: true, found: `${round} rounds, ${line} participations` };
  }
}

const no = (found: string): Found => ({ holds: false, found });

function checkAdapter(folder: RunFolder): Found {
  const result = readResult(folder);
  if (result === null || result.adapterDigest === null) return { holds: null, found: "there is none" };
  const { model, task } = recordedScenario(folder.path);
  if (task.type !== "llm") return { holds: null, found: `the seal has what a task ${task.type} leaves, as files` };
  if (typeof model !== "string") return no("the scenario has no model to train");
  const path = join(model === "embedded" ? embeddedModel() : model, "config.json");
  if (!existsSync(path)) throw new InputError(`${path} is missing: the base model tells how the adapter is laid out`);
  const { adapter } = readAdapterFolder(folder.adapter, readHuggingFaceConfig(path).model);
  const bytes = new Uint8Array(adapter.buffer, adapter.byteOffset, adapter.byteLength);
  const found = sha256(bytes);
  if (found !== result.adapterDigest) return no(`its values give ${found}, the result states ${result.adapterDigest}`);
  return { holds: true, found: `${adapter.length} values, ${found.slice(0, 16)}…` };
}

function checkCheckpoints(folder: RunFolder): Found {
  const names = filesIn(folder.checkpoints, ".ckpt");
  if (names.length === 0) return { holds: null, found: "missing: there is none to check" };
  for (const name of names) readCheckpoint(folder.checkpoints, name);
  return { holds: true, found: names.join(", ") };
}

function checkSeal(folder: RunFolder, record: RunRecord | null): Found {
  const result = readResult(folder);
  if (result === null) return record?.state === "finished" ? no("result.json is missing") : unfinished;
  const problems = broken(folder, result);
  return problems.length > 0
    ? no(problems.join(", "))
    : { holds: true, found: ["result.json", ...Object.keys(result.files)].join(", ") };
}

const eventSchema = z.looseObject({ t: z.number(), type: z.string() });

const rowOf = <Row>(schema: z.ZodType<Row>, text: string, path: string, line: number): Row =>
  parseAs(schema, text, `${path} line ${line}`);
