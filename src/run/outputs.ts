/** What is made of a run that has finished: its result, the adapter, the report, the timeline. */
import { makeFolder, onDisk, writeAtomically } from "../base/disk.ts";
import type { EngineName } from "../engine/names.ts";
import type { Provenance } from "../folder/provenance.ts";
import { type RunFolder, removeHalfWritten } from "../folder/run-folder.ts";
import { sealed } from "../folder/seal.ts";
import type { Scenario } from "../scenario/define.ts";
import { createEngine } from "../tasks/open/create-engine.ts";
import type { Federation } from "./federation.ts";
import type { Prepared } from "./prepare.ts";
import type { RunResult } from "./result.ts";
import { writeRescalers } from "./trained-adapter.ts";

interface Finished {
  readonly scenario: Scenario;
  readonly prepared: Prepared;
  readonly federation: Federation;
  readonly result: RunResult;
  readonly made: Provenance;
  readonly continuedDespite: readonly string[];
}

export function writeOutputs(folder: RunFolder, finished: Finished): void {
  writeAdapter(folder, finished);
  const { made, continuedDespite } = finished;
  const { digest, adapterDigest, rounds, divergedIn, expectations } = finished.result;
  const record = sealed(folder, { made, continuedDespite, digest, adapterDigest, rounds, divergedIn, expectations });
  writeAtomically(folder.result, `${JSON.stringify(record, null, 2)}\n`);
}

/** Of tasks that have any. */
export async function writePictures(
  folder: RunFolder,
  { task, training }: Prepared,
  parameters: Float32Array | null,
  engine: EngineName,
): Promise<void> {
  if (task.pictures === undefined || training === null || parameters === null) return;
  const opened = await createEngine({ task: training.spec, engine });
  try {
    const sheets = await task.pictures(opened, parameters, training.setup.evaluation);
    writeAtomically(folder.pictures, `${JSON.stringify(sheets)}\n`);
  } finally {
    opened.dispose();
  }
}

function writeAdapter(folder: RunFolder, { scenario, prepared, federation, result: { adapter } }: Finished): void {
  if (adapter === null) return;
  onDisk(`cannot write ${folder.adapter}`, () => makeFolder(folder.adapter));
  removeHalfWritten(folder.adapter);
  const { model, name } = scenario.data;
  const { task, training } = prepared;
  task.save(folder.adapter, adapter, training!.spec, typeof model === "string" ? model : name);
  writeRescalers(folder.adapter, { rescalers: federation.rescalers() });
}
