/**
 * What one client's part in one round leaves in `participations.jsonl`: one row when its outcome is settled, in the
 * order of settling. Virtual time only, so the file is the same for identical runs. The report's client tracks and
 * `timeline.json` are drawn from it.
 *
 *   invitedAt ──download──▶ downloadedAt ──train──▶ trainedAt ──upload──▶ arrivedAt
 */
import { z } from "zod";
import { type ClientId, clientName, type ParticipationId, type Round } from "../base/ids.ts";
import { type Fleet, tierOf } from "../sim/fleet/fleet.ts";
import { type Phase, phases } from "../sim/flight/environment.ts";
import { count, instant, type Outcome, outcomes } from "./counts.ts";

export const participationSchema = z.object({
  /** Numbered over the whole run from 0. */
  participation: count,
  /** The client's name, as in `c-017`. */
  client: z.string(),
  tier: z.string(),
  round: count,
  topK: count,
  /** Milliseconds of virtual time; null where the participation never got that far. */
  invitedAt: instant,
  downloadedAt: instant.nullable(),
  trainedAt: instant.nullable(),
  /** When the update reached the server, whatever the server then did with it. */
  arrivedAt: instant.nullable(),
  /** When the client was lost: a dropped participation's last sign of life. The server learns of it later. */
  lostAt: instant.exactOptional(),
  /** When the server settled the outcome; no earlier than any instant above. */
  endedAt: instant,
  outcome: z.enum(outcomes),
  /** Where a dropped participation failed. */
  phase: z.enum(phases).exactOptional(),
  /** Why it did not count, in a short word: `dropout`, `outage`, `deadline`, `corrupted`, `not-finite`, … */
  reason: z.string().exactOptional(),
});
export type ParticipationRow = Readonly<z.output<typeof participationSchema>>;

/** What is known of one client's part in one round: filled in as things happen, and text only where it is written. */
export interface Participation {
  readonly participation: ParticipationId;
  readonly client: ClientId;
  readonly round: Round;
  readonly invitedAt: number;
  downloadedAt: number | null;
  trainedAt: number | null;
  arrivedAt: number | null;
  lostAt: number | null;
  lostIn: Phase | null;
  lostBecause: string | null;
  /** These three are null until it has ended; the reason also where it was counted. */
  endedAt: number | null;
  outcome: Outcome | null;
  reason: string | null;
}

/** Nobody changes it any more. */
export interface Ended extends Readonly<Participation> {
  readonly endedAt: number;
  readonly outcome: Outcome;
}

export function rowOf(ended: Ended, fleet: Fleet): ParticipationRow {
  const { participation, client, round, invitedAt, downloadedAt, trainedAt, arrivedAt, endedAt, outcome } = ended;
  const row: z.output<typeof participationSchema> = {
    participation,
    client: clientName(client),
    tier: tierOf(fleet, client),
    round,
    topK: fleet.topK[client]!,
    invitedAt,
    downloadedAt,
    trainedAt,
    arrivedAt,
    endedAt,
    outcome,
  };
  if (outcome === "dropped") {
    row.lostAt = ended.lostAt!;
    row.phase = ended.lostIn!;
  }
  if (ended.reason !== null) row.reason = ended.reason;
  return row;
}
