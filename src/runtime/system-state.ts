/** The messages of a system as plain data: on their way, in mailboxes, and in turns that wait for their work. */
import * as z from "zod";
import { InputError } from "../base/errors.ts";
import { bytes, whole } from "../base/fields.ts";
import type { NumberMap } from "../base/number-map.ts";
import { parseInput } from "../base/problem.ts";
import { type Entry, outside, putOn, Transit } from "./entry.ts";
import { blobRecordSchema } from "./messages/blobs.ts";
import { type Envelope, open, seal } from "./messages/envelope.ts";
import { appended } from "./messages/lists.ts";
import { type Ref, refFields } from "./messages/refs.ts";
import { pledgesSchema } from "./pledges.ts";
import { type Registry, registrySchema } from "./registry.ts";

const messagesSchema = z.strictObject({
  /** In the order of sending. */
  inFlight: z.array(z.strictObject({ envelope: bytes, hasArrived: z.boolean() })),
  entries: z.array(
    z.strictObject({
      ...refFields,
      mailbox: z.array(bytes),
      /** The turn that waits for its work. */
      current: z.strictObject({ envelope: bytes, ticket: whole }).nullable(),
    }),
  ),
});
type MessagesState = Readonly<z.output<typeof messagesSchema>>;

/** A whole system between two events. Plain data, except that contents may be views of shared memory. */
export const systemSchema = z.strictObject({
  nextTicket: whole,
  ...messagesSchema.shape,
  registry: registrySchema,
  pledges: pledgesSchema,
  blobs: z.array(blobRecordSchema).readonly(),
});
export type SystemState = Readonly<z.output<typeof systemSchema>>;

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

interface Restored {
  readonly registry: Registry;
  readonly inFlight: NumberMap<Transit>;
  readonly computing: NumberMap<Entry>;
  /** Is shown every message. */
  inspect(message: unknown, place: string): void;
}

/**
 * Fills `inFlight`, `computing` and the entries of the registry.
 *
 * @throws InputError for a message that its receiver does not understand, or a ticket that was not given out once
 */
export function restoreMessages(state: SystemState, { registry, inFlight, computing, inspect }: Restored): void {
  const entryOf = (ref: Ref, place: string): Entry => {
    if (registry.kindOf(ref) === undefined) throw new InputError(`${place}: nobody is of the kind "${ref.kind}"`);
    return registry.entry(ref);
  };
  const read = (bytes: Uint8Array, receiver: Ref | null, place: string): Envelope => {
    const envelope = open(bytes, place);
    const { kind } = entryOf(receiver ?? envelope.to, place);
    if (kind.definition.schemas !== undefined) parseInput(place, kind.definition.schemas.message, envelope.message);
    inspect(envelope.message, place);
    return envelope;
  };
  const given = new Set<number>();
  const give = (ticket: number, place: string): void => {
    if (ticket === 0 || ticket >= state.nextTicket || given.has(ticket)) {
      throw new InputError(`${place} has ticket ${ticket}, expected one of its own in [1, ${state.nextTicket})`);
    }
    given.add(ticket);
  };
  for (const [at, { kind, id, mailbox, current }] of state.entries.entries()) {
    const place = `entries[${at}]`;
    const entry = entryOf({ kind, id }, place);
    for (const [index, bytes] of mailbox.entries()) {
      entry.mailbox = appended(entry.mailbox, read(bytes, entry.ref, `${place}.mailbox[${index}]`));
    }
    if (current === null) continue;
    give(current.ticket, `${place}.current`);
    entry.current = read(current.envelope, entry.ref, `${place}.current`);
    entry.computation = current.ticket;
    computing.set(current.ticket, entry);
  }
  for (const [at, { envelope: bytes, hasArrived }] of state.inFlight.entries()) {
    const place = `inFlight[${at}]`;
    const { from, to, sequence, sentAt, stage, message } = read(bytes, null, place);
    give(sequence, place);
    const sender = from.kind === outside.kind ? null : entryOf(from, place);
    const transit = new Transit(sender, registry.entry(to), sequence, sentAt, stage, message);
    const { device } = transit;
    if (stage !== null && device?.kind.isDevice !== true)
      throw new InputError(`${place} goes over the network, but neither end is a device`);
    transit.hasArrived = hasArrived;
    inFlight.set(sequence, transit);
    if (device === null) transit.receiver.expected++;
    else putOn(device, transit);
  }
}
