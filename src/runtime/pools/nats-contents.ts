/** Contents of a run at a worker: asked for, fetched by their digest, and kept while there is room. */
import { InputError } from "../../base/errors.ts";
import { insist } from "./nats-insist.ts";
import type { NatsServer } from "./nats-server.ts";
import { beyond, type ContentStore } from "./nats-store.ts";
import { type Content, mostAttempts, type Parcel, subjects } from "./nats-wire.ts";

/** Content of the run by its digest, fetched once. */
export type Fetch = (content: Content) => Promise<Uint8Array>;

export interface ContentsOptions {
  readonly server: NatsServer;
  /** Bytes of content that are kept in memory. */
  readonly cache?: number;
}

/** Real milliseconds after which a run is asked again: the server may have lost the question when it was started again. */
const supplyTime = 5_000;

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

  /** @param isOver whether nobody needs it any more */
  unpack(parcel: Parcel, isOver: () => boolean): Promise<Uint8Array> {
    return this.#store.unpack(parcel, (content) => this.get(content, isOver));
  }

  /** As {@link fetch}, and keeps it while there is room. */
  get({ digest, bytes }: Content, isOver: () => boolean): Promise<Uint8Array> {
    const kept = this.#kept.get(digest) ?? { content: this.fetch({ digest, bytes }, isOver), bytes };
    this.#kept.delete(digest);
    this.#kept.set(digest, kept);
    kept.content.catch(() => this.#kept.delete(digest));
    beyond(this.#kept, this.#options.cache ?? 2 ** 31);
    return kept.content;
  }

  /** @param isOver whether nobody needs it any more */
  fetch(content: Content, isOver: () => boolean): Promise<Uint8Array> {
    const { connection } = this.#options.server;
    let tries = 0;
    // The server or the run may be on its way back: only what is answered counts as a try.
    return insist(
      async () => {
        const said = await connection.request(subjects.of(this.#run, "want"), content.digest, { timeout: supplyTime });
        const problem = said.string();
        tries = problem === "" ? tries + 1 : mostAttempts;
        if (problem === "") return this.#store.get(content);
        throw new InputError(`content ${content.digest.slice(0, 12)}: ${problem.slice(0, 200)}`);
      },
      () => isOver() || tries >= mostAttempts,
    );
  }
}
