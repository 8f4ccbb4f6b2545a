/**
 * A process of a study: runs whole cells, one after the other, as its parent hands them over. A process and not a thread,
 * because scenario files need the loader of the command line.
 */
import { removeDrafts } from "../base/disk.ts";
import { configure, type ScenarioChanges } from "../scenario/configure.ts";
import { scenarioFromJson } from "../scenario/define.ts";
import type { StoredCell } from "./cell.ts";
import { loadScenario, sourceOf } from "./load-scenario.ts";
import { type CellOptions, runCell } from "./run-cell.ts";

export interface CellJob
  extends Pick<CellOptions, "engine" | "nats" | "mixedHardware" | "reproduce" | "out" | "stopHopeless"> {
  /** A resolved scenario that is plain data, or where its code is. */
  readonly scenario: { readonly json: string } | ScenarioInFile;
}

interface ScenarioInFile {
  readonly file: string;
  readonly name: string;
  readonly changes: ScenarioChanges;
}

export type CellReply =
  | { readonly round: number }
  /** Null when it was interrupted. */
  | { readonly outcome: StoredCell | null }
  | { readonly ok: false; readonly name: string; readonly message: string; readonly stack: string | undefined };

/** From the parent: a cell to run, or the word to give up the one under way. */
export type CellOrder = CellJob | "stop";

const abort = new AbortController();

async function answer({ scenario: given, ...job }: CellJob): Promise<CellReply> {
  try {
    const [scenario, source] = "json" in given ? [scenarioFromJson(JSON.parse(given.json)), null] : await load(given);
    // Without training rounds close faster than anybody reads.
    const onRound = (round: number) => void (scenario.data.timingOnly || process.send!({ round }));
    return { outcome: await runCell(scenario, { ...job, source, signal: abort.signal, onRound }) };
  } catch (error) {
    const { name: kind, message, stack } = error instanceof Error ? error : new Error(String(error));
    return { ok: false, name: kind, message, stack };
  }
}

async function load({ file, name, changes }: ScenarioInFile) {
  const { scenarios } = await loadScenario(file);
  const scenario = configure(scenarios.find(({ data }) => data.name === name)!, changes);
  return [scenario, sourceOf(file, changes)] as const;
}

// Ctrl-C reaches every process of the terminal; the parent decides what becomes of the cell under way.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
// The parent ends at once, and waits for the moment that this takes. Whom it finds still loading it ends as well, without a dump.
process.on("SIGUSR2", () => {
  removeDrafts();
  process.kill(process.pid, "SIGKILL");
});
process.on("disconnect", () => process.exit());
process.on("message", (order: CellOrder) => {
  if (order === "stop") abort.abort();
  else void answer(order).then((reply) => process.send!(reply));
});
