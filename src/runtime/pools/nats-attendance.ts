/** Which workers serve a run, by what they say of themselves every few seconds. */

import { InputError } from "../../base/errors.ts";
import type { NatsServer } from "./nats-server.ts";
import { isMissing } from "./nats-stream.ts";
import {
  type Identity,
  misfit,
  type Presence,
  presenceSchema,
  read,
  subjects,
  type Traits,
  workersStream,
} from "./nats-wire.ts";

interface Known extends Presence {
  /** Beats since it was heard. */
  quiet: number;
}

/** Beats without a word after which a worker is held to be gone. */
export const mostQuiet = 10;

/** Workers that are known at a time, and told of as not used: whoever has the credentials of one may claim to be many. */
const mostKnown = 4_096;

export class Attendance {
  readonly #run: string;
  readonly #needs: Traits;
  readonly #note: (text: string) => void;
  readonly #workers = new Map<string, Known>();
  #slots = 0;
  /** Tasks that were done, by host. */
  readonly #done = new Map<string, number>();
  /** Told of already. */
  readonly #refused = new Set<string>();

  /** @param note is told who comes, goes and is not used */
  constructor(run: string, needs: Traits, note: (text: string) => void) {
    this.#run = run;
    this.#needs = needs;
    this.#note = note;
  }

  /** Tasks that they do at a time. */
  get slots(): number {
    return this.#slots;
  }

  /** `31 on lab-1`, for each that has done something. */
  get done(): string[] {
    return [...this.#done].map(([host, tasks]) => `${tasks} on ${host}`);
  }

  credit({ host }: Identity): void {
    this.#done.set(host, (this.#done.get(host) ?? 0) + 1);
  }

  /** @returns whether the worker looks for a run. @throws InputError */
  hear(data: Uint8Array): boolean {
    const presence = read(presenceSchema, data, "what a worker says of itself");
    const { worker, serving, slots, refuses } = presence;
    const problem = misfit(this.#needs, worker.is) ?? (serving === null ? refuses : null);
    if (problem !== null && this.#refused.size < mostKnown && !this.#refused.has(`${worker.id} ${problem}`)) {
      this.#refused.add(`${worker.id} ${problem}`);
      this.#note(`the worker on ${worker.host} is not used: ${problem}`);
    }
    if (problem === null && serving === this.#run) {
      if (!this.#workers.has(worker.id) && this.#workers.size === mostKnown) throw new InputError("too many workers");
      if (!this.#workers.has(worker.id)) this.#note(`the worker on ${worker.host} has come, with ${slots} at a time`);
      this.#slots += slots - (this.#workers.get(worker.id)?.slots ?? 0);
      this.#workers.set(worker.id, { ...presence, quiet: 0 });
    } else this.#leave(worker.id, "has left");
    return serving === null;
  }

  beat(): void {
    for (const [id, worker] of this.#workers) if (++worker.quiet > mostQuiet) this.#leave(id, "has fallen silent");
  }

  #leave(id: string, how: string): void {
    const known = this.#workers.get(id);
    if (known === undefined) return;
    this.#workers.delete(id);
    this.#slots -= known.slots;
    this.#note(`the worker on ${known.worker.host} ${how}`);
  }
}

export interface Listed extends Presence {
  /** By the server's clock. */
  readonly heard: Date;
}

/** Workers that were heard within the last hour and have not taken their leave, by host. */
export async function listWorkers({ manager }: NatsServer): Promise<Listed[]> {
  const found: Listed[] = [];
  try {
    const { state } = await manager.streams.info(workersStream, { subjects_filter: subjects.workers });
    for (const subject of Object.keys(state.subjects ?? {})) {
      const message = await manager.streams.getMessage(workersStream, { last_by_subj: subject });
      if (message === null) continue;
      const presence = read(presenceSchema, message.data, "what a worker says of itself");
      if (presence.slots > 0) found.push({ ...presence, heard: message.time });
    }
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  return found.sort((a, b) => (a.worker.host < b.worker.host ? -1 : 1));
}
