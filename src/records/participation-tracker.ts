/**
 * Follows every participation from outside: it sees what the server decided and what happened to messages, works out
 * how each participation ended, and stops the run when the rules were broken.
 *
 *   invited ─▶ downloaded ─▶ trained ─▶ … arrived ─▶ counted | late | rejected
 *        └───────────┴───────────┴──▶ lost ─▶ dropped
 *
 * The server cannot know why a client is silent. When it gives up on one, the tracker does: a client whose part was
 * already lost has dropped out, one still at it is late.
 */

import * as z from "zod";
import { InputError, invariant } from "../base/errors.ts";
import { whole } from "../base/fields.ts";
import { clientName, type ParticipationId } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";
import type { Snapshot } from "../base/snapshot.ts";
import { formatTime, type Millis } from "../base/units.ts";
import type { Loss } from "../sim/flight/environment.ts";
import { askedStages, type Stage, stages } from "../sim/flight/stages.ts";
import type { Outcome } from "./counts.ts";
import { type Ended, openSchema, type Participation } from "./participation.ts";

export const participationTrackerSchema = z.strictObject({
  open: z.array(openSchema),
  next: whole,
  roundStartedAt: whole,
});
type ParticipationTrackerState = Readonly<z.output<typeof participationTrackerSchema>>;

interface ParticipationTrackerOptions {
  /** Synchronous policies: an update counted for a round must have arrived this long after the round began. A prelude has none. */
  readonly deadline: Millis | null;
  /** Called once for each participation, in the order of their ends. */
  onEnded(ended: Ended): void;
}

interface Invited extends Pick<Participation, "participation" | "client" | "round"> {
  readonly asks?: readonly Stage[];
}

export class ParticipationTracker implements Snapshot<ParticipationTrackerState> {
  readonly #options: ParticipationTrackerOptions;
  #open = new NumberMap<Participation>();
  #next = 0;
  #roundStartedAt = 0;

  constructor(options: ParticipationTrackerOptions) {
    this.#options = options;
  }

  /** Participations that have not ended. */
  get outstanding(): number {
    return this.#open.size;
  }

  roundBegan(at: Millis): void {
    this.#roundStartedAt = at;
  }

  /** @param asks the stages that the plan asks for besides */
  invited({ participation, client, round, asks = [] }: Invited, at: Millis): void {
    invariant(participation === this.#next, () => `participation ${participation} follows ${this.#next - 1}`);
    this.#next++;
    const open: Participation = {
      participation,
      client,
      round,
      invitedAt: at,
      downloadedAt: null,
      trainedAt: null,
      arrivedAt: null,
      lostAt: null,
      lostIn: null,
      lostBecause: null,
      endedAt: null,
      outcome: null,
      reason: null,
    };
    for (const { name, ends } of asks.length === 0 ? [] : askedStages) if (asks.includes(name)) open[ends] = null;
    this.#open.set(participation, open);
  }

  /** A stage has come to its end. This and the next also hear of participations that have ended, and of duplicates. */
  passed(stage: Stage, participation: ParticipationId, at: Millis): void {
    const open = this.#open.get(participation);
    if (open === undefined) return;
    // Spelled out for those that all go through: a property that is looked up by its name takes many times longer.
    if (stage === "download") open.downloadedAt ??= at;
    else if (stage === "training") open.trainedAt ??= at;
    else if (stage === "upload") open.arrivedAt ??= at;
    else {
      const { ends } = stages[stage];
      if (ends !== null) open[ends] ??= at;
    }
  }

  lost({ participation, phase, reason, at }: Loss): void {
    const open = this.#open.get(participation);
    // A lost acknowledgement loses nothing the server counts.
    if (open === undefined || phase === "acknowledge" || open.arrivedAt !== null) return;
    open.lostAt ??= at;
    open.lostIn ??= phase;
    open.lostBecause ??= reason;
  }

  /** The server counted the update in the aggregation that closes a round. */
  counted(participation: ParticipationId, at: Millis): void {
    const open = this.#get(participation, "counted");
    const { deadline } = this.#options;
    invariant(open.arrivedAt !== null, () => `the update of ${nameOf(open)} was counted and never arrived`);
    invariant(
      open.lostIn === null,
      () => `the update of ${nameOf(open)} was counted, but it was gone in ${open.lostIn}`,
    );
    invariant(
      deadline === null || open.round === 0 || open.arrivedAt <= this.#roundStartedAt + deadline,
      () =>
        `the update of ${nameOf(open)} arrived at ${formatTime(open.arrivedAt!)}, after its deadline, and was counted`,
    );
    this.#end(open, "counted", at, null);
  }

  /** An update that arrived and is not wanted. */
  refused(participation: ParticipationId, as: "late" | "rejected", reason: string, at: Millis): void {
    this.#end(this.#get(participation, as), as, at, reason);
  }

  /** The server no longer waits for the client. */
  gaveUp(participation: ParticipationId, at: Millis): void {
    const open = this.#get(participation, "given up");
    if (open.lostIn === null) this.#end(open, "late", at, "deadline");
    else this.#end(open, "dropped", at, open.lostBecause ?? "lost");
  }

  snapshot(): ParticipationTrackerState {
    return { open: this.#open.values(), next: this.#next, roundStartedAt: this.#roundStartedAt };
  }

  /** @throws InputError for a part that nobody was invited to */
  restore({ open, next, roundStartedAt }: ParticipationTrackerState): void {
    for (const [at, { participation }] of open.entries()) {
      const place = `participations.open[${at}]`;
      const before = open[at - 1]?.participation ?? -1;
      if (participation <= before || participation >= next) {
        throw new InputError(`${place}.participation is ${participation}, expected one in (${before}, ${next})`);
      }
    }
    this.#open = new NumberMap(open.map((entry) => [entry.participation, { ...entry }]));
    this.#next = next;
    this.#roundStartedAt = roundStartedAt;
  }

  #get(participation: ParticipationId, as: string): Participation {
    const open = this.#open.get(participation);
    invariant(open !== undefined, () =>
      participation < this.#next
        ? `participation ${participation} has ended, and was to be ${as} as well`
        : `participation ${participation} was to be ${as}, but nobody was invited under that number`,
    );
    return open;
  }

  #end(open: Participation, outcome: Outcome, at: Millis, reason: string | null): void {
    this.#open.take(open.participation);
    open.endedAt = at;
    open.outcome = outcome;
    open.reason = reason;
    this.#options.onEnded(open as Ended);
  }
}

const nameOf = ({ client, participation, round }: Participation): string =>
  `${clientName(client)} (participation ${participation}, round ${round})`;
