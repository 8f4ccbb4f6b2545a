/** Counts who holds what, blobs and pledges alike. */
import type { BlobStore } from "./messages/blobs.ts";
import type { Held } from "./messages/refs.ts";
import type { PledgeStore } from "./pledges.ts";

export class References {
  readonly blobs: BlobStore;
  readonly pledges: PledgeStore;

  constructor(blobs: BlobStore, pledges: PledgeStore) {
    this.blobs = blobs;
    this.pledges = pledges;
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
