/** Contents of a run at a worker: asked for, fetched by their digest, and kept while there is room. */
import { InputError } from "../../base/errors.ts";
import type { NatsServer } from "./nats-server.ts";
import { beyond, type ContentStore } from "./nats-store.ts";
import { type Content, mostAttempts, subjects } from "./nats-wire.ts";

/** Content of the run by its digest, fetched once. */
export type Fetch = (content: Content) => Promise<Uint8Array>;

export interface ContentsOptions {
  readonly server: NatsServer;
  /** Bytes of content that are kept in memory. */
  readonly cache?: number;
}

/** Real milliseconds that a run may take to put content into the store. */
const supplyTime = 120_000;

export class Contents {
  readonly #options: ContentsOptions;
  readonly #run: string;
  readonly #store: ContentStore;
  /** The least recently used first. */
  readonly #kept = new Map<string, { readonly content: Promise<Uint8Array>; readonly bytes: number }>();

  constructor(options: ContentsOptions, run: string, store: ContentStore) {
    this.#options = options;
    this.#run = run;
    this.#store = store;
  }

  get pack(): ContentStore["pack"] {
    return (content) => this.#store.pack(content);
  }

  get unpack(): ContentStore["unpack"] {
    return (parcel) => this.#store.unpack(parcel);
  }

  /** @param isOver whether nobody needs it any more */
  get({ digest, bytes }: Content, isOver: () => boolean): Promise<Uint8Array> {
    const kept = this.#kept.get(digest) ?? { content: this.#fetch({ digest, bytes }, isOver), bytes };
    this.#kept.delete(digest);
    this.#kept.set(digest, kept);
    kept.content.catch(() => this.#kept.delete(digest));
    beyond(this.#kept, this.#options.cache ?? 2 ** 31);
    return kept.content;
  }

  async #fetch(content: Content, isOver: () => boolean): Promise<Uint8Array> {
    const { connection } = this.#options.server;
    let tries = 0;
    // The server or the run may be on its way back.
    return insist(
      async () => {
        const said = await connection.request(subjects.of(this.#run, "want"), content.digest, { timeout: supplyTime });
        const problem = said.string();
        if (problem === "") return this.#store.get(content);
        tries = mostAttempts;
        throw new InputError(`content ${content.digest.slice(0, 12)}: ${problem.slice(0, 200)}`);
      },
      () => isOver() || ++tries >= mostAttempts,
    );
  }
}

/** Tries until it works or is over. */
export async function insist<Value>(action: () => Promise<Value>, isOver: () => boolean): Promise<Value> {
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (isOver()) throw error;
      await delay(300);
    }
  }
}

export const delay = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
