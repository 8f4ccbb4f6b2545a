/** Base weights on their way to another machine: a file in parts, each by its digest, so that a download can go on. */
import { closeSync, existsSync, ftruncateSync, openSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { sha256 } from "../../base/digest.ts";
import { makeFolder, onDisk, readFully, syncFolder, writeFully } from "../../base/disk.ts";
import { isRunning } from "../../base/processes.ts";
import type { Fetch } from "../../runtime/pools/nats-contents.ts";
import { contentSchema } from "../../runtime/pools/nats-wire.ts";

const partBytes = 2 ** 25;

/** Bytes of fetched files that are kept. */
const mostKept = 2 ** 36;

export const partsSchema = z.strictObject({
  /** Of the folder that it was converted into, for those who have converted the same. */
  folder: z.string().regex(/^[\w-]{1,100}$/),
  parts: z.array(contentSchema.refine(({ bytes }) => bytes > 0 && bytes <= partBytes)).max(2 ** 16),
});

/** Parts of equal size but for the last. */
export type Parts = z.output<typeof partsSchema>;

/** Of a file that stays as it is. */
export function partsOf(path: string): { parts: Parts; contents: ReadonlyMap<string, () => Uint8Array> } {
  const contents = new Map<string, () => Uint8Array>();
  const parts = onDisk(`cannot read ${path}`, () =>
    eachPart(path, (part, at) => {
      const digest = sha256(part);
      const { length } = part;
      contents.set(digest, () => onDisk(`cannot read ${path}`, () => partAt(path, at, length)));
      return { digest, bytes: length };
    }),
  );
  return {
    parts: {
      folder:
        basename(dirname(path))
          .replaceAll(/[^\w-]/g, "-")
          .slice(0, 100) || "weights",
      parts,
    },
    contents,
  };
}

/**
 * Where the file is on this machine: among the weights that were converted here, among those fetched before, or fetched
 * now. Whatever is found is hashed before it is used. A download that was cut off goes on where it was.
 *
 * @param cache a folder of converted weights; machines that share it fetch once
 */
export async function fetchWeights({ folder, parts }: Parts, cache: string, fetch: Fetch): Promise<string> {
  const converted = join(cache, folder, "weights.bin");
  const home = join(cache, "fetched");
  const name = sha256(parts.map(({ digest }) => digest).join());
  const fetched = join(home, `${name}.bin`);
  for (const path of [converted, fetched]) {
    if (goodParts(path, parts) === parts.length && statSync(path).size === totalOf(parts)) return path;
  }
  const partial = onDisk(`cannot write to ${home}`, () => {
    makeFolder(home);
    return adopted(home, name);
  });
  const begin = goodParts(partial, parts);
  const file = onDisk(`cannot write ${partial}`, () => openSync(partial, existsSync(partial) ? "r+" : "wx+"));
  try {
    for (const [at, part] of parts.entries()) {
      if (at < begin) continue;
      const content = await fetch(part);
      onDisk(`cannot write ${partial}`, () => writeFully(file, content, at * partBytes));
    }
    onDisk(`cannot write ${partial}`, () => ftruncateSync(file, totalOf(parts)));
  } finally {
    closeSync(file);
  }
  onDisk(`cannot write ${fetched}`, () => {
    renameSync(partial, fetched);
    syncFolder(home);
    prune(home, fetched);
  });
  return fetched;
}

const totalOf = (parts: Parts["parts"]): number => parts.reduce((sum, { bytes }) => sum + bytes, 0);

/** How many parts from the first on lie in the file as they should. */
function goodParts(path: string, parts: Parts["parts"]): number {
  let good = 0;
  if (!existsSync(path)) return good;
  onDisk(`cannot read ${path}`, () =>
    eachPart(path, (part) => {
      if (sha256(part) !== parts[good]?.digest) return null;
      good++;
      return part;
    }),
  );
  return good;
}

/** @param take returns null to stop */
function eachPart<Taken>(path: string, take: (part: Uint8Array, at: number) => Taken | null): Taken[] {
  const taken: Taken[] = [];
  const { size } = statSync(path);
  for (let at = 0; at < size; at += partBytes) {
    const found = take(partAt(path, at, Math.min(partBytes, size - at)), at);
    if (found === null) break;
    taken.push(found);
  }
  return taken;
}

function partAt(path: string, at: number, length: number): Uint8Array {
  const file = openSync(path, "r");
  try {
    const part = new Uint8Array(length);
    readFully(file, part, at, path);
    return part;
  } finally {
    closeSync(file);
  }
}

/** A download of our own: that of a process of this machine which is gone, where there is one. */
function adopted(home: string, name: string): string {
  const ours = `${name}.${hostname()}.${process.pid}.partial`;
  const left = readdirSync(home).find((other) => {
    const [, pid] = other.startsWith(`${name}.${hostname()}.`) ? (/\.(\d+)\.partial$/.exec(other) ?? []) : [];
    return pid !== undefined && !isRunning(Number(pid));
  });
  if (left !== undefined) renameSync(join(home, left), join(home, ours));
  return join(home, ours);
}

/** Removes what was fetched first, while there is too much. */
function prune(home: string, keep: string): void {
  const files = readdirSync(home)
    .filter((name) => name.endsWith(".bin"))
    .map((name) => ({ path: join(home, name), ...statSync(join(home, name)) }))
    .sort((a, b) => b.mtimeMs - a.mtimeMs);
  let size = 0;
  for (const { path, size: bytes } of files) {
    size += bytes;
    if (size > mostKept && path !== keep) rmSync(path, { force: true });
  }
}
