/** JSON from files. Where a text is none, or says something else than expected, the error names the place. */
import type { z } from "zod";
import { InputError, messageOf } from "./errors.ts";
import { type Links, largestJson } from "./open.ts";
import { parseInput } from "./problem.ts";
import { readInput, withoutByteOrderMark } from "./text.ts";

/** @param where opens the message: a file, or a file and a line */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(withoutByteOrderMark(text));
  } catch (cause) {
    throw new InputError(`${where} is not JSON: ${messageOf(cause)}`, { cause });
  }
}

export const parseAs = <Value>(schema: z.ZodType<Value>, text: string, where: string): Value =>
  parseInput(where, schema, parseJson(text, where));

/** @throws InputError when the file cannot be read, has more than `most` bytes, or is not JSON */
export const readJson = (path: string, most = largestJson, links?: Links): unknown =>
  parseJson(readInput(path, most, links), path);

export const readJsonAs = <Value>(schema: z.ZodType<Value>, path: string, most?: number, links?: Links): Value =>
  parseInput(path, schema, readJson(path, most, links));
