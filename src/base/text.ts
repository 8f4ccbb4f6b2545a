/** Text from files: whole, of a size that is bounded, or line by line, without holding more than a stretch of it. */

import { closeSync, readSync } from "node:fs";
import { buggify } from "./buggify.ts";
import { onDisk } from "./disk.ts";
import { InputError, messageOf } from "./errors.ts";
import { otherKind } from "./file-kind.ts";
import { type Links, openToRead, readBytes } from "./open.ts";

/** @throws InputError for a file of more than `most` bytes or what is no file; MachineError when it cannot be read */
export const readText = (path: string, most: number, links?: Links): string =>
  onDisk(`cannot read ${path}`, () => readBytes(path, most, links).toString("utf8"));

/** Text of other people may begin with a mark that no parser takes. */
export const withoutByteOrderMark = (text: string): string => (text.startsWith("\ufeff") ? text.slice(1) : text);

/** Nothing in a message may move a terminal's cursor, or turn the text around. */
export const printable = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "·");

/** A string holds no more. */
export const largestText = 2 ** 29 - 24;

/**
 * As {@link readText}, of a file that the user named: that it cannot be read, or holds something else than text, is a
 * mistake of theirs.
 */
export function readInput(path: string, most = largestText, links?: Links): string {
  const bytes = readInputBytes(path, most, links);
  const kind = otherKind(bytes);
  if (kind !== null) throw new InputError(`${path} is ${kind}`);
  return withoutByteOrderMark(bytes.toString("utf8"));
}

/** A file that the user named, whatever it holds. @throws InputError when it cannot be read, whatever the reason */
export function readInputBytes(path: string, most?: number, links?: Links): Buffer {
  try {
    return onDisk(`cannot read ${path}`, () => readBytes(path, most, links));
  } catch (cause) {
    throw cause instanceof InputError ? cause : new InputError(messageOf(cause), { cause });
  }
}

const isSlow = () => buggify("file: a text is read a few bytes at a time");
const stretch = 1 << 20;
/** A row of metrics with ten thousand weights has less than two million. */
const longestLine = 1 << 28;

/**
 * Without their line feeds; what follows the last line feed is a line as well, unless it is empty.
 *
 * @throws MachineError when the file cannot be read; InputError when a line has no end
 */
export function* linesOf(path: string, links?: Links): Generator<string> {
  const file = onDisk(`cannot read ${path}`, () => openToRead(path, links));
  try {
    const buffer = Buffer.alloc(stretch);
    let rest: Buffer[] = [];
    let length = 0;
    for (;;) {
      const count = onDisk(`cannot read ${path}`, () => readSync(file, buffer, 0, isSlow() ? 7 : stretch, null));
      if (count === 0) break;
      let from = 0;
      for (let end = buffer.indexOf(0x0a); end >= 0 && end < count; end = buffer.indexOf(0x0a, from)) {
        yield Buffer.concat([...rest, buffer.subarray(from, end)]).toString();
        rest = [];
        length = 0;
        from = end + 1;
      }
      if (from < count) rest.push(Buffer.from(buffer.subarray(from, count)));
      length += count - from;
      if (length > longestLine) throw new InputError(`${path} has a line of more than ${longestLine} bytes`);
    }
    if (rest.length > 0) yield Buffer.concat(rest).toString();
  } finally {
    closeSync(file);
  }
}

/** A name from a file, in quotation marks; of a long one, the beginning. */
export const quoted = (name: string): string => JSON.stringify(name.length > 120 ? `${name.slice(0, 117)}...` : name);
