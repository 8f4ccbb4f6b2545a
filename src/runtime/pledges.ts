/**
 * Decide first, work second. A pledge is content whose bytes do not exist yet, but whose size and recipe do: a client's
 * update travels through the simulated network as a pledge, and the training behind it is done when somebody opens it.
 * A pledge nobody opens costs nothing.
 *
 *   pledged ──start──▶ begun ──open──▶ opened ──▶ dropped (when nobody holds it any more)
 *
 * A pledge keeps the blobs its recipe reads until it is opened or dropped. Opened results stay until dropped, and go
 * into a snapshot as they are; of work begun and not yet opened a snapshot has the recipe only, since how far it got
 * depends on the machine. Doing it again gives the same bytes.
 */

import * as z from "zod";
import { buggify } from "../base/buggify.ts";
import { InputError, InvariantError, invariant } from "../base/errors.ts";
import { whole } from "../base/fields.ts";
import { NumberMap } from "../base/number-map.ts";
import { parseInput, show } from "../base/problem.ts";
import type { Snapshot } from "../base/snapshot.ts";
import type { BlobStore } from "./messages/blobs.ts";
import { none } from "./messages/lists.ts";
import { inspect } from "./messages/plain.ts";
import type { BlobRef, PledgeRef } from "./messages/refs.ts";
import type { WorkPool } from "./pools/pool.ts";

/** Results that may wait to be opened, for each worker: enough that none waits for one slow job at the head of the line. */
const aheadPerWorker = 4;

/** Jobs that are cut into groups at a time: a constant, since who shares a call reaches the result. */
const gatheredAtOnce = 256;

/** What to do, and what its result will weigh. */
export interface Recipe<Job = unknown> {
  /** Names the worker's handler. */
  readonly work: string;
  /** Plain data; may refer to blobs. */
  readonly job: Job;
  /** Size of the result on the wire. */
  readonly bytes: number;
}

/**
 * Work of one kind that is done several jobs at a time. It begins when it is opened, not when it is started: only then is
 * it known which jobs there will be, and in which order, whatever the machine was doing meanwhile.
 */
export interface Gathering {
  /** The kind of work. */
  readonly work: string;
  /** The handler that does several at once, from {@link GatheredJob} to {@link GatheredResult}. */
  readonly together: string;
  /** Cuts jobs into groups, by index: a function of the jobs and their order alone. */
  group(jobs: readonly unknown[]): readonly (readonly number[])[];
  /** Told of what went otherwise than planned. */
  onProblem(problem: string): void;
}

export interface GatheredJob<Job = unknown> {
  readonly jobs: readonly Job[];
}

export interface GatheredResult<Result = unknown> {
  /** In the order of the jobs. */
  readonly results: readonly Result[];
  /** What went otherwise than planned, in words. */
  readonly problems: readonly string[];
}

export const pledgesSchema = z.strictObject({
  next: whole,
  pledges: z.array(
    z.strictObject({
      id: whole,
      recipe: z.strictObject({ work: z.string(), job: z.unknown(), bytes: whole }),
      holders: whole,
      /** Present once opened. */
      result: z.strictObject({ value: z.unknown() }).exactOptional(),
    }),
  ),
});
type PledgeState = Readonly<z.output<typeof pledgesSchema>>;

/** What a kind of work takes and gives: by these what a checkpoint says of it is checked. */
export interface WorkSchemas {
  readonly job: z.ZodType;
  readonly result: z.ZodType;
}

/** Since this process began. */
export interface PledgeCounts {
  /** Handed to the pool: by `start` or by `open`. */
  readonly begun: number;
  readonly opened: number;
  /** Dropped without having been opened. */
  readonly discarded: number;
}

interface Pledge {
  readonly recipe: Recipe;
  readonly blobs: readonly BlobRef[];
  holders: number;
  /** The work going on, begun in this process. */
  work: Promise<unknown> | null;
  result: { readonly value: unknown } | null;
  isOpened: boolean;
  isDropped: boolean;
}

export class PledgeStore implements Snapshot<PledgeState> {
  readonly #pool: WorkPool;
  readonly #blobs: BlobStore;
  readonly #gathering: Gathering | null;
  readonly #pledges = new NumberMap<Pledge>();
  /** Begun and not opened, so that their results pile up; those that weigh nothing do not count. */
  readonly #ahead = new Set<Pledge>();
  #next = 0;
  #begun = 0;
  #opened = 0;
  #discarded = 0;

  constructor(pool: WorkPool, blobs: BlobStore, gathering: Gathering | null = null) {
    this.#pool = pool;
    this.#blobs = blobs;
    this.#gathering = gathering;
  }

  /** Workers may come and go. */
  get #mostAhead(): number {
    return aheadPerWorker * Math.max(1, this.#pool.workers);
  }

  /** Pledges that somebody holds, opened ones included. */
  get outstanding(): number {
    return this.#pledges.size;
  }

  get counts(): PledgeCounts {
    return { begun: this.#begun, opened: this.#opened, discarded: this.#discarded };
  }

  pledge(recipe: Recipe): PledgeRef {
    const { bytes } = recipe;
    invariant(
      Number.isSafeInteger(bytes) && bytes >= 0,
      () => `"${recipe.work}" is pledged with ${bytes} bytes, expected a whole number`,
    );
    const id = this.#next++;
    const blobs = blobsOf(recipe);
    for (const blob of blobs) this.#blobs.retain(blob);
    this.#pledges.set(id, { recipe, blobs, holders: 0, work: null, result: null, isOpened: false, isDropped: false });
    return { ref: "pledge", id, bytes };
  }

  has(ref: PledgeRef): boolean {
    return this.#pledges.has(ref.id);
  }

  /**
   * Begins the work without waiting for it, unless it is gathered or as many results as may wait do so already; then it
   * begins when it is opened. A failure shows when the pledge is opened.
   */
  start(ref: PledgeRef): void {
    const pledge = this.#pledge(ref);
    const isFull = pledge.recipe.bytes > 0 && this.#ahead.size >= this.#mostAhead;
    if (buggify("work: it begins only when somebody waits for it")) return;
    if (!isFull && pledge.recipe.work !== this.#gathering?.work) this.#begin(pledge);
  }

  /** The results in the order of `refs`. The work is done in parallel, and once however often it is opened. */
  async open(refs: readonly PledgeRef[]): Promise<unknown[]> {
    const pledges = refs.map((ref) => this.#pledge(ref));
    if (this.#gathering !== null) this.#workTogether(pledges, this.#gathering);
    const values = await Promise.all(
      pledges.map((pledge) => (pledge.result === null ? this.#work(pledge) : pledge.result.value)),
    );
    for (const [i, pledge] of pledges.entries()) {
      if (pledge.result !== null) continue;
      pledge.result = { value: values[i] };
      this.#markOpened(pledge);
      for (const blob of pledge.blobs) this.#blobs.release(blob);
    }
    return values;
  }

  /**
   * The results in the order of `refs`, one after the other, with a few worked out ahead. None is kept, so what is held at
   * a time does not grow with their number; a pledge that is opened again is worked on again.
   */
  async *openEach(refs: readonly PledgeRef[]): AsyncGenerator<unknown, void, undefined> {
    const pledges = refs.map((ref) => this.#pledge(ref));
    for (const [at, pledge] of pledges.entries()) {
      this.#workAhead(pledges, at);
      const value = pledge.result === null ? await this.#work(pledge) : pledge.result.value;
      this.#markOpened(pledge);
      yield value;
    }
  }

  retain(ref: PledgeRef): void {
    this.#pledge(ref).holders++;
  }

  release(ref: PledgeRef): void {
    const pledge = this.#pledge(ref);
    invariant(pledge.holders > 0, () => `pledge ${ref.id} is released more often than it was retained`);
    if (--pledge.holders === 0) this.#forget(ref, pledge);
  }

  /** Forgets a pledge that nobody holds; its work, where begun, comes to nothing. */
  drop(ref: PledgeRef): void {
    const pledge = this.#pledges.get(ref.id);
    if (pledge !== undefined && pledge.holders === 0) this.#forget(ref, pledge);
  }

  snapshot(): PledgeState {
    const pledges = this.#pledges.entries().map(([id, { recipe, holders, result }]) => ({
      id,
      recipe,
      holders,
      ...(result === null ? {} : { result }),
    }));
    return { next: this.#next, pledges };
  }

  /**
   * The blob store is restored on its own, before; its counts already hold what pledges retain.
   *
   * @param works what recipes may ask for; null where that is not known
   * @throws InputError for a recipe or a result that is none
   */
  restore({ next, pledges }: PledgeState, works: Readonly<Record<string, WorkSchemas>> | null = null): void {
    this.#next = next;
    this.#pledges.clear();
    for (const [at, { id, recipe, holders, result }] of pledges.entries()) {
      const place = `pledges[${at}]`;
      if (id >= next || this.#pledges.has(id)) {
        throw new InputError(`${place}.id is ${id}, expected one of its own below ${next}`);
      }
      if (works !== null) {
        const work = works[recipe.work];
        if (work === undefined) {
          const known = Object.keys(works).join(", ");
          throw new InputError(`${place}.recipe.work is ${show(recipe.work)}, expected one of ${known}`);
        }
        // A run without training has nothing to work on.
        if (recipe.job !== null) parseInput(`${place}.recipe.job`, work.job, recipe.job);
        if (result !== undefined) parseInput(`${place}.result`, work.result, result.value);
      }
      const blobs = blobsOf(recipe);
      const isOpened = result !== undefined;
      this.#pledges.set(id, { recipe, blobs, holders, work: null, result: result ?? null, isOpened, isDropped: false });
    }
  }

  #forget({ id }: PledgeRef, pledge: Pledge): void {
    this.#pledges.take(id);
    pledge.isDropped = true;
    this.#ahead.delete(pledge);
    if (!pledge.isOpened) this.#discarded++;
    if (pledge.result !== null) return;
    for (const blob of pledge.blobs) this.#blobs.release(blob);
  }

  #markOpened(pledge: Pledge): void {
    if (!pledge.isOpened) this.#opened++;
    pledge.isOpened = true;
    pledge.work = null;
    this.#ahead.delete(pledge);
  }

  #workAhead(pledges: readonly Pledge[], from: number): void {
    let until = from + this.#mostAhead;
    if (this.#gathering !== null) {
      const inGroup = from % gatheredAtOnce;
      const end = from - inGroup + gatheredAtOnce;
      if (inGroup === 0) this.#workTogether(pledges.slice(from, end), this.#gathering);
      until = Math.min(until, end);
    }
    for (const pledge of pledges.slice(from, until)) this.#begin(pledge);
  }

  #begin(pledge: Pledge): void {
    if (pledge.result === null) this.#work(pledge).catch(() => undefined);
  }

  #workTogether(pledges: readonly Pledge[], { work, together, group, onProblem }: Gathering): void {
    const waiting = [...new Set(pledges)].filter(
      (pledge) => pledge.recipe.work === work && pledge.work === null && pledge.result === null,
    );
    for (const indices of group(waiting.map(({ recipe }) => recipe.job))) {
      const members = indices.map((index) => waiting[index]!);
      this.#begun += members.length;
      const job: GatheredJob = { jobs: members.map(({ recipe }) => recipe.job) };
      const digests = new Map(members.flatMap(({ blobs }) => blobs.map((blob) => [blob.digest, blob] as const)));
      const blobs = [...digests].map(([digest, blob]) => [digest, this.#blobs.bytes(blob)] as const);
      const isWanted = () => members.some(({ isDropped }) => !isDropped);
      const done = this.#pool.run({ work: together, job, blobs }, isWanted) as Promise<GatheredResult | undefined>;
      done.then((found) => found?.problems.forEach(onProblem)).catch(() => undefined);
      for (const [at, pledge] of members.entries()) pledge.work = done.then((found) => found?.results[at]);
    }
  }

  #work(pledge: Pledge): Promise<unknown> {
    if (pledge.work === null) {
      this.#begun++;
      const { work, job } = pledge.recipe;
      const blobs = pledge.blobs.map((blob) => [blob.digest, this.#blobs.bytes(blob)] as const);
      // Between `start` and a free worker everyone may have let the pledge go.
      pledge.work = this.#pool.run({ work, job, blobs }, () => !pledge.isDropped);
      if (pledge.recipe.bytes > 0) this.#ahead.add(pledge);
    }
    return pledge.work;
  }

  #pledge(ref: PledgeRef): Pledge {
    const pledge = this.#pledges.get(ref.id);
    if (pledge === undefined) {
      throw new InvariantError(
        `pledge ${ref.id} is gone: nobody held it any more. A turn that wants to open it later calls ctx.keep`,
      );
    }
    return pledge;
  }
}

/** The blobs a recipe reads. A recipe cannot read another pledge: its worker could not wait for it. */
function blobsOf({ work, job }: Recipe): readonly BlobRef[] {
  if (job === null) return none;
  return inspect(job).refs.map((ref) => {
    invariant(ref.ref === "blob", () => `the job of "${work}" refers to a pledge, expected blobs only`);
    return ref;
  });
}
