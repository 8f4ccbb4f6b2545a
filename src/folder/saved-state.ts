/**
 * A run's whole state at one instant, on disk.
 *
 *   magic "FLAMECKP" | format version u32 | SHA-256 of the payload, 32 bytes | payload: msgpack
 *
 * Little-endian. A file is written under another name and renamed when it is durable, so a checkpoint that has its
 * name is whole, unless the disk damaged it; then the digest says so, and the one before it is used. Rotation removes
 * old files only after the newest has been read back.
 */
import { createHash } from "node:crypto";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { onDisk, writeAtomically } from "../base/disk.ts";
import { InputError } from "../base/errors.ts";
import { largestBuffer, readBytes } from "../base/open.ts";
import { decodeUntrusted, encode } from "../runtime/messages/codec.ts";
import type { FileMark } from "./line-file.ts";
import { type Provenance, provenanceSchema } from "./provenance.ts";
import { filesIn } from "./run-folder.ts";

const magic = Buffer.from("FLAMECKP");
const formatVersion = 7;
const headerBytes = magic.length + 4 + 32;
const ending = ".ckpt";

export interface Checkpoint {
  /** What a run must agree on to be continued. */
  readonly made: Provenance;
  /** Rounds closed, and events handled, when it was taken. */
  readonly round: number;
  readonly events: number;
  /** How far the files were that grow; a resumed run cuts them here. */
  readonly files: { readonly metrics: FileMark; readonly events: FileMark; readonly participations: FileMark };
  /** Snapshots by part: kernel, world, system, trace, ledger, … */
  readonly parts: Readonly<Record<string, unknown>>;
}

const count = z.int().min(0);
const mark = z.strictObject({ bytes: count, digest: z.string() });
const checkpointSchema = z.strictObject({
  made: provenanceSchema,
  round: count,
  events: count,
  files: z.strictObject({ metrics: mark, events: mark, participations: mark }),
  parts: z.record(z.string(), z.unknown()),
});

/** They sort as the run went. */
export const checkpointName = ({ round, events }: Pick<Checkpoint, "round" | "events">): string =>
  `${String(round).padStart(6, "0")}-${String(events).padStart(12, "0")}${ending}`;

/** Writes the checkpoint and keeps the newest `keep`. Returns the file's length. */
export function writeCheckpoint(folder: string, checkpoint: Checkpoint, keep: number): number {
  const bytes = encodeCheckpoint(checkpoint);
  const name = checkpointName(checkpoint);
  const path = join(folder, name);
  writeAtomically(path, bytes);
  rotate(folder, name, keep);
  return bytes.length;
}

/**
 * The newest good checkpoint, or null when there is none.
 *
 * @param report is told of each damaged one that was passed over
 * @param flawOf why a checkpoint that is whole cannot be used; null for one that can
 */
export function newestCheckpoint(
  folder: string,
  report: (damage: string, name: string) => void,
  flawOf: (checkpoint: Checkpoint) => string | null = () => null,
): Checkpoint | null {
  for (const name of filesIn(folder, ending).reverse()) {
    try {
      const checkpoint = readCheckpoint(folder, name);
      const flaw = flawOf(checkpoint);
      if (flaw === null) return checkpoint;
      report(`checkpoint ${name} cannot be used: ${flaw}`, name);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      report(error.message, name);
    }
  }
  return null;
}

/** @throws InputError that names the file and what is wrong with it */
export function readCheckpoint(folder: string, name: string): Checkpoint {
  const path = join(folder, name);
  return decodeCheckpoint(
    onDisk(`cannot read ${path}`, () => readBytes(path, largestBuffer, "refused")),
    name,
  );
}

/** Gives a damaged checkpoint another name, so that it is never again taken for the newest. */
export function setAside(folder: string, name: string): void {
  const path = join(folder, name);
  onDisk(`cannot rename ${path}`, () => renameSync(path, `${path}.damaged`));
}

/** @internal */
export function encodeCheckpoint(checkpoint: Checkpoint): Uint8Array {
  const payload = encode(checkpoint);
  const header = Buffer.alloc(headerBytes);
  magic.copy(header);
  header.writeUInt32LE(formatVersion, magic.length);
  createHash("sha256")
    .update(payload)
    .digest()
    .copy(header, magic.length + 4);
  return Buffer.concat([header, payload]);
}

/**
 * @internal
 * @throws InputError that names the file and what is wrong with it.
 */
export function decodeCheckpoint(stored: Uint8Array, name: string): Checkpoint {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  const damaged = (what: string) => new InputError(`checkpoint ${name} ${what}`);
  if (bytes.length < headerBytes) throw damaged(`is cut off: ${bytes.length} bytes are less than a header`);
  if (!bytes.subarray(0, magic.length).equals(magic)) throw damaged("is not a checkpoint: its first bytes are wrong");
  const version = bytes.readUInt32LE(magic.length);
  if (version !== formatVersion) throw damaged(`has format ${version}; this program reads ${formatVersion}`);
  const payload = bytes.subarray(headerBytes);
  const digest = createHash("sha256").update(payload).digest();
  if (!digest.equals(bytes.subarray(magic.length + 4, headerBytes))) {
    throw damaged("is damaged: its bytes do not match their digest");
  }
  const parsed = checkpointSchema.safeParse(decodeUntrusted(payload, `checkpoint ${name}`));
  if (!parsed.success) throw damaged(`is not what this program writes: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function rotate(folder: string, newest: string, keep: number): void {
  const names = filesIn(folder, ending);
  const old = names.slice(0, Math.max(0, names.length - keep)).filter((name) => name !== newest);
  if (old.length === 0) return;
  readCheckpoint(folder, newest);
  for (const name of old)
    onDisk(`cannot remove ${join(folder, name)}`, () => rmSync(join(folder, name), { force: true }));
}
