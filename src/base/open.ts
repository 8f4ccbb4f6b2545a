/**
 * The one way to open a file that somebody else may have put there. It has to be a regular file: a pipe would be waited
 * for and a device read for ever. What is held in memory is bounded. Inside a folder whose author is unknown no link is
 * followed, and nothing is written to a file that has another name elsewhere.
 *
 * Whatever is wrong with the file itself is an {@link InputError}; what the system refuses is thrown as it comes.
 */

import { createHash, type Hash, randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  lstatSync,
  openSync,
  type ReadStream,
  readSync,
  rmSync,
  type Stats,
} from "node:fs";
import { buggify } from "./buggify.ts";
import { InputError } from "./errors.ts";
import { formatBytes } from "./units.ts";

/** What becomes of a link: the user who names a file may name a link, and who wrote a run folder may not. */
export type Links = "followed" | "refused";

/** More does not fit into one buffer. */
export const largestBuffer = 2 ** 31 - 1;

/** A table of a million tokens or tensors in JSON has less than half of it. */
export const largestJson = 2 ** 28;

// Windows has none of these flags.
const { O_RDONLY, O_RDWR, O_APPEND, O_CREAT, O_NONBLOCK = 0, O_NOFOLLOW = 0 } = constants;

/** Without `O_NONBLOCK` the opening itself would wait for whoever writes to a pipe. */
export const openToRead = (path: string, links: Links = "followed"): number =>
  openRegular(path, O_RDONLY | O_NONBLOCK, links);

/** To go on writing in the middle of a file that is there. */
export const openToChange = (path: string): number => oneName(path, openRegular(path, O_RDWR | O_NONBLOCK, "refused"));

/** To write at the end; the file is made if it is missing. */
export const openToAppend = (path: string): number =>
  oneName(path, openRegular(path, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK, "refused"));

/** Part of a name under which nobody can have put anything beforehand. */
export const unguessable = (): string => randomUUID();

/** An empty file under this name. What had the name loses it and keeps its content, if it has another name. */
export function openNew(path: string): number {
  rmSync(path, { force: true });
  return openSync(path, "wx+");
}

/** @throws InputError for a file of more than `most` bytes, without reading them */
export function readBytes(path: string, most: number = largestBuffer, links: Links = "followed"): Buffer {
  const file = openToRead(path, links);
  try {
    const { size } = fstatSync(file);
    const tooLarge = (found: string) => new InputError(`${path} has ${found}, expected at most ${formatBytes(most)}`);
    if (size > most) throw tooLarge(formatBytes(size));
    // One byte more shows the end. A file may grow meanwhile, and those of /proc say that they are empty.
    const hasGrown = buggify("file: a file is longer than its size said");
    let bytes = Buffer.allocUnsafe(hasGrown ? 1 : Math.min(size + 1, largestBuffer));
    for (let length = 0; ; ) {
      const count = readSync(file, bytes, length, Math.min(bytes.length - length, 2 ** 30), length);
      length += count;
      if (length > most) throw tooLarge("more than that");
      if (count === 0) return bytes.subarray(0, length);
      if (length === bytes.length) bytes = Buffer.concat([bytes, Buffer.allocUnsafe(Math.max(length, 2 ** 12))]);
    }
  } finally {
    closeSync(file);
  }
}

/** As {@link openToRead}, for those who read it piece by piece from its start. */
export const streamOf = (path: string): ReadStream => createReadStream(path, { fd: openToRead(path) });

/** SHA-256 in hexadecimal, piece by piece: a year of participations is larger than a buffer may be. */
export function digestOfFile(path: string, links: Links = "followed"): string {
  const file = openToRead(path, links);
  try {
    return hashOfStart(file, Number.POSITIVE_INFINITY).digest("hex");
  } finally {
    closeSync(file);
  }
}

/** Of the first `bytes` bytes of an open file, or of all there are. */
export function hashOfStart(file: number, bytes: number): Hash {
  const hash = createHash("sha256");
  const piece = Buffer.allocUnsafe(Math.min(bytes, 2 ** 20));
  for (let at = 0; at < bytes; ) {
    const count = readSync(file, piece, 0, Math.min(piece.length, bytes - at), at);
    if (count === 0) break;
    hash.update(piece.subarray(0, count));
    at += count;
  }
  return hash;
}

/** @throws InputError for anything inside a run folder that is neither a file nor a folder */
export function refuseOddity(path: string, found: Pick<Stats, "isSymbolicLink" | "isFile" | "isDirectory">): void {
  if (found.isSymbolicLink()) throw new InputError(`${path} is a link; ${insideOnly}`);
  if (!found.isFile() && !found.isDirectory()) throw notAFile(path);
}

const insideOnly = "a run reads and writes only inside its own folder";

const notAFile = (path: string, is = "a pipe or a device") => new InputError(`${path}: expected a file, got ${is}`);

function openRegular(path: string, flags: number, links: Links): number {
  if (links === "refused") {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined) refuseOddity(path, found);
  }
  const file = openSync(path, flags | (links === "refused" ? O_NOFOLLOW : 0), 0o666);
  const found = fstatSync(file);
  if (found.isFile()) return file;
  closeSync(file);
  throw found.isDirectory() ? notAFile(path, "a folder") : notAFile(path);
}

/** A second name may lie anywhere. */
function oneName(path: string, file: number): number {
  const { nlink } = fstatSync(file);
  if (nlink <= 1) return file;
  closeSync(file);
  throw new InputError(
    `${path} has ${nlink} names (hard links), and writing would change the file under all of them; copy the run folder ` +
      "and use the copy",
  );
}
