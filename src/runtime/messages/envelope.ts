/**
 * A message on its way. On the wire it is msgpack with a header and a checksum at its end; on the thread where both
 * ends live its decoded form is at hand, so bytes are written only where bytes are needed: in a snapshot, and when the
 * network damages them. The size is that of the bytes in either case.
 *
 *   [version, from, to, sequence, sentAt, leg, participation, round, references, message] ‖ CRC-32
 */
import { crc32 } from "node:zlib";
import { InputError, InvariantError } from "../../base/errors.ts";
import type { ParticipationId, Round } from "../../base/ids.ts";
import { formatBytes, type Millis } from "../../base/units.ts";
import type { Leg } from "../../sim/flight/environment.ts";
import { decodeUntrusted, pack } from "./codec.ts";
import { Form } from "./forms.ts";
import { numberSize, References, stringSize, wordSize } from "./plain.ts";
import type { Protocol, Ref } from "./refs.ts";
import { type Held, keyOf } from "./refs.ts";

/** Its fields are one by one what the constructor takes, so that sending makes one object and not two. */
export class Envelope {
  readonly from: Ref;
  readonly to: Ref;
  /** Rises over the whole run, and so within each pair of sender and receiver. */
  readonly sequence: number;
  readonly sentAt: Millis;
  /** Null for messages that do not cross the network. */
  readonly leg: Leg | null;
  readonly message: Protocol;
  /** The message's own, like the two below: whoever handles messages of all kinds finds it here faster. */
  readonly type: string;
  readonly participation: ParticipationId | null;
  readonly round: Round | null;
  /** What the message refers to, each once. */
  readonly refs: readonly Held[];
  /** The envelope's own bytes and those of everything it refers to. */
  readonly bytes: number;

  constructor(from: Ref, to: Ref, sequence: number, sentAt: Millis, leg: Leg | null, message: Protocol) {
    this.from = from;
    this.to = to;
    this.sequence = sequence;
    this.sentAt = sentAt;
    this.leg = leg;
    this.message = message;
    this.type = message.type;
    this.participation = message.participation ?? null;
    this.round = message.round ?? null;
    found.clear();
    const own = ownBytes(this, found);
    this.refs = found.take();
    let bytes = own + referencesSize(this.refs);
    if (bytes > maxEnvelopeBytes) {
      const [takes, most] = [formatBytes(bytes), formatBytes(maxEnvelopeBytes)];
      throw new InvariantError(`message "${message.type}" takes ${takes}, expected at most ${most}`);
    }
    for (const ref of this.refs) bytes += ref.bytes;
    this.bytes = bytes;
  }
}

const version = 1;
const checksumBytes = 4;
const legs: readonly unknown[] = ["download", "upload", "acknowledge", null];

/** Larger content belongs into a blob. */
export const maxEnvelopeBytes = 64 * 2 ** 20;

/** By type of message. */
const forms = new Map<string, Form>();
/** Of the message sent last: many go out in a row. */
let latestType = "";
let latestForm = new Form();
const found = new References();

/** Header, message and checksum; references come on top. */
function ownBytes(envelope: Envelope, refs: References): number {
  const { from, to, sequence, sentAt, leg, message, round, participation } = envelope;
  let size = 2 + 1 + wordSize(from.kind) + numberSize(from.id) + 1 + wordSize(to.kind) + numberSize(to.id);
  size += numberSize(sequence) + numberSize(sentAt) + (leg === null ? 1 : wordSize(leg));
  size += (round === null ? 1 : numberSize(round)) + (participation === null ? 1 : numberSize(participation));
  return size + formOf(envelope.type).measure(message, refs) + checksumBytes;
}

function formOf(type: string): Form {
  if (type === latestType) return latestForm;
  let form = forms.get(type);
  if (form === undefined) {
    // Types are few, unless somebody makes them up to fill memory.
    if (forms.size >= 1_000) forms.clear();
    form = new Form();
    forms.set(type, form);
  }
  latestType = type;
  latestForm = form;
  return form;
}

/** The envelope as bytes, `bytes` less those of its references. */
export function seal(envelope: Omit<Envelope, "type">): Uint8Array {
  const { from, to, sequence, sentAt, leg, participation, round, refs, message } = envelope;
  const body = pack([
    version,
    [from.kind, from.id],
    [to.kind, to.id],
    sequence,
    sentAt,
    leg,
    participation,
    round,
    refs.map(keyOf),
    message,
  ]);
  const bytes = new Uint8Array(body.length + checksumBytes);
  bytes.set(body);
  new DataView(bytes.buffer).setUint32(body.length, crc32(body));
  return bytes;
}

/**
 * Reads bytes from the wire or from a checkpoint.
 *
 * @throws InputError and nothing else, whatever the bytes
 */
export function open(bytes: Uint8Array, source = "envelope"): Envelope {
  const fail = (problem: string): never => {
    throw new InputError(`${source} ${problem}`);
  };
  if (bytes.length <= checksumBytes || bytes.length > maxEnvelopeBytes) {
    fail(`has ${bytes.length} bytes, expected ${checksumBytes + 1} to ${maxEnvelopeBytes}`);
  }
  const body = bytes.subarray(0, bytes.length - checksumBytes);
  const stated = new DataView(bytes.buffer, bytes.byteOffset).getUint32(body.length);
  const found = crc32(body);
  if (stated !== found) fail(`is damaged: its checksum is ${hex(found)}, expected ${hex(stated)}`);
  const fields = decodeUntrusted(body, source);
  if (!Array.isArray(fields) || fields.length !== 10) return fail("is not a list of 10 fields");
  const [stamp, from, to, sequence, sentAt, leg, participation, round, references, message] = fields as unknown[];
  if (stamp !== version) fail(`has version ${String(stamp)}, expected ${version}`);
  if (!isAddress(from) || !isAddress(to)) return fail("has no sender or no receiver");
  if (!isCount(sequence) || !isCount(sentAt)) return fail("has no sequence number or no time");
  if (!legs.includes(leg)) fail("has an unknown leg");
  if ([participation, round].some((number) => number !== null && !isCount(number))) fail("has no round");
  if (!isProtocol(message, participation, round)) return fail("holds no message");
  const [sender, receiver] = [from, to].map(([kind, id]): Ref => ({ kind, id })) as [Ref, Ref];
  const known = guarded(
    source,
    () => new Envelope(sender, receiver, sequence, sentAt as Millis, leg as Leg | null, message),
  );
  const keys = known.refs.map(keyOf);
  if (!Array.isArray(references) || keys.length !== references.length || keys.some((key, i) => key !== references[i])) {
    fail("names other references than its message");
  }
  return known;
}

/** The envelope with one bit turned, as a bad network would deliver it. Which bit depends on the sequence number. */
export function damaged(envelope: Envelope): Uint8Array {
  const bytes = seal(envelope);
  const bit = (envelope.sequence * 40_503) % (8 * bytes.length);
  bytes[bit >> 3]! ^= 1 << (bit & 7);
  return bytes;
}

function referencesSize(refs: readonly Held[]): number {
  let size = refs.length < 0x10 ? 1 : refs.length < 0x10000 ? 3 : 5;
  for (const ref of refs) size += ref.ref === "blob" ? stringSize(ref.digest) : numberSize(ref.id);
  return size;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const isAddress = (value: unknown): value is [kind: string, id: number] =>
  Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && isCount(value[1]);

/** The header repeats the message's round and participation, for those who do not read messages. */
function isProtocol(value: unknown, participation: unknown, round: unknown): value is Protocol {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const fields = value as Record<string, unknown>;
  const same = (field: unknown, header: unknown) => (field ?? null) === header;
  return typeof fields.type === "string" && same(fields.round, round) && same(fields.participation, participation);
}

/** Plainness was checked while decoding; what is left to go wrong are references that are none. */
function guarded<Value>(source: string, read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw new InputError(`${source} holds a damaged message`, { cause: error });
  }
}

const hex = (value: number): string => value.toString(16).padStart(8, "0");
