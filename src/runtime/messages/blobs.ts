/**
 * Large content, stored once in shared memory and named by its SHA-256. Every worker thread reads it without a copy.
 *
 * Content lives while somebody holds it: an envelope on its way, a pledge that will read it, or whoever called
 * `retain`. `put` alone holds nothing.
 */
import * as z from "zod";
import { sha256 } from "../../base/digest.ts";
import { InputError, InvariantError, invariant, MachineError } from "../../base/errors.ts";
import { bytes as bytesSchema, whole } from "../../base/fields.ts";
import type { Snapshot } from "../../base/snapshot.ts";
import { formatBytes } from "../../base/units.ts";
import type { BlobRef } from "./refs.ts";

/** Reads content by reference, on any thread. The views are shared memory: nobody writes to them. */
export interface BlobReader {
  bytes(ref: BlobRef): Uint8Array;
  /** @throws InvariantError when the content is not a whole number of floats */
  floats(ref: BlobRef): Float32Array;
}

export const blobRecordSchema = z.strictObject({ digest: z.string(), holders: whole, content: bytesSchema });
export type BlobRecord = Readonly<z.output<typeof blobRecordSchema>>;

interface Entry {
  readonly floats: Float32Array | null;
  readonly bytes: Uint8Array;
  holders: number;
}

export class BlobStore implements BlobReader, Snapshot<readonly BlobRecord[]> {
  readonly #entries = new Map<string, Entry>();
  #size = 0;

  /** Bytes of all content, each counted once. */
  get size(): number {
    return this.#size;
  }

  get count(): number {
    return this.#entries.size;
  }

  /** Copies the content into shared memory unless it is there already. A `Float32Array` is stored as its bytes. */
  put(content: Uint8Array | Float32Array): BlobRef {
    const source = new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
    const digest = sha256(source);
    if (!this.#entries.has(digest)) this.#add(digest, source, 0);
    return { ref: "blob", digest, bytes: content.byteLength };
  }

  has(ref: BlobRef): boolean {
    return this.#entries.has(ref.digest);
  }

  bytes(ref: BlobRef): Uint8Array {
    return this.#entry(ref).bytes;
  }

  floats(ref: BlobRef): Float32Array {
    const { floats } = this.#entry(ref);
    invariant(floats !== null, () => `blob ${short(ref.digest)} has ${ref.bytes} bytes, expected a multiple of 4`);
    return floats;
  }

  retain(ref: BlobRef): void {
    this.#entry(ref).holders++;
  }

  release(ref: BlobRef): void {
    const entry = this.#entry(ref);
    invariant(entry.holders > 0, () => `blob ${short(ref.digest)} is released more often than it was retained`);
    if (--entry.holders === 0) this.drop(ref);
  }

  /**
   * Frees content that nobody holds; leaves any other alone.
   *
   * @throws MachineError when it is not what was put there: whatever was made from it is wrong
   */
  drop(ref: BlobRef): void {
    const entry = this.#entries.get(ref.digest);
    if (entry === undefined || entry.holders > 0) return;
    this.verify(ref);
    this.#entries.delete(ref.digest);
    this.#size -= entry.bytes.length;
  }

  /** @throws MachineError when memory no longer holds what was put there */
  verify(ref: BlobRef): void {
    const found = sha256(this.#entry(ref).bytes);
    if (found !== ref.digest) {
      throw new MachineError(
        `blob ${short(ref.digest)} (${formatBytes(ref.bytes)}) now has the digest ${short(found)}: ` +
          "its memory was overwritten, or the machine has a fault",
      );
    }
  }

  /**
   * Views of the shared memory, not copies; written down before the run goes on.
   *
   * @throws MachineError when memory no longer holds what was put there: it is not to be written down as if it did
   */
  /** By digest: when content was let go is sometimes a matter of real time, and so is where it stands among others. */
  snapshot(): readonly BlobRecord[] {
    return [...this.#entries]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([digest, { bytes, holders }]) => {
        this.verify({ ref: "blob", digest, bytes: bytes.length });
        return { digest, holders, content: bytes };
      });
  }

  /** @throws InputError when content does not match its digest */
  restore(records: readonly BlobRecord[]): void {
    this.#entries.clear();
    this.#size = 0;
    for (const { digest, holders, content } of records) {
      const found = sha256(content);
      if (found !== digest) {
        throw new InputError(`blobs: a content has the digest ${short(found)}, expected ${short(digest)}`);
      }
      this.#add(digest, content, holders);
    }
  }

  #add(digest: string, source: Uint8Array, holders: number): void {
    const memory = new SharedArrayBuffer(source.byteLength);
    const bytes = new Uint8Array(memory);
    bytes.set(source);
    const floats = source.byteLength % 4 === 0 ? new Float32Array(memory) : null;
    this.#entries.set(digest, { bytes, floats, holders });
    this.#size += bytes.length;
  }

  #entry(ref: BlobRef): Entry {
    const entry = this.#entries.get(ref.digest);
    if (entry === undefined) {
      throw new InvariantError(
        `blob ${short(ref.digest)} (${formatBytes(ref.bytes)}) is gone: nobody held it any more. ` +
          "A turn that wants to read it later calls ctx.keep",
      );
    }
    return entry;
  }
}

/** The views a task takes to its worker: the shared memory itself travels, not the content. */
export type BlobViews = readonly (readonly [digest: string, content: Uint8Array])[];

export function blobReader(views: BlobViews): BlobReader {
  const contents = new Map(views);
  const bytes = (ref: BlobRef): Uint8Array => {
    const content = contents.get(ref.digest);
    invariant(content !== undefined, () => `the task does not name blob ${short(ref.digest)} in its job`);
    return content;
  };
  return {
    bytes,
    floats(ref) {
      const content = bytes(ref);
      invariant(content.length % 4 === 0, () => `blob ${short(ref.digest)} has ${content.length} bytes, not floats`);
      return new Float32Array(content.buffer, content.byteOffset, content.length / 4);
    },
  };
}

const short = (digest: string): string => digest.slice(0, 12);
