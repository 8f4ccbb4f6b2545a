/**
 * A message on its way. When it is sent it is encoded, and what the network meters are those bytes; they are kept only
 * where they are needed, in a snapshot and when the network damages them. Otherwise the receiver, which lives on the
 * same thread, is given the message itself: plain data that nobody changes.
 *
 *   [version, from, to, sequence, sentAt, stage, participation, round, references, message] ‖ CRC-32
 */
import { crc32 } from "node:zlib";
import { InputError, InvariantError } from "../../base/errors.ts";
import type { ParticipationId, Round } from "../../base/ids.ts";
import { formatBytes, type Millis } from "../../base/units.ts";
import { type MessageStage, messageStages } from "../../sim/flight/stages.ts";
import { decodeUntrusted, encode } from "./codec.ts";
import { headLength, inspect, numberLength, textLength } from "./plain.ts";
import { type Held, keyOf, type Protocol, type Ref } from "./refs.ts";

export class Envelope {
  readonly from: Ref;
  readonly to: Ref;
  /** Rises over the whole run, and so within each pair of sender and receiver. */
  readonly sequence: number;
  readonly sentAt: Millis;
  /** Null for messages that do not cross the network. */
  readonly stage: MessageStage | null;
  readonly message: Protocol;
  /** The message's own, like the two below. */
  readonly type: string;
  readonly participation: ParticipationId | null;
  readonly round: Round | null;
  /** What the message refers to, each once. */
  readonly refs: readonly Held[];
  /** The envelope's own bytes, checksum included, and those of everything it refers to. */
  readonly bytes: number;

  /** @throws InvariantError when the message is not plain data, or too large */
  constructor(from: Ref, to: Ref, sequence: number, sentAt: Millis, stage: MessageStage | null, message: Protocol) {
    this.from = from;
    this.to = to;
    this.sequence = sequence;
    this.sentAt = sentAt;
    this.stage = stage;
    this.message = message;
    this.type = message.type;
    this.participation = message.participation ?? null;
    this.round = message.round ?? null;
    const inspection = inspect(message);
    this.refs = inspection.refs;
    let bytes = headerLength(this) + inspection.length + checksumBytes;
    if (bytes > maxEnvelopeBytes) {
      const [takes, most] = [formatBytes(bytes), formatBytes(maxEnvelopeBytes)];
      throw new InvariantError(`message "${message.type}" takes ${takes}, expected at most ${most}`);
    }
    for (const ref of this.refs) bytes += ref.bytes;
    this.bytes = bytes;
  }
}

const version = 1;
const fieldCount = 10;
const checksumBytes = 4;
const known: readonly unknown[] = [...messageStages, null];

/** Larger content belongs into a blob. */
const maxEnvelopeBytes = 64 * 2 ** 20;

const fieldsOf = ({ from, to, sequence, sentAt, stage, participation, round, refs, message }: Envelope): unknown[] => [
  version,
  [from.kind, from.id],
  [to.kind, to.id],
  sequence,
  sentAt,
  stage,
  participation,
  round,
  refs.map(keyOf),
  message,
];

/** Length of all fields but the message. They are numbers and short words, and making a list of them takes longer. */
function headerLength({ from, to, sequence, sentAt, stage, participation, round, refs }: Envelope): number {
  let length = 2 + 1 + textLength(from.kind) + numberLength(from.id) + 1 + textLength(to.kind) + numberLength(to.id);
  length += numberLength(sequence) + numberLength(sentAt) + (stage === null ? 1 : textLength(stage));
  length += (participation === null ? 1 : numberLength(participation)) + (round === null ? 1 : numberLength(round));
  length += headLength(refs.length, 0x10);
  for (const ref of refs) length += ref.ref === "blob" ? textLength(ref.digest) : numberLength(ref.id);
  return length;
}

/** The envelope as bytes, `bytes` less those of its references. */
export const seal = (envelope: Envelope): Uint8Array => stamped(encode(fieldsOf(envelope)));

/**
 * Reads bytes from the wire or from a checkpoint.
 *
 * @throws InputError and nothing else, whatever the bytes
 */
export function open(content: Uint8Array, source = "envelope"): Envelope {
  const fail = (problem: string): never => {
    throw new InputError(`${source} ${problem}`);
  };
  if (content.length <= checksumBytes || content.length > maxEnvelopeBytes) {
    fail(`has ${content.length} bytes, expected ${checksumBytes + 1} to ${maxEnvelopeBytes}`);
  }
  const body = content.subarray(0, content.length - checksumBytes);
  const stated = new DataView(content.buffer, content.byteOffset).getUint32(body.length);
  const actual = crc32(body);
  if (stated !== actual) fail(`is damaged: its checksum is ${hex(actual)}, expected ${hex(stated)}`);
  const fields = decodeUntrusted(body, source);
  if (!Array.isArray(fields) || fields.length !== fieldCount) return fail(`is not a list of ${fieldCount} fields`);
  const [stamp, from, to, sequence, sentAt, stage, participation, round, references, message] = fields as unknown[];
  if (stamp !== version) fail(`has version ${String(stamp)}, expected ${version}`);
  if (!isAddress(from) || !isAddress(to)) return fail("has no sender or no receiver");
  if (!isCount(sequence) || !isCount(sentAt)) return fail("has no sequence number or no time");
  if (!known.includes(stage)) fail("has an unknown stage");
  if ([participation, round].some((number) => number !== null && !isCount(number))) fail("has no round");
  if (!isProtocol(message, participation, round)) return fail("holds no message");
  const [sender, receiver] = [from, to].map(([kind, id]): Ref => ({ kind, id })) as [Ref, Ref];
  const envelope = guarded(
    source,
    () => new Envelope(sender, receiver, sequence, sentAt as Millis, stage as MessageStage | null, message),
  );
  if (!isListOf(references, envelope.refs.map(keyOf))) fail("names other references than its message");
  return envelope;
}

/** The envelope with one bit turned, as a bad network would deliver it. Which bit depends on the sequence number. */
export function damaged(envelope: Envelope): Uint8Array {
  const bytes = seal(envelope);
  const bit = (envelope.sequence * 40_503) % (8 * bytes.length);
  bytes[bit >> 3]! ^= 1 << (bit & 7);
  return bytes;
}

/** @internal The body with its checksum. CRC-32 finds every single flipped bit and every burst of up to 32. */
export function stamped(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + checksumBytes);
  bytes.set(body);
  new DataView(bytes.buffer).setUint32(body.length, crc32(body));
  return bytes;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const isAddress = (value: unknown): value is [kind: string, id: number] =>
  Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && isCount(value[1]);

const isListOf = (value: unknown, keys: readonly unknown[]): boolean =>
  Array.isArray(value) && value.length === keys.length && keys.every((key, at) => key === value[at]);

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
