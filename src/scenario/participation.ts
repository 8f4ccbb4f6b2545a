/**
 * What one client's part in one round leaves in `participations.jsonl`: one row when its outcome is settled, in the
 * order of settling. Virtual time only, so the file is the same for identical runs. The report's client tracks and
 * `timeline.json` are drawn from it.
 *
 *   invitedAt ──download──▶ downloadedAt ──train──▶ trainedAt ──upload──▶ arrivedAt
 */
import type { Phase } from "../sim/environment.ts";

/** Every invitation ends in exactly one of these. */
export type Outcome = "counted" | "late" | "dropped" | "rejected";

export interface ParticipationRow {
  /** Numbered over the whole run from 0. */
  readonly participation: number;
  /** The client's name, as in `c-017`. */
  readonly client: string;
  readonly tier: string;
  readonly round: number;
  readonly topK: number;
  /** Milliseconds of virtual time; null where the participation never got that far. */
  readonly invitedAt: number;
  readonly downloadedAt: number | null;
  readonly trainedAt: number | null;
  /** When the update reached the server, whatever the server then did with it. */
  readonly arrivedAt: number | null;
  /** When the client was lost: a dropped participation's last sign of life. The server learns of it later. */
  readonly lostAt?: number;
  /** When the server settled the outcome; no earlier than any instant above. */
  readonly endedAt: number;
  readonly outcome: Outcome;
  /** Where a dropped participation failed. */
  readonly phase?: Phase;
  /** Why it did not count, in a short word: `dropout`, `outage`, `deadline`, `corrupted`, `not-finite`, … */
  readonly reason?: string;
}
