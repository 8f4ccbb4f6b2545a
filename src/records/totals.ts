/** A run's rounds, added up. */
import * as z from "zod";
import { count, countFields, instant, noCounts, sumOf } from "./counts.ts";
import type { RoundMetrics, TierMetrics } from "./metrics.ts";

/** Rounds after the base model's row, and with that row if a prelude went before it. */
export const playedRounds = (rounds: readonly RoundMetrics[]): RoundMetrics[] =>
  rounds.filter(({ round, invited }) => round > 0 || invited > 0);

export const totalsSchema = z.object({
  ...countFields,
  /** Those that closed, and those of them that moved the adapter. */
  rounds: count,
  aggregated: count,
  /** Milliseconds. */
  virtualTime: instant,
  /** Ever counted. */
  distinctClients: count,
  downloadBytes: z.number().min(0),
  uploadBytes: z.number().min(0),
});
type Totals = Readonly<z.output<typeof totalsSchema>>;

export function totalsOf(rounds: readonly RoundMetrics[]): Totals {
  const played = playedRounds(rounds);
  const { closedAt, distinctClients, downloadBytes, uploadBytes } = rounds.at(-1)!;
  return {
    ...sumOf(played),
    rounds: played.filter(({ round }) => round > 0).length,
    aggregated: played.filter(({ round, aggregated }) => round > 0 && aggregated).length,
    virtualTime: closedAt,
    distinctClients,
    downloadBytes,
    uploadBytes,
  };
}

/** Outcomes of all participations of a tier, over the whole run. */
export function tierTotals(rounds: readonly RoundMetrics[]): Map<string, TierMetrics> {
  const totals = new Map<string, TierMetrics>();
  for (const row of rounds) {
    for (const part of row.tiers) {
      const { tier } = part;
      totals.set(tier, { tier, ...sumOf([totals.get(tier) ?? noCounts(), part]) });
    }
  }
  return totals;
}
