/**
 * Counts bytes, and the time clients spend. At any instant and for each direction
 *
 *   sent = received + lost + under way
 *
 * A copy is counted as sent when it begins; when it breaks off, what had not left yet is taken back.
 */
import * as z from "zod";
import { whole } from "../../base/fields.ts";
import type { Traffic } from "../flight/environment.ts";
import type { Flight } from "../flight/flight.ts";

/** Bytes over the whole run. */
export interface WorldTraffic extends Traffic {
  /** Bytes that left and never arrived. */
  readonly downloadLost: number;
  readonly uploadLost: number;
}

/** Milliseconds of client time over the whole run, whether the work came to its end or not. */
export interface Occupation {
  readonly download: number;
  readonly training: number;
  readonly upload: number;
}

export const meterSchema = z.strictObject({
  traffic: z.strictObject({
    downloadSent: whole,
    downloadReceived: whole,
    downloadLost: whole,
    uploadSent: whole,
    uploadReceived: whole,
    uploadLost: whole,
  }),
  occupation: z.strictObject({ download: whole, training: whole, upload: whole }),
});
type MeterState = Readonly<z.output<typeof meterSchema>>;

export class Meter {
  #traffic = { downloadSent: 0, downloadReceived: 0, downloadLost: 0, uploadSent: 0, uploadReceived: 0, uploadLost: 0 };
  #occupation = { download: 0, training: 0, upload: 0 };

  get traffic(): WorldTraffic {
    return { ...this.#traffic };
  }

  get occupation(): Occupation {
    return { ...this.#occupation };
  }

  sent({ is, total }: Flight): void {
    if (is === "up") this.#traffic.uploadSent += total;
    else this.#traffic.downloadSent += total;
  }

  received({ is, total }: Flight): void {
    if (is === "up") this.#traffic.uploadReceived += total;
    else this.#traffic.downloadReceived += total;
  }

  /** A copy ends on its way when `moved` bytes of it have left. */
  lost({ is, total }: Flight, moved: number): void {
    const traffic = this.#traffic;
    if (is === "up") {
      traffic.uploadSent -= total - moved;
      traffic.uploadLost += moved;
    } else {
      traffic.downloadSent -= total - moved;
      traffic.downloadLost += moved;
    }
  }

  occupied({ is }: Flight, duration: number): void {
    if (is === "work") this.#occupation.training += duration;
    else if (is === "up") this.#occupation.upload += duration;
    else this.#occupation.download += duration;
  }

  snapshot(): MeterState {
    return { traffic: { ...this.#traffic }, occupation: { ...this.#occupation } };
  }

  restore({ traffic, occupation }: MeterState): void {
    this.#traffic = { ...traffic };
    this.#occupation = { ...occupation };
  }
}
