/**
 * What one client's part in one round leaves in `participations.jsonl`: one row when its outcome is settled, in the
 * order of settling. Virtual time only, so the file is the same for identical runs. The report's client tracks and
 * `timeline.json` are drawn from it.
 *
 *   invitedAt ──download──▶ downloadedAt ──training──▶ trainedAt ──upload──▶ arrivedAt
 *
 * Where a strategy's plan asks for a preliminary exchange, it lies between training and upload: `reportedAt`, when the
 * server had the client's numbers, and `answeredAt`, when the client had its.
 */
import * as z from "zod";
import { wholeAs } from "../base/fields.ts";
import { type ClientId, clientName, type ParticipationId, type Round } from "../base/ids.ts";
import { type Fleet, tierOf } from "../sim/fleet/fleet.ts";
import { askedStages, type ByInstant, type Instants, type Phase, phases, timedStages } from "../sim/flight/stages.ts";
import { count, instant, type Outcome, outcomes } from "./counts.ts";

export const participationSchema = z.object({
  /** Numbered over the whole run from 0. */
  participation: count,
  /** The client's name, as in `c-017`. */
  client: z.string(),
  tier: z.string(),
  round: count,
  budget: count,
  /** Milliseconds of virtual time. */
  invitedAt: instant,
  ...instantFields(),
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
export interface Participation extends Instants {
  readonly participation: ParticipationId;
  readonly client: ClientId;
  readonly round: Round;
  readonly invitedAt: number;
  lostAt: number | null;
  lostIn: Phase | null;
  lostBecause: string | null;
  /** These three are null until it has ended; the reason also where it was counted. */
  endedAt: number | null;
  outcome: Outcome | null;
  reason: string | null;
}

/** One that has not ended. */
export const openSchema: z.ZodType<Participation> = z.strictObject({
  participation: wholeAs<ParticipationId>(),
  client: wholeAs<ClientId>(),
  round: wholeAs<Round>(),
  invitedAt: instant,
  ...instantFields(),
  lostAt: instant.nullable(),
  lostIn: z.enum(phases).nullable(),
  lostBecause: z.string().nullable(),
  endedAt: z.null(),
  outcome: z.null(),
  reason: z.null(),
});

/** Nobody changes it any more. */
export interface Ended extends Readonly<Participation> {
  readonly endedAt: number;
  readonly outcome: Outcome;
}

/**
 * When each stage ended; null where the participation never got that far, absent where its plan does not ask for the
 * stage. `arrivedAt` is when the update reached the server, whatever the server then did with it.
 */
function instantFields() {
  type At = z.ZodNullable<typeof instant>;
  const fields = timedStages.map(({ ends, isAsked }) => {
    const field = instant.nullable();
    return [ends, isAsked ? field.exactOptional() : field] as const;
  });
  return Object.fromEntries(fields) as ByInstant<At, z.ZodExactOptional<At>>;
}

export function rowOf(ended: Ended, fleet: Fleet): ParticipationRow {
  const { participation, client, round, invitedAt, downloadedAt, trainedAt, arrivedAt, endedAt, outcome } = ended;
  const row: z.output<typeof participationSchema> = {
    participation,
    client: clientName(client),
    tier: tierOf(fleet, client),
    round,
    budget: fleet.budget[client]!,
    invitedAt,
    downloadedAt,
    trainedAt,
    arrivedAt,
    endedAt,
    outcome,
  };
  for (const { ends } of askedStages) {
    const at = ended[ends];
    if (at !== undefined) row[ends] = at;
  }
  if (outcome === "dropped") {
    row.lostAt = ended.lostAt!;
    row.phase = ended.lostIn!;
  }
  if (ended.reason !== null) row.reason = ended.reason;
  return row;
}
