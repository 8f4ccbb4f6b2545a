/** JSON from files. Where a text is none, or says something else than expected, the error names the place. */
import type * as z from "zod";
import { InputError, messageOf } from "./errors.ts";
import { type Links, largestJson } from "./open.ts";
import { parseInput } from "./problem.ts";
import { printable, quoted, readInput, withoutByteOrderMark } from "./text.ts";

/**
 * @param where opens the message: a file, or a file and a line
 * @throws InputError when it is none, or an object has one name twice: two readers would see two different values
 */
export function parseJson(text: string, where: string): unknown {
  const plain = withoutByteOrderMark(text);
  let value: unknown;
  try {
    value = JSON.parse(plain);
  } catch (cause) {
    throw new InputError(`${where} is not JSON: ${messageOf(cause)}`, { cause });
  }
  const [twice] = repeatedNames(plain);
  if (twice !== undefined) throw new InputError(`${where}: ${occursTwice(twice)}`);
  return value;
}

export const occursTwice = (name: string): string => `the name ${quoted(printable(name))} occurs twice in one object`;

/**
 * Names that occur more than once in one object. `JSON.parse` keeps the last of them in silence.
 *
 * @param text valid JSON
 * @returns each of them once, in order
 */
export function repeatedNames(text: string): string[] {
  const repeated = new Set<string>();
  /** Names seen so far in each open object, outermost first; null for a list. */
  const open: (Set<string> | null)[] = [];
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case codes.quote: {
        const end = endOfString(text, at);
        const names = open.at(-1);
        if (names != null && followedByColon(text, end)) {
          const written = text.slice(at, end);
          const name = written.includes("\\") ? (JSON.parse(written) as string) : written.slice(1, -1);
          if (names.has(name)) repeated.add(name);
          names.add(name);
        }
        at = end - 1;
        break;
      }
      case codes.openObject:
        open.push(new Set());
        break;
      case codes.openList:
        open.push(null);
        break;
      case codes.closeObject:
      case codes.closeList:
        open.pop();
        break;
    }
  }
  return [...repeated];
}

const codes = {
  quote: 0x22,
  backslash: 0x5c,
  openObject: 0x7b,
  closeObject: 0x7d,
  openList: 0x5b,
  closeList: 0x5d,
} as const;

/** The index behind the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); ; at = text.indexOf('"', at + 1)) {
    let escapes = 0;
    while (text.charCodeAt(at - 1 - escapes) === codes.backslash) escapes++;
    if (escapes % 2 === 0) return at + 1;
  }
}

function followedByColon(text: string, start: number): boolean {
  let at = start;
  while (text[at] === " " || text[at] === "\n" || text[at] === "\t" || text[at] === "\r") at++;
  return text[at] === ":";
}

export const parseAs = <Value>(schema: z.ZodType<Value>, text: string, where: string): Value =>
  parseInput(where, schema, parseJson(text, where));

/** @throws InputError when the file cannot be read, has more than `most` bytes, or is not JSON */
export const readJson = (path: string, most = largestJson, links?: Links): unknown =>
  parseJson(readInput(path, most, links), path);

export const readJsonAs = <Value>(schema: z.ZodType<Value>, path: string, most?: number, links?: Links): Value =>
  parseInput(path, schema, readJson(path, most, links));
