/**
 * The run's event log: one JSON line per row, virtual time only, and one digest over all lines, equal for any two runs
 * of one scenario and seed.
 *
 * A plain SHA-256 cannot be put into a checkpoint half done, so the digest is a chain over chunks of 512 rows:
 *
 *   d_0 = 32 zero bytes,  d_n = SHA-256(d_{n−1} ‖ lines of chunk n),  digest = SHA-256(d_n ‖ lines since)
 *
 * Rows are cut into chunks by their count alone; when the digest is asked for or a checkpoint taken does not show.
 */

import { createHash, type Hash } from "node:crypto";
import * as z from "zod";
import { buggify } from "../../base/buggify.ts";
import { InputError } from "../../base/errors.ts";
import { whole } from "../../base/fields.ts";
import { show } from "../../base/problem.ts";
import type { Snapshot } from "../../base/snapshot.ts";
import { Piece, RowBytes, RowShape, type TraceRow } from "./row-bytes.ts";

export { Piece, type RowBytes, RowShape, type TraceRow };

/** Takes the text of whole lines, each with its line feed. */
export interface TraceSink {
  write(text: string): void;
}

export const traceSchema = z.strictObject({
  /** d_n, in hexadecimal. */
  chain: z.string(),
  /** The lines since the last whole chunk. */
  pending: z.string(),
  rows: whole,
  /** Length in UTF-8 of all lines so far: where the file is cut off before a run is resumed. */
  bytes: whole,
});
export type TraceState = Readonly<z.output<typeof traceSchema>>;

/** `digest` keeps no lines; `full` passes them on as well. Both give the same digest. */
export type TraceOptions = { readonly mode: "digest" } | { readonly mode: "full"; readonly sink: TraceSink };

const rowsPerChunk = 512;

export class Trace implements Snapshot<TraceState> {
  readonly #chain = new Chain();
  readonly #sink: TraceSink | undefined;
  /** Bytes of the chain's pending lines that the sink has already. */
  #written = 0;

  constructor(options: TraceOptions) {
    this.#sink = options.mode === "full" ? options.sink : undefined;
  }

  get rows(): number {
    return this.#chain.rows;
  }

  /** Length in UTF-8 of all lines so far. */
  get bytes(): number {
    return this.#chain.bytes;
  }

  record(row: TraceRow): void {
    this.#chain.pending.add(row);
    this.#added();
  }

  /** Begins a row that is written by shape; nothing else is recorded before it is given its fields and ended. */
  begin(shape: RowShape, t: number): RowBytes {
    return this.#chain.pending.begin(shape, t);
  }

  /** The row that is being written, as an object. */
  current(): TraceRow {
    return this.#chain.pending.current();
  }

  /** Ends the row that is being written. */
  end(): void {
    this.#chain.pending.end();
    this.#added();
  }

  /** Hands every line recorded so far to the sink. */
  flush(): void {
    const { pending } = this.#chain;
    if (this.#sink !== undefined && pending.length > this.#written) {
      this.#sink.write(pending.bytes(this.#written).toString());
    }
    this.#written = pending.length;
  }

  /** In hexadecimal. More rows may follow. */
  digest(): string {
    return this.#chain.digest();
  }

  /** Flushes first, so the sink has received `bytes` bytes when the state is written down. */
  snapshot(): TraceState {
    this.flush();
    const { chain, pending, rows, bytes } = this.#chain;
    return { chain: chain.toString("hex"), pending: pending.bytes().toString(), rows, bytes };
  }

  /** Goes on after the state's last row; its lines are the sink's already. */
  restore(state: TraceState): void {
    this.#chain.restore(state);
    this.#written = this.#chain.pending.length;
  }

  #added(): void {
    this.#chain.count();
    const { isFull } = this.#chain;
    if (isFull || buggify("run: the trace hands over a row at once")) this.flush();
    if (!isFull) return;
    this.#chain.close();
    this.#written = 0;
  }
}

/** The digest of a trace that was written down, from its lines without their line feeds. */
export async function digestOfLines(lines: Iterable<string> | AsyncIterable<string>): Promise<string> {
  const chain = new Chain();
  for await (const line of lines) {
    chain.addLine(line);
    if (chain.isFull) chain.close();
  }
  return chain.digest();
}

class Chain {
  readonly pending = new RowBytes();
  chain: Buffer = Buffer.alloc(32);
  rows = 0;
  #rowsPending = 0;
  #bytesClosed = 0;

  get isFull(): boolean {
    return this.#rowsPending === rowsPerChunk;
  }

  get bytes(): number {
    return this.#bytesClosed + this.pending.length;
  }

  addLine(line: string): void {
    this.pending.addText(`${line}\n`);
    this.count();
  }

  /** One more row has been written. */
  count(): void {
    this.rows++;
    this.#rowsPending++;
  }

  close(): void {
    this.chain = this.#hash().digest();
    this.#bytesClosed += this.pending.length;
    this.#rowsPending = 0;
    this.pending.clear();
  }

  digest(): string {
    return this.#hash().digest("hex");
  }

  restore({ chain, pending, rows, bytes }: TraceState): void {
    const lines = pending.split("\n").length - 1;
    if (!/^[0-9a-f]{64}$/.test(chain) || lines !== rows % rowsPerChunk) {
      throw new InputError(
        `trace: chain is ${show(chain)}, with ${lines} pending lines, ` +
          `expected 64 hexadecimal digits and ${rows % rowsPerChunk} lines after ${rows} rows`,
      );
    }
    this.chain = Buffer.from(chain, "hex");
    this.pending.clear();
    this.pending.addText(pending);
    this.rows = rows;
    this.#rowsPending = lines;
    this.#bytesClosed = bytes - this.pending.length;
    if (this.#bytesClosed < 0) throw new InputError(`trace.bytes is ${bytes}, but its last lines alone have more`);
  }

  #hash(): Hash {
    return createHash("sha256").update(this.chain).update(this.pending.bytes());
  }
}
