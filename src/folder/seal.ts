/**
 * The seal of a finished run: the digests of its files, and one over the record that states them. It shows that a file
 * was damaged, or changed by hand and in passing; who knows the format can always seal anew.
 *
 * The report and the timeline are not under it: they are made from these files, and can be made again.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../base/digest.ts";
import { onDisk } from "../base/disk.ts";
import { InputError } from "../base/errors.ts";
import { digestOfFile } from "../base/open.ts";
import { memberFolders, type ResultRecord, type RunFolder } from "./run-folder.ts";

const records = ["scenario.json", "metrics.jsonl", "participations.jsonl", "pictures.json"];
/** Each task names its own: `network_config.json`, `network_model.safetensors`, `ranks.safetensors`. */
const adapterFile = "[a-z_]{1,40}_config\\.json|[a-z_]{1,40}\\.safetensors|rescalers\\.json";
const sealable = new RegExp(`^(${records.join("|")}|(adapter|best)/(member-\\d{1,3}/)?(${adapterFile}))$`);

const isSealable = (name: string): boolean => sealable.test(name);
const namesIn = (place: string): string[] =>
  existsSync(place) ? onDisk(`cannot read ${place}`, () => readdirSync(place)).sort() : [];

/** The event log has a digest of its own. */
export function sealed(folder: RunFolder, record: Omit<ResultRecord, "files" | "seal">): ResultRecord {
  const places = ["adapter", "best"].flatMap((place) => [
    place,
    ...memberFolders(join(folder.path, place)).map((name) => `${place}/${name}`),
  ]);
  const learned = places.flatMap((place) => namesIn(join(folder.path, place)).map((name) => `${place}/${name}`));
  const present = [...records.filter((name) => existsSync(join(folder.path, name))), ...learned.filter(isSealable)];
  const open = { ...record, files: Object.fromEntries(present.map((name) => [name, digestOf(folder, name)])) };
  return { ...open, seal: sealOf(open) };
}

/**
 * What is no longer as it was when the run had finished.
 *
 * @param concerns the files that are looked at besides `result.json`; all of them unless given
 */
export function broken(
  folder: RunFolder,
  { seal, ...open }: ResultRecord,
  concerns: (name: string) => boolean = () => true,
): string[] {
  const changed = Object.entries(open.files).flatMap(([name, digest]) => {
    if (!isSealable(name)) return [`result.json speaks of ${JSON.stringify(name)}, which no run leaves`];
    if (!concerns(name)) return [];
    if (!existsSync(join(folder.path, name))) return [`${name} is missing`];
    return digestOf(folder, name) === digest ? [] : [`${name} has been changed`];
  });
  return sealOf(open) === seal ? changed : ["result.json has been changed", ...changed];
}

/** @throws InputError when the adapter of a finished run is not the one that the run left */
export function requireSealedAdapter(folder: RunFolder, result: ResultRecord): void {
  const changed = broken(folder, result, (name) => name.startsWith("adapter/"));
  if (changed.length === 0) return;
  throw new InputError(
    `${folder.path} is not as its run left it: ${changed.join(", ")}; what was learned cannot be relied upon`,
  );
}

/** SHA-256 over what a folder holds of parameters. @throws InputError when it holds none */
export function digestOfLearned(folder: string): string {
  const places = ["", ...memberFolders(folder).map((name) => `${name}/`)];
  const names = places.flatMap((place) => namesIn(join(folder, place)).map((name) => `${place}${name}`));
  const files = names.filter((name) => isSealable(`adapter/${name}`));
  if (files.length === 0) throw new InputError(`${folder} holds no adapter, and nothing else that a run has trained`);
  const digests = files.map(
    (name) => `${name}\0${onDisk(`cannot read ${name}`, () => digestOfFile(join(folder, name)))}\n`,
  );
  return sha256(digests.join(""));
}

const sealOf = (record: Omit<ResultRecord, "seal">): string => sha256(JSON.stringify(record));

function digestOf(folder: RunFolder, name: string): string {
  const path = join(folder.path, name);
  return onDisk(`cannot read ${path}`, () => digestOfFile(path, "refused"));
}
