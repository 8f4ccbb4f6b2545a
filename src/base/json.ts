/** JSON from files. Where a text is none, or says something else than expected, the error names the place. */
import { z } from "zod";
import { InputError, messageOf } from "./errors.ts";
import { readInput } from "./text.ts";

/** @param where opens the message: a file, or a file and a line */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InputError(`${where} is not JSON: ${messageOf(cause)}`, { cause });
  }
}

/** @throws InputError that names the first fields that are not as the schema says */
export function expectShape<Value>(schema: z.ZodType<Value>, value: unknown, where: string): Value {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.slice(0, 3).map(({ path, message }) => {
    return path.length === 0 ? message : `${z.core.toDotPath(path)}: ${message}`;
  });
  throw new InputError(`${where}: ${issues.join("; ")}`);
}

export const parseAs = <Value>(schema: z.ZodType<Value>, text: string, where: string): Value =>
  expectShape(schema, parseJson(text, where), where);

/** @throws InputError when the file cannot be read, has more than `most` bytes, or is not JSON */
export const readJson = (path: string, most?: number): unknown => parseJson(readInput(path, most), path);

export const readJsonAs = <Value>(schema: z.ZodType<Value>, path: string, most?: number): Value =>
  expectShape(schema, readJson(path, most), path);
