/** The messages of a system as plain data: on their way, in mailboxes, and in turns that wait for their work. */
import { appended } from "../base/lists.ts";
import type { NumberMap } from "../base/number-map.ts";
import { type Entry, outside, putOn, Transit } from "./entry.ts";
import type { BlobRecord } from "./messages/blobs.ts";
import { open, seal } from "./messages/envelope.ts";
import type { Ref } from "./messages/refs.ts";
import type { PledgeState } from "./pledges.ts";
import type { RegistryState } from "./registry.ts";

interface TransitRecord {
  readonly envelope: Uint8Array;
  readonly hasArrived: boolean;
}

interface EntryRecord {
  readonly kind: string;
  readonly id: number;
  readonly mailbox: readonly Uint8Array[];
  /** The turn that waits for its work. */
  readonly current: { readonly envelope: Uint8Array; readonly ticket: number } | null;
}

export interface MessagesState {
  /** In the order of sending. */
  readonly inFlight: readonly TransitRecord[];
  readonly entries: readonly EntryRecord[];
}

/** A whole system between two events. Plain data, except that contents may be views of shared memory. */
export interface SystemState extends MessagesState {
  readonly nextTicket: number;
  readonly registry: RegistryState;
  readonly pledges: PledgeState;
  readonly blobs: readonly BlobRecord[];
}

export function messagesOf(inFlight: Iterable<Transit>, entries: Iterable<Entry>): MessagesState {
  return {
    inFlight: [...inFlight].map((transit) => ({ envelope: seal(transit), hasArrived: transit.hasArrived })),
    entries: [...entries]
      .filter(({ current, mailbox }) => current !== null || mailbox.length > 0)
      .map(({ ref, mailbox, current, computation }) => ({
        kind: ref.kind,
        id: ref.id,
        mailbox: mailbox.map(seal),
        current: current === null ? null : { envelope: seal(current), ticket: computation },
      })),
  };
}

/** Fills `inFlight` and `computing`, and the entries found by `entryOf`. */
export function restoreMessages(
  state: MessagesState,
  entryOf: (ref: Ref) => Entry,
  inFlight: NumberMap<Transit>,
  computing: NumberMap<Entry>,
): void {
  for (const { kind, id, mailbox, current } of state.entries) {
    const entry = entryOf({ kind, id });
    const source = `message to ${kind} ${id}`;
    for (const bytes of mailbox) entry.mailbox = appended(entry.mailbox, open(bytes, source));
    if (current === null) continue;
    entry.current = open(current.envelope, source);
    entry.computation = current.ticket;
    computing.set(current.ticket, entry);
  }
  for (const { envelope: bytes, hasArrived } of state.inFlight) {
    const { from, to, sequence, sentAt, stage, message } = open(bytes, "message on its way");
    const sender = from.kind === outside.kind ? null : entryOf(from);
    const transit = new Transit(sender, entryOf(to), sequence, sentAt, stage, message);
    transit.hasArrived = hasArrived;
    inFlight.set(sequence, transit);
    const { device } = transit;
    if (device === null) transit.receiver.expected++;
    else putOn(device, transit);
  }
}
