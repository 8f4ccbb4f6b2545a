/** Text from files: whole, of a size that is bounded, or line by line, without holding more than a stretch of it. */
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { onDisk } from "./disk.ts";
import { InputError, messageOf } from "./errors.ts";
import { formatBytes } from "./units.ts";

/** @throws InputError for a file of more than `most` bytes; MachineError when it cannot be read */
export function readText(path: string, most: number): string {
  return onDisk(`cannot read ${path}`, () => {
    const { size } = statSync(path);
    if (size > most) {
      throw new InputError(`${path} has ${formatBytes(size)}, expected at most ${formatBytes(most)}`);
    }
    return readFileSync(path, "utf8");
  });
}

/** A string holds no more. */
export const largestText = 2 ** 29 - 24;

/** As {@link readText}, of a file that the user named: that it cannot be read is a mistake of theirs. */
export function readInput(path: string, most = largestText): string {
  try {
    return readText(path, most);
  } catch (cause) {
    throw cause instanceof InputError ? cause : new InputError(messageOf(cause), { cause });
  }
}

const stretch = 1 << 20;
/** A row of metrics with ten thousand weights has less than two million. */
const longestLine = 1 << 28;

/**
 * Without their line feeds; what follows the last line feed is a line as well, unless it is empty.
 *
 * @throws MachineError when the file cannot be read; InputError when a line has no end
 */
export function* linesOf(path: string): Generator<string> {
  const file = onDisk(`cannot read ${path}`, () => openSync(path, "r"));
  try {
    const buffer = Buffer.alloc(stretch);
    let rest: Buffer[] = [];
    let length = 0;
    for (;;) {
      const count = onDisk(`cannot read ${path}`, () => readSync(file, buffer, 0, stretch, null));
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
