/** A participation as the stretches of time it was made of; shared by the client tracks and `timeline.json`. */
import type { ParticipationRow } from "../records/participation.ts";

export type Leg = "download" | "train" | "upload";

export interface Slice {
  readonly leg: Leg;
  /** Milliseconds of virtual time, `from ≤ to`. */
  readonly from: number;
  readonly to: number;
}

/**
 * The legs a participation entered, in order. One that was cut off has its last leg end where the client was lost or
 * the server gave up; the wait of an update for its verdict belongs to no leg.
 */
export function slicesOf(row: ParticipationRow): Slice[] {
  const { invitedAt, downloadedAt, trainedAt, phase } = row;
  if (phase === "before-download") return [];
  const end = busyUntil(row);
  const slices: Slice[] = [{ leg: "download", from: invitedAt, to: downloadedAt ?? end }];
  if (downloadedAt !== null) slices.push({ leg: "train", from: downloadedAt, to: trainedAt ?? end });
  if (trainedAt !== null) slices.push({ leg: "upload", from: trainedAt, to: end });
  return slices;
}

/** When the client was done with the participation: its update arrived, it was lost, or the server gave up on it. */
export const busyUntil = ({ arrivedAt, lostAt, endedAt }: ParticipationRow): number => arrivedAt ?? lostAt ?? endedAt;

/** "counted", or the outcome with where and why: "dropped in training (outage)". */
export function verdict({ outcome, phase, reason }: ParticipationRow): string {
  const where = phase === undefined ? "" : phase === "before-download" ? " before download" : ` in ${phase}`;
  return `${outcome}${where}${reason === undefined ? "" : ` (${reason})`}`;
}
