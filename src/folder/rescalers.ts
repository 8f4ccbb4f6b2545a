/** `rescalers.json`, beside an adapter: the factors of each budget, for which PEFT has no place. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { writeAtomically } from "../base/disk.ts";
import { InputError } from "../base/errors.ts";
import { readJsonAs } from "../base/json.ts";
import { largestRecord } from "./run-folder.ts";

const rescalersSchema = z.object({
  rescalers: z.array(z.object({ topK: z.int().min(1), factors: z.array(z.number()).readonly() })).readonly(),
});

export const rescalersIn = (folder: string): string => join(folder, "rescalers.json");

/** Writes what {@link readRescalers} reads. */
export function writeRescalers(folder: string, { rescalers }: z.input<typeof rescalersSchema>): void {
  writeAtomically(rescalersIn(folder), `${JSON.stringify({ rescalers }, null, 2)}\n`);
}

/**
 * One factor a layer, by budget; null in a folder that says nothing of them.
 *
 * @throws InputError when there is another number of factors
 */
export function readRescalers(folder: string, layers: number): ReadonlyMap<number, Float32Array> | null {
  const path = rescalersIn(folder);
  if (!existsSync(path)) return null;
  const { rescalers } = readJsonAs(rescalersSchema, path, largestRecord);
  for (const { topK, factors } of rescalers) {
    if (factors.length === layers) continue;
    throw new InputError(
      `${path}: k = ${topK} has ${factors.length} factors, expected one for each of ${layers} layers`,
    );
  }
  return new Map(rescalers.map(({ topK, factors }) => [topK, Float32Array.from(factors)]));
}
