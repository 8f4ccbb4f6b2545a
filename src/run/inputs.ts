/** What a run was made from, held against what lies there now. */
import { onDisk } from "../base/disk.ts";
import { InputError, MachineError } from "../base/errors.ts";
import { digestOfFile } from "../base/open.ts";
import { isImageSource, loadImages } from "../data/images/source.ts";
import { changedInputs, type Digests, type Input, mixedRemark, type Places } from "../folder/provenance.ts";
import { openRunFolder, readRecord, readResult } from "../folder/run-folder.ts";
import { digestOfWarmStart } from "../folder/warm-start.ts";
import { ownCodeDigest } from "../scenario/own-code.ts";
import { openModel, shapeDigest } from "../tasks/llm/load-model.ts";
import { pathOf } from "../tasks/sources.ts";
import { embeddedModel } from "./package.ts";
import { recordedScenario } from "./trained-adapter.ts";

type Digest = (place: string) => string | null | Promise<string | null>;

/**
 * What somebody who uses a run should know of it: that it was continued although something had changed, and which of the
 * given inputs are not those it was made from. The seal of a finished run covers both.
 *
 * @param now digests of inputs; those that are left out are not compared
 */
export function remarksOn(path: string, now: Digests, places: Places = {}): string[] {
  const folder = openRunFolder(path);
  const origins = [readResult(folder), readRecord(folder)].filter((found) => found !== null);
  const marks = new Set(origins.flatMap(({ continuedDespite }) => continuedDespite));
  const made = origins[0]?.made;
  return [
    ...[...marks].map((what) => `continued with --force or elsewhere: ${what}`),
    ...(made?.mixedHardware === true ? [mixedRemark] : []),
    ...(made === undefined ? [] : changedInputs(made, now, places)),
  ];
}

/** Like {@link remarksOn}, of all inputs: they are read and hashed where the run found them, and nothing is made of them. */
export async function lookAtInputs(path: string): Promise<string[]> {
  const folder = openRunFolder(path);
  const record = readRecord(folder);
  const made = (readResult(folder) ?? record)?.made;
  if (made === undefined) return [];
  const { task, model, base, warmStart, data } = recordedScenario(path);
  const now: { -readonly [Key in Input]?: string | null } = {};
  const places: Partial<Record<Input, string>> = {};
  const unknown: string[] = [];
  const look = async (input: Input, place: string | undefined, digest: Digest): Promise<void> => {
    if (place === undefined || (made[input] ?? null) === null) return;
    try {
      places[input] = place;
      now[input] = await digest(place);
    } catch (error) {
      if (!(error instanceof InputError || error instanceof MachineError)) throw error;
      unknown.push(`not compared with what the run was made from: ${error.message}`);
    }
  };
  const hashed = (file: string): string => onDisk(`cannot read ${file}`, () => digestOfFile(file));
  const isModel = task.type === "llm" && typeof model === "string";
  const home = !isModel ? undefined : model === "embedded" ? embeddedModel() : model;
  const { source } = data;
  await look("data", pathOf(source), isImageSource(source) ? () => loadImages(source, { seed: 0 }).digest : hashed);
  await look("source", record?.source?.file, ownCodeDigest);
  await look(
    "model",
    home,
    made.engine === null ? (at) => shapeDigest(openModel(at).config) : (at) => openModel(at, base).digest(),
  );
  await look("warmStart", warmStart, digestOfWarmStart);
  await look("tokenizer", home, async (at) => (await openModel(at).tokenizer()).digest);
  return [...remarksOn(path, now, places), ...unknown];
}
