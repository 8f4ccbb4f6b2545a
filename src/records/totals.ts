/** A run's rounds, added up. */
import type { RoundMetrics, TierMetrics } from "./metrics.ts";

/** Rounds after the base model's row. */
export const playedRounds = (rounds: readonly RoundMetrics[]): RoundMetrics[] =>
  rounds.filter(({ round }) => round > 0);

export interface Totals {
  readonly rounds: number;
  readonly aggregated: number;
  readonly virtualTime: number;
  readonly invited: number;
  readonly counted: number;
  readonly late: number;
  readonly dropped: number;
  readonly rejected: number;
  readonly distinctClients: number;
  readonly downloadBytes: number;
  readonly uploadBytes: number;
}

export function totalsOf(rounds: readonly RoundMetrics[]): Totals {
  const played = playedRounds(rounds);
  const sum = (pick: (row: RoundMetrics) => number) => played.reduce((total, row) => total + pick(row), 0);
  const last = rounds.at(-1)!;
  return {
    rounds: played.length,
    aggregated: sum(({ aggregated }) => (aggregated ? 1 : 0)),
    virtualTime: last.closedAt,
    invited: sum(({ invited }) => invited),
    counted: sum(({ counted }) => counted),
    late: sum(({ late }) => late),
    dropped: sum(({ dropped }) => dropped),
    rejected: sum(({ rejected }) => rejected),
    distinctClients: last.distinctClients,
    downloadBytes: last.downloadBytes,
    uploadBytes: last.uploadBytes,
  };
}

/** Outcomes of all participations of a tier, over the whole run. */
export function tierTotals(rounds: readonly RoundMetrics[]): Map<string, TierMetrics> {
  const totals = new Map<string, { -readonly [K in keyof TierMetrics]: TierMetrics[K] }>();
  for (const row of rounds) {
    for (const { tier, invited, counted, late, dropped, rejected } of row.tiers) {
      const total = totals.get(tier) ?? { tier, invited: 0, counted: 0, late: 0, dropped: 0, rejected: 0 };
      total.invited += invited;
      total.counted += counted;
      total.late += late;
      total.dropped += dropped;
      total.rejected += rejected;
      totals.set(tier, total);
    }
  }
  return totals;
}
