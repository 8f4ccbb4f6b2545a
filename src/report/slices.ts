/** A participation as the stretches of time it was made of; shared by the client tracks and `timeline.json`. */
import type { ParticipationRow } from "../records/participation.ts";
import { type Stage, timedStages } from "../sim/flight/stages.ts";

export interface Slice {
  readonly stage: Stage;
  readonly is: "down" | "up" | "work";
  /** Milliseconds of virtual time, `from ≤ to`. */
  readonly from: number;
  readonly to: number;
  readonly isCompleted: boolean;
}

/**
 * The stages a participation entered, in order. One that was cut off has its last stage end where the client was lost or
 * the server gave up; the wait of an update for its verdict belongs to no stage.
 */
export function slicesOf(row: ParticipationRow): Slice[] {
  if (row.phase === "before-download") return [];
  const slices: Slice[] = [];
  let from = row.invitedAt;
  for (const { name, ends, is } of timedStages) {
    const end = row[ends];
    if (end === undefined) continue;
    const to = end ?? busyUntil(row);
    slices.push({ stage: name, is, from, to, isCompleted: end !== null });
    if (end === null) break;
    from = to;
  }
  return slices;
}

/** When the client was done with the participation: its update arrived, it was lost, or the server gave up on it. */
export const busyUntil = ({ arrivedAt, lostAt, endedAt }: ParticipationRow): number => arrivedAt ?? lostAt ?? endedAt;

/** "counted", or the outcome with where and why: "dropped in training (outage)". */
export function verdict({ outcome, phase, reason }: ParticipationRow): string {
  const where = phase === undefined ? "" : phase === "before-download" ? " before download" : ` in ${phase}`;
  return `${outcome}${where}${reason === undefined ? "" : ` (${reason})`}`;
}
