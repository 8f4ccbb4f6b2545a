/** Counts who holds what, blobs and pledges alike. */
import { InputError } from "../base/errors.ts";
import type { BlobStore } from "./messages/blobs.ts";
import { type Held, keyOf } from "./messages/refs.ts";
import type { PledgeStore } from "./pledges.ts";

export class References {
  readonly blobs: BlobStore;
  readonly pledges: PledgeStore;

  constructor(blobs: BlobStore, pledges: PledgeStore) {
    this.blobs = blobs;
    this.pledges = pledges;
  }

  /** @throws InputError when a checkpoint refers to what it does not hold */
  require(content: Held, place: string): void {
    const isHeld = content.ref === "blob" ? this.blobs.has(content) : this.pledges.has(content);
    // Runs without training have an adapter of no content.
    if (isHeld || keyOf(content) === "") return;
    throw new InputError(
      `${place} refers to ${content.ref} ${String(keyOf(content)).slice(0, 12)}, which the checkpoint does not hold`,
    );
  }

  retain(content: Held): void {
    if (content.ref === "blob") this.blobs.retain(content);
    else this.pledges.retain(content);
  }

  release(content: Held): void {
    if (content.ref === "blob") this.blobs.release(content);
    else this.pledges.release(content);
  }

  drop(content: Held): void {
    if (content.ref === "blob") this.blobs.drop(content);
    else this.pledges.drop(content);
  }
}
