/**
 * A process of `flame stress`: runs whole cells that only simulate timing, one after the other, as its parent hands them
 * over. A process and not a thread, because scenario files need the loader of the command line.
 */
import { configure, type ScenarioChanges } from "../scenario/configure.ts";
import { loadScenario } from "./load-scenario.ts";
import { type CellOutcome, runCell } from "./stress.ts";

export interface CellJob {
  /** As the user named the scenario. */
  readonly name: string;
  readonly changes: ScenarioChanges;
  readonly reproduce: string;
}

export type CellReply =
  | { readonly ok: true; readonly outcome: CellOutcome | null }
  | { readonly ok: false; readonly name: string; readonly message: string; readonly stack: string | undefined };

async function answer({ name, changes, reproduce }: CellJob): Promise<CellReply> {
  try {
    const [scenario] = (await loadScenario(name)).scenarios;
    return { ok: true, outcome: await runCell(configure(scenario!, changes), { workers: 0, reproduce }) };
  } catch (error) {
    const { name: kind, message, stack } = error instanceof Error ? error : new Error(String(error));
    return { ok: false, name: kind, message, stack };
  }
}

// Ctrl-C reaches every process of the terminal; the parent decides what becomes of the cell under way.
process.on("SIGINT", () => {});
process.on("disconnect", () => process.exit());
process.on("message", (job: CellJob) => void answer(job).then((reply) => process.send!(reply)));
