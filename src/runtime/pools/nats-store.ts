/** What is too large for a message: content by its digest, in the object store of a run. */
import type { ObjectStore } from "@nats-io/obj";
import { sha256 } from "../../base/digest.ts";
import { InputError, messageOf } from "../../base/errors.ts";
import { printable } from "../../base/text.ts";
import { insist } from "./nats-insist.ts";
import type { Content, Parcel } from "./nats-wire.ts";

/** Real milliseconds without a byte after which a download is given up; it is asked for again. */
const patience = 30_000;

export class ContentStore {
  readonly #objects: ObjectStore;
  readonly #largest: number;

  /** @param largest bytes of content that a message holds */
  constructor(objects: ObjectStore, largest: number) {
    this.#objects = objects;
    this.#largest = largest;
  }

  async put(digest: string, content: Uint8Array): Promise<void> {
    const options = { max_chunk_size: Math.min(this.#largest, 2 ** 17) };
    await this.#objects.putBlob({ name: digest, options }, content);
  }

  /**
   * In shared memory, for worker threads.
   *
   * @throws InputError when it is not there, or not what its digest says
   */
  async get({ digest, bytes }: Content): Promise<Uint8Array<SharedArrayBuffer>> {
    const found = await this.#objects.get(digest);
    if (found === null) throw new InputError(`content ${digest.slice(0, 12)} is not in the object store`);
    const wrong = (what: string) => new InputError(`content ${digest.slice(0, 12)} ${what}`);
    if (found.info.size !== bytes) throw wrong(`has ${found.info.size} bytes in the object store, expected ${bytes}`);
    const content = new Uint8Array(new SharedArrayBuffer(bytes));
    const reader = found.data.getReader();
    let at = 0;
    try {
      for (;;) {
        const { done, value } = await inTime(reader.read(), () => wrong(`stopped coming after ${at} bytes`));
        if (done) break;
        if (at + value.length > bytes) throw wrong(`is longer than the ${bytes} bytes that were expected`);
        content.set(value, at);
        at += value.length;
      }
    } finally {
      reader.cancel().catch(() => undefined);
    }
    const is = sha256(content);
    if (is !== digest) throw wrong(`has the digest ${is.slice(0, 12)}`);
    return content;
  }

  /** What is gone already is no matter. */
  async delete(digest: string): Promise<void> {
    await this.#objects.delete(digest).catch(() => undefined);
  }

  async destroy(): Promise<void> {
    await this.#objects.destroy();
  }

  /** As a part of a message, unless it is too large for one. */
  wrap(content: Uint8Array<ArrayBuffer>): Parcel {
    const inside = content.length <= this.#largest ? content : null;
    return { digest: sha256(content), bytes: content.length, inside };
  }

  /** The same; what is too large goes to the store first. */
  async pack(content: Uint8Array<ArrayBuffer>): Promise<Parcel> {
    const parcel = this.wrap(content);
    if (parcel.inside === null) await this.put(parcel.digest, content);
    return parcel;
  }

  /**
   * @param fetch gets what is in no message
   * @throws InputError when it is not what its digest says
   */
  async unpack(
    { inside, ...content }: Parcel,
    fetch = (content: Content): Promise<Uint8Array> => this.get(content),
  ): Promise<Uint8Array> {
    if (inside === null) return fetch(content);
    if (inside.length === content.bytes && sha256(inside) === content.digest) return inside;
    throw new InputError(`content ${content.digest.slice(0, 12)} has the digest ${sha256(inside).slice(0, 12)}`);
  }
}

/** Bytes of content in the store, beyond which the oldest goes; it is stored again when somebody asks. */
const storeLimit = 2 ** 32;

export interface SupplyOptions {
  /** @throws where there is no such content, or no longer */
  find(digest: string): Uint8Array;
  onProblem(text: string, error: unknown): void;
  /** Whether there is no server any more. */
  isOver(): boolean;
}

/** Puts content into the store when a worker asks for it, once for all of them. */
export class Supply {
  readonly #store: ContentStore;
  readonly #options: SupplyOptions;
  /** By digest, the oldest first. */
  readonly #stored = new Map<string, { readonly done: Promise<void>; readonly bytes: number }>();

  constructor(store: ContentStore, options: SupplyOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** @param respond is told nothing when the content is there, else what is wrong */
  async answer(digest: string, respond: (text: string) => void): Promise<void> {
    try {
      if (!/^[0-9a-f]{64}$/.test(digest)) throw new InputError("it is no digest");
      await (this.#stored.get(digest)?.done ?? this.#upload(digest));
      respond("");
    } catch (error) {
      const text = `a worker asked for content ${printable(digest.slice(0, 12))}: ${messageOf(error)}`;
      this.#options.onProblem(text, error);
      respond(messageOf(error));
    }
  }

  /** Removes from the store what a worker put there, unless it claims what is the run's. */
  discard({ digest, inside }: Parcel): void {
    if (inside === null && !this.#stored.has(digest)) void this.#store.delete(digest);
  }

  #upload(digest: string): Promise<void> {
    const content = this.#options.find(digest);
    const done = insist(() => this.#store.put(digest, content), this.#options.isOver);
    this.#stored.set(digest, { done, bytes: content.length });
    done.catch(() => this.#stored.delete(digest));
    for (const oldest of beyond(this.#stored, storeLimit)) void this.#store.delete(oldest);
    return done;
  }
}

/** Takes the oldest entries out of what is larger than `limit`, but for the newest. @returns their keys */
export function beyond(entries: Map<string, { readonly bytes: number }>, limit: number): string[] {
  const removed: string[] = [];
  let size = [...entries.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  for (const [oldest, { bytes }] of entries) {
    if (size <= limit || entries.size === 1) break;
    entries.delete(oldest);
    removed.push(oldest);
    size -= bytes;
  }
  return removed;
}

async function inTime<Value>(work: Promise<Value>, late: () => Error): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), patience);
  });
  try {
    return await Promise.race([work, limit]);
  } catch (error) {
    throw error instanceof InputError ? error : new InputError(messageOf(error), { cause: error });
  } finally {
    clearTimeout(timer);
  }
}
