/**
 * The seal of a finished run: the digests of its files, and one over the record that states them. It shows that a file
 * was damaged, or changed by hand and in passing; who knows the format can always seal anew.
 *
 * The report and the timeline are not under it: they are made from these files, and can be made again.
 */
import { createHash } from "node:crypto";
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../base/digest.ts";
import { onDisk } from "../base/disk.ts";
import type { ResultRecord, RunFolder } from "./run-folder.ts";

const sealedFiles = [
  "scenario.json",
  "metrics.jsonl",
  "participations.jsonl",
  "adapter/adapter_config.json",
  "adapter/adapter_model.safetensors",
  "adapter/rescalers.json",
];

/** The event log has a digest of its own. */
export function sealed(folder: RunFolder, record: Omit<ResultRecord, "files" | "seal">): ResultRecord {
  const present = sealedFiles.filter((name) => existsSync(join(folder.path, name)));
  const open = { ...record, files: Object.fromEntries(present.map((name) => [name, digestOf(folder, name)])) };
  return { ...open, seal: sealOf(open) };
}

/** What is no longer as it was when the run had finished. */
export function broken(folder: RunFolder, { seal, ...open }: ResultRecord): string[] {
  const { files } = open;
  if (typeof seal !== "string" || typeof files !== "object" || files === null) return ["result.json has no seal"];
  const changed = Object.entries(files).flatMap(([name, digest]) => {
    if (!sealedFiles.includes(name)) return [`result.json speaks of ${JSON.stringify(name)}, which no run leaves`];
    if (!existsSync(join(folder.path, name))) return [`${name} is missing`];
    return digestOf(folder, name) === digest ? [] : [`${name} has been changed`];
  });
  return sealOf(open) === seal ? changed : ["result.json has been changed", ...changed];
}

const sealOf = (record: Omit<ResultRecord, "seal">): string => sha256(JSON.stringify(record));

/** Piece by piece: a year of participations is larger than a buffer may be. */
function digestOf(folder: RunFolder, name: string): string {
  const path = join(folder.path, name);
  return onDisk(`cannot read ${path}`, () => {
    const hash = createHash("sha256");
    const piece = Buffer.allocUnsafe(2 ** 20);
    const file = openSync(path, "r");
    try {
      for (let length = readSync(file, piece); length > 0; length = readSync(file, piece)) {
        hash.update(piece.subarray(0, length));
      }
    } finally {
      closeSync(file);
    }
    return hash.digest("hex");
  });
}
