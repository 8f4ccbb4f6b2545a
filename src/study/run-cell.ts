/** Runs one cell of a study. */
import { rmSync } from "node:fs";
import { onDisk } from "../base/disk.ts";
import { InvariantError } from "../base/errors.ts";
import { type RoundMetrics, withoutDetail } from "../records/metrics.ts";
import type { Prepared } from "../run/prepare.ts";
import type { ScenarioSource } from "../run/provenance.ts";
import { run } from "../run/run.ts";
import type { NatsAddress } from "../runtime/pools/nats-address.ts";
import type { Scenario } from "../scenario/define.ts";
import { clientsIn } from "../sim/fleet/fleet-spec.ts";
import { Books } from "./books.ts";
import { cellFrom, lossAt, type StoredCell } from "./cell.ts";
import { fairnessOf, servedIn } from "./fairness.ts";

export interface CellOptions {
  readonly engine: string;
  /** A server by which workers elsewhere are found. */
  readonly nats?: NatsAddress;
  /** They may have any kind of processor. */
  readonly mixedHardware?: boolean;
  readonly reproduce: string;
  /** Where the run's folder is kept; null keeps none. */
  readonly out: string | null;
  /** Where the scenario came from, for the folder. */
  readonly source: ScenarioSource | null;
  /** Gives up a run without hope: see {@link isHopeless}. */
  readonly stopHopeless: boolean;
  readonly signal: AbortSignal;
  readonly onRound: (round: number) => void;
}

/** Null when it was interrupted. */
export async function runCell(scenario: Scenario, options: CellOptions): Promise<StoredCell | null> {
  const { onRound, signal, out, source, stopHopeless, ...how } = options;
  // What an interrupted attempt left; a finished one would not be run again.
  if (out !== null) onDisk(`cannot remove ${out}`, () => rmSync(out, { recursive: true, force: true }));
  const rows: RoundMetrics[] = [];
  const giveUp = new AbortController();
  let books: Books | null = null;
  let prepared: Prepared | null = null;
  const end = (facts: Pick<StoredCell, "digest"> & { readonly violations?: readonly string[] }): StoredCell => {
    const { digest, violations = [] } = facts;
    const isWhole = digest !== null;
    const served = isWhole ? servedIn(rows.at(-1)!, prepared!.fleet) : null;
    const evaluated = rows.filter(({ evaluations }) => evaluations.length > 0);
    return {
      cell: cellFrom(rows, {
        seed: scenario.data.seed,
        clients: clientsIn(scenario.data.fleet),
        heldOut: prepared?.training?.setup.evaluation.length ?? null,
        costs: isWhole ? books!.costs : null,
        fairness: served === null ? null : fairnessOf(served),
        stoppedAfter: giveUp.signal.aborted ? rows.at(-1)!.round : null,
        violations,
      }),
      digest,
      curve: evaluated.map(({ round, closedAt, evaluations }) => ({ round, closedAt, evaluations })),
    };
  };
  try {
    const { state, digest } = await run(scenario, {
      ...how,
      out,
      ...(source === null ? {} : { source }),
      signal: AbortSignal.any([signal, giveUp.signal]),
      workers: 1,
      bookkeeper(known) {
        prepared = known;
        books = new Books(known);
        return books;
      },
      listen(progress) {
        // Rows of a run that was given up may still come: how many depends on the machine.
        if (progress.type !== "round" || giveUp.signal.aborted) return;
        rows.push(withoutDetail(progress.row));
        onRound(progress.row.round);
        if (stopHopeless && isHopeless(rows)) giveUp.abort();
      },
    });
    if (giveUp.signal.aborted) return end({ digest: null });
    return state === "interrupted" ? null : end({ digest });
  } catch (error) {
    if (!(error instanceof InvariantError)) throw error;
    return end({ digest: null, violations: [error.message] });
  }
}

/**
 * A run is without hope once its held-out loss, in the mean over budgets, is no finite number, or above that of the base
 * model twice in a row. It depends on the run alone: who is given up is the same for any number of processes.
 *
 * @internal
 */
export function isHopeless(rows: readonly Pick<RoundMetrics, "round" | "evaluations">[]): boolean {
  const losses = rows.flatMap(({ evaluations }) => lossAt(evaluations, null) ?? []);
  const [first, last, before] = [losses[0], losses.at(-1), losses.at(-2)];
  if (first === undefined || last === undefined || before === undefined) return false;
  return !Number.isFinite(last) || (losses.length > 2 && last > first && before > first);
}
