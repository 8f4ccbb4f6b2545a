/**
 * What a run and its workers say to each other through NATS: msgpack, bounded and checked before it is believed.
 *
 *   flame.<run>.announce   every few seconds: that the run is there, and what it needs of a worker
 *   flame.<run>.task       a work queue; who takes a task says that it is at it until it has acknowledged it
 *   flame.<run>.done       results, another queue of the same stream
 *   flame.<run>.want       a worker asks for content that is not in the object store yet
 *   flame.workers.<id>     every few seconds: that the worker is there, and what it is
 */
import * as z from "zod";
import { InputError } from "../../base/errors.ts";
import { printable } from "../../base/text.ts";
import { decodeUntrusted } from "../messages/codec.ts";

export const subjects = {
  of: (run: string, part: "announce" | "task" | "done" | "want"): string => `flame.${run}.${part}`,
  announcements: "flame.*.announce",
  worker: (id: string): string => `flame.workers.${id}`,
  workers: "flame.workers.*",
};

/** The stream of a run, and the bucket of its contents. */
export const streamOf = (run: string): string => `FLAME_${run}`;
export const workersStream = "FLAME_WORKERS";

/** Real milliseconds without a word after which a worker or a run is held to be gone, and its tasks are given to others. */
export const defaultSilence = 30_000;

/** How often a task is begun before it is given up. */
export const mostAttempts = 10;

const name = z.string().regex(/^[0-9A-Za-z]{1,32}$/);
/** For a terminal: without its control characters. */
const text = z
  .string()
  .max(500)
  .regex(/^\P{Cc}*$/u);
const words = z.string().transform((text) => text.slice(0, 20_000).replaceAll(/[^\P{Cc}\n]/gu, ""));
const count = z.int().min(0);
const content = { digest: z.string().regex(/^[0-9a-f]{64}$/), bytes: count.max(2 ** 32) };

export const contentSchema = z.strictObject(content);

/** What a worker is, by name: version, code, processor. */
const traits = z.record(z.string().max(40), text);

const parcel = z.strictObject({ ...content, inside: z.instanceof(Uint8Array).nullable() });

const identity = z.strictObject({ id: name, host: text, is: traits });

export const announcementSchema = z.strictObject({
  run: name,
  title: text,
  needs: traits,
  setup: contentSchema,
  /** Tasks that its workers do at a time. */
  slots: count,
  over: z.boolean(),
});

export const presenceSchema = z.strictObject({
  worker: identity,
  cores: count,
  /** Tasks at a time. */
  slots: count.max(4_096),
  /** Tasks since it was started. */
  done: count,
  serving: name.nullable(),
  /** Why it does not serve the run it heard of last. */
  refuses: text.nullable(),
});

export const taskSchema = z.strictObject({
  id: count,
  work: text,
  job: parcel,
  blobs: z.array(contentSchema).max(2 ** 16),
});

export const resultSchema = z.strictObject({
  id: count,
  /** 1 for the first. */
  attempt: count,
  worker: identity,
  /** Real milliseconds. */
  took: z.number().min(0),
  reply: parcel,
});

export const replySchema = z.discriminatedUnion("ok", [
  z.strictObject({ ok: z.literal(true), value: z.unknown() }),
  z.strictObject({ ok: z.literal(false), name: text, message: words, stack: words.optional() }),
]);

/** Bytes by their SHA-256. */
export type Content = z.output<typeof contentSchema>;
/** Content inside a message, or null for what is in the store. */
export type Parcel = z.output<typeof parcel>;
export type Traits = z.output<typeof traits>;
export type Identity = z.output<typeof identity>;
export type Announcement = z.output<typeof announcementSchema>;
export type Presence = z.output<typeof presenceSchema>;
export type TaskMessage = z.output<typeof taskSchema>;
export type Result = z.output<typeof resultSchema>;

/** @throws InputError */
export function read<Value>(schema: z.ZodType<Value>, bytes: Uint8Array, source: string): Value {
  const { success, data, error } = schema.safeParse(decodeUntrusted(bytes, source));
  if (success) return data;
  const { path, message } = error.issues[0]!;
  // Names of fields may be a stranger's.
  const problem = printable(`${path.join(".")} ${message}`.slice(0, 500));
  throw new InputError(`${source} is not what it claims to be: ${problem}`);
}

/** Why a worker that is so cannot do what needs that; null when it can. */
export function misfit(needs: Traits, is: Traits): string | null {
  const other = Object.keys(needs).find((trait) => needs[trait] !== is[trait]);
  if (other === undefined) return null;
  return `the run needs ${other} ${needs[other]}, the worker has ${is[other] ?? "none"}`;
}
