/** Finished runs on a bad disk: one bit of one file is another, or a file is cut off or gone. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { InputError, MachineError } from "../../../src/base/errors.ts";
import { Rng } from "../../../src/base/random.ts";
import { holds, verifyRun } from "../../../src/study/verify.ts";

export type Damage = "a bit" | "a cut";

export interface DamagedFile {
  readonly file: string;
  readonly what: string;
  /** Whether `verify` notices. */
  readonly isSeen: boolean;
}

/** Files that no seal covers: of the machine, or of use only while a run goes on. */
export const free = /^(diagnostics\.log|run\.json|checkpoints\/.*)$/;

/** The folder is as before when this is done. @throws what is no error of an input or of the machine */
export async function damagedFolder(
  folder: string,
  damage: Damage,
  number: number,
  seed: number,
): Promise<DamagedFile> {
  const draws = new Rng(seed).at(`damaged folders: ${damage}`).at(number);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
  const file = files[draws.below(files.length)]!;
  const path = join(folder, file);
  const whole = readFileSync(path);
  const isGone = damage === "a cut" && draws.bernoulli(0.3);
  const at = draws.below(Math.max(1, whole.length));
  const changed = damage === "a bit" ? flipped(whole, at, draws.below(8)) : whole.subarray(0, at);
  if (isGone) rmSync(path);
  else writeFileSync(path, changed);
  try {
    const isSeen = !holds(await verifyRun(folder));
    return { file, what: isGone ? "gone" : `${damage} at byte ${at}`, isSeen };
  } catch (error) {
    if (!(error instanceof InputError || error instanceof MachineError)) throw error;
    return { file, what: error.message, isSeen: true };
  } finally {
    writeFileSync(path, whole);
  }
}

function flipped(whole: Buffer, at: number, bit: number): Buffer {
  const changed = Buffer.from(whole);
  if (changed.length > 0) changed[at]! ^= 1 << bit;
  return changed;
}
