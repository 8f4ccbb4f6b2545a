/**
 * A process of a study: runs whole cells, one after the other, as its parent hands them over. A process and not a thread,
 * because scenario files need the loader of the command line.
 */
import type { NatsAddress } from "../runtime/pools/nats-server.ts";
import { configure, type ScenarioChanges } from "../scenario/configure.ts";
import { loadScenario } from "./load-scenario.ts";
import { type CellOutcome, runCell } from "./matrix.ts";

export interface CellJob {
  /** As the user named the scenario. */
  readonly name: string;
  readonly changes: ScenarioChanges;
  readonly engine: string;
  readonly nats?: NatsAddress;
  readonly reproduce: string;
}

export type CellReply =
  | { readonly round: number }
  /** Null when it was interrupted. */
  | { readonly outcome: CellOutcome | null }
  | { readonly ok: false; readonly name: string; readonly message: string; readonly stack: string | undefined };

/** From the parent: a cell to run, or the word to give up the one under way. */
export type CellOrder = CellJob | "stop";

const abort = new AbortController();

async function answer({ name, changes, ...job }: CellJob): Promise<CellReply> {
  try {
    const [loaded] = (await loadScenario(name)).scenarios;
    const scenario = configure(loaded!, changes);
    // Without training rounds close faster than anybody reads.
    const onRound = (round: number) => void (scenario.data.timingOnly || process.send!({ round }));
    return { outcome: await runCell(scenario, { ...job, signal: abort.signal, onRound }) };
  } catch (error) {
    const { name: kind, message, stack } = error instanceof Error ? error : new Error(String(error));
    return { ok: false, name: kind, message, stack };
  }
}

// Ctrl-C reaches every process of the terminal; the parent decides what becomes of the cell under way.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
process.on("disconnect", () => process.exit());
process.on("message", (order: CellOrder) => {
  if (order === "stop") abort.abort();
  else void answer(order).then((reply) => process.send!(reply));
});
