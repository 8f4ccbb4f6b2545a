/**
 * The identity of a checkpoint: SHA-256 over its configuration and its tensors by name, so that cutting a model into
 * other shards does not change it. Hashing runs at the speed of the disk (1.5 GB/s of SHA-256 on one core); files of
 * many gigabytes are not hashed again while size, inode and times say that nobody touched them.
 */
import { createHash } from "node:crypto";
import { realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { makeFolder, writeAtomically } from "../../base/disk.ts";
import { readText } from "../../base/text.ts";
import { blockRows } from "../../tensor/stored/stored.ts";
import type { BaseForm } from "../base-weights.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { TensorFolder } from "./tensor-folder.ts";

/** Part of every digest; changes when the executor layout does, so that old conversions are not taken for new ones. */
const layoutVersion = "flame-sim executor layout 1";

/** Below this hashing costs less than a tenth of a second, and file times are too coarse to be trusted. */
const rememberedBytes = 1 << 27;

const chunkBytes = 1 << 22;

/**
 * Digest in hexadecimal, of the weights in a form.
 *
 * @param cache a folder where the digests of large files are remembered
 */
export function checkpointDigest({ config, weights }: Checkpoint, cache: string, form: BaseForm = "f32"): string {
  const contents = rememberedDigest(weights, cache, () => contentDigest(weights));
  const stored = form === "f32" ? "" : `\n${form}, blocks of ${blockRows}`;
  return createHash("sha256")
    .update(`${layoutVersion}\n${JSON.stringify(config)}\n${contents}${stored}`)
    .digest("hex");
}

/** What `hash` finds, or found when the files were last as they are now. */
export function rememberedDigest(
  { files, bytes }: Pick<TensorFolder, "files" | "bytes">,
  cache: string,
  hash: () => string,
): string {
  // Taken before hashing: a file that changes meanwhile will not match its stamp.
  const stamps = files.map(stampOf);
  if (bytes < rememberedBytes) return hash();
  const key = createHash("sha256").update(files.map((path) => realpathSync(path)).join("\n"));
  const path = join(cache, `seen-${key.digest("hex").slice(0, 24)}.json`);
  const seen = readSeen(path);
  if (seen !== undefined && JSON.stringify(seen.stamps) === JSON.stringify(stamps)) return seen.digest;
  const digest = hash();
  makeFolder(cache);
  writeAtomically(path, JSON.stringify({ stamps, digest }));
  return digest;
}

/** What changes when a file does; nanoseconds, as text because they exceed a double. */
function stampOf(path: string): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
}

const seenSchema = z.object({ stamps: z.array(z.string()), digest: z.string().regex(/^[0-9a-f]{64}$/) });

function readSeen(path: string): z.infer<typeof seenSchema> | undefined {
  try {
    return seenSchema.parse(JSON.parse(readText(path, 2 ** 24)));
  } catch {
    // Absent, or written by something else: hashing again is always right.
    return undefined;
  }
}

function contentDigest(weights: TensorFolder): string {
  const hash = createHash("sha256");
  const chunk = new Uint8Array(chunkBytes);
  const byName = [...weights.tensors.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, dtype, shape, bytes } of byName) {
    hash.update(`${JSON.stringify([name, dtype, shape])}\n`);
    for (let first = 0; first < bytes; first += chunk.length) {
      const part = chunk.subarray(0, Math.min(chunk.length, bytes - first));
      weights.readBytes(name, part, first);
      hash.update(part);
    }
  }
  return hash.digest("hex");
}
