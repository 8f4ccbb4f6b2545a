/** The messages of a system as plain data: on their way, in mailboxes, and in turns that wait for their work. */
import type { NumberMap } from "../base/number-map.ts";
import type { CompanyState, Role } from "./company.ts";
import { outside, putInto, putOn, type Seat, Transit } from "./mailbox.ts";
import type { BlobRecord } from "./messages/blobs.ts";
import { open, seal } from "./messages/envelope.ts";
import type { Ref } from "./messages/refs.ts";
import type { PledgeState } from "./pledges.ts";

export interface TransitRecord {
  readonly envelope: Uint8Array;
  readonly hasArrived: boolean;
}

export interface SeatRecord {
  readonly kind: string;
  readonly id: number;
  readonly mailbox: readonly Uint8Array[];
  /** The turn that waits for its work. */
  readonly current: { readonly envelope: Uint8Array; readonly ticket: number } | null;
}

export interface MessagesState {
  /** In the order of sending. */
  readonly transits: readonly TransitRecord[];
  readonly seats: readonly SeatRecord[];
}

/** A whole system between two events. Plain data, except that contents may be views of shared memory. */
export interface SystemState extends MessagesState {
  readonly nextTicket: number;
  readonly company: CompanyState;
  readonly pledges: PledgeState;
  readonly blobs: readonly BlobRecord[];
}

export function messagesOf(transits: Iterable<Transit<Role>>, seats: Iterable<Seat<Role>>): MessagesState {
  return {
    transits: [...transits].map((transit) => ({ envelope: seal(transit), hasArrived: transit.hasArrived })),
    seats: [...seats]
      .filter(({ current, mailbox }) => current !== null || mailbox.length > 0)
      .map(({ ref, mailbox, current, computation }) => ({
        kind: ref.kind,
        id: ref.id,
        mailbox: mailbox.map(seal),
        current: current === null ? null : { envelope: seal(current), ticket: computation },
      })),
  };
}

/** Fills `transits` and `computing`, and the seats found by `seatOf`. */
export function restoreMessages(
  state: MessagesState,
  seatOf: (ref: Ref) => Seat<Role>,
  transits: NumberMap<Transit<Role>>,
  computing: NumberMap<Seat<Role>>,
): void {
  for (const { kind, id, mailbox, current } of state.seats) {
    const seat = seatOf({ kind, id });
    const source = `message to ${kind} ${id}`;
    for (const bytes of mailbox) putInto(seat, open(bytes, source));
    if (current === null) continue;
    seat.current = open(current.envelope, source);
    seat.computation = current.ticket;
    computing.set(current.ticket, seat);
  }
  for (const { envelope: bytes, hasArrived } of state.transits) {
    const { from, to, sequence, sentAt, leg, message } = open(bytes, "message on its way");
    const receiver = seatOf(to);
    const sender = from.kind === outside.kind ? null : seatOf(from);
    const transit = new Transit(sender, receiver, sequence, sentAt, leg, message);
    transit.hasArrived = hasArrived;
    transits.set(sequence, transit);
    if (transit.device === null) receiver.expected++;
    else putOn(transit.device, transit);
  }
}
