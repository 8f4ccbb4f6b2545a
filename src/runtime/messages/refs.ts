/**
 * What messages are, whom they can reach, and what they refer to without carrying it: content in shared memory, and
 * content that does not exist yet.
 *
 * All of it is plain data, so it fits into messages, states and recipes. On the simulated wire a reference counts with
 * the full size of what it stands for.
 */
import * as z from "zod";
import { whole, wholeAs } from "../../base/fields.ts";
import type { ParticipationId, Round } from "../../base/ids.ts";

/**
 * What every message has. A protocol is a union of such types, of plain data that nobody changes once it is sent.
 * Messages between the server's side and a device name the round and the participation they belong to.
 */
export interface Protocol {
  readonly type: string;
  readonly round?: Round;
  readonly participation?: ParticipationId;
}

declare const accepts: unique symbol;

/** The address of an actor that takes `Message`; plain data. A client's id is its row in the fleet. */
export interface Ref<Message = never> {
  readonly kind: string;
  /** A whole number in [0, 2^32). */
  readonly id: number;
  /** Never present; keeps addresses of different protocols apart. */
  readonly [accepts]?: (message: Message) => void;
}

/** Bytes in the blob store, named by their SHA-256. */
export interface BlobRef {
  readonly ref: "blob";
  /** 64 lower-case hex digits. */
  readonly digest: string;
  readonly bytes: number;
}

declare const result: unique symbol;

/** Work that is decided but not done: its recipe and size are known, its bytes are not. */
export interface PledgeRef<Result = unknown> {
  readonly ref: "pledge";
  readonly id: number;
  /** What the result would weigh on the wire. */
  readonly bytes: number;
  /** Never present; lets `open` know the type of the result. */
  readonly [result]?: Result;
}

/** Anything that is kept alive by those who hold it. */
export type Held = BlobRef | PledgeRef;

export const blobSchema: z.ZodType<BlobRef> = z.strictObject({
  ref: z.literal("blob"),
  digest: z.string(),
  bytes: whole,
});
export const pledgeSchema = <Result = unknown>(): z.ZodType<PledgeRef<Result>> =>
  z.strictObject({ ref: z.literal("pledge"), id: whole, bytes: whole });
export const heldSchema = z.union([blobSchema, pledgeSchema()]);
export const refFields = { kind: z.string(), id: wholeAs<number>(2 ** 32 - 1) };
export const refSchema: z.ZodType<Ref> = z.strictObject(refFields);

/** What tells two references apart: the digest of a blob, the number of a pledge. */
export const keyOf = (held: Held): string | number => (held.ref === "blob" ? held.digest : held.id);

export const sameRef = (a: Held, b: Held): boolean => a === b || (a.ref === b.ref && keyOf(a) === keyOf(b));
