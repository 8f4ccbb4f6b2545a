/** Plays a timing-only scenario on this thread and keeps what came out of it, without a folder. */

import { metricsOf, type RoundMetrics } from "../../src/records/metrics.ts";
import { type ParticipationRow, rowOf } from "../../src/records/participation.ts";
import { Federation } from "../../src/run/federation.ts";
import { prepareRun } from "../../src/run/run.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import type { Scenario } from "../../src/scenario/define.ts";
import type { TraceRow } from "../../src/sim/kernel/trace.ts";

export interface Played {
  readonly federation: Federation;
  /** Row 0 is the base model. */
  readonly rounds: RoundMetrics[];
  readonly parts: ParticipationRow[];
  /** Of each part in turn: the round that was open when it ended. */
  readonly endedIn: number[];
  readonly trace: TraceRow[];
}

export async function playTiming(scenario: Scenario): Promise<Played> {
  const prepared = await prepareRun(scenario, {});
  const rounds: RoundMetrics[] = [];
  const parts: ParticipationRow[] = [];
  const endedIn: number[] = [];
  let open = 0;
  const lines: string[] = [];
  const federation = new Federation({
    scenario,
    prepared,
    pool: new InlinePool({}),
    events: { write: (text) => void lines.push(text) },
    reproduce: "",
    onParticipation(ended) {
      parts.push(rowOf(ended, prepared.fleet));
      endedIn.push(open);
    },
    onRow: (row) => void rounds.push(metricsOf(row, prepared.fleet)),
    onRoundClosed: (round) => {
      open = round + 1;
    },
  });
  federation.begin();
  await federation.advance(() => false);
  await federation.rowsDone();
  federation.trace.flush();
  return {
    ...{ federation, rounds, parts, endedIn },
    // Most look at rounds alone.
    get trace() {
      const texts = lines.join("").split("\n").slice(0, -1);
      return texts.map((line) => JSON.parse(line) as TraceRow);
    },
  };
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** Standard deviation of the values, divided by the root of their number. */
export function standardError(values: readonly number[]): number {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1) / values.length);
}
