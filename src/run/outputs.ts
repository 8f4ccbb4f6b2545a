/** What is made of a run that has finished: its result, the adapter, the report, the timeline. */
import { makeFolder, onDisk, writeAtomically } from "../base/disk.ts";
import type { EngineName } from "../engine/names.ts";
import { writeRescalers } from "../folder/rescalers.ts";
import { type ResultRecord, type RunFolder, removeHalfWritten } from "../folder/run-folder.ts";
import { sealed } from "../folder/seal.ts";
import { totalsOf } from "../records/totals.ts";
import type { Scenario } from "../scenario/define.ts";
import { createEngine } from "../tasks/open/create-engine.ts";
import type { Federation } from "./federation.ts";
import type { Prepared } from "./prepare.ts";
import type { RunResult } from "./result.ts";

interface Finished {
  readonly scenario: Scenario;
  readonly prepared: Prepared;
  readonly federation: Federation;
  readonly engine: EngineName;
}

/** Adapter and pictures. Before anything is judged: a claim is code of somebody who has not seen it run. */
export async function writeLearned(folder: RunFolder, finished: Finished): Promise<void> {
  const { scenario, prepared, federation, engine } = finished;
  const { adapter } = federation;
  const { task, training } = prepared;
  if (adapter === null || training === null) return;
  await writePictures(folder, prepared, adapter, engine);
  onDisk(`cannot write ${folder.adapter}`, () => makeFolder(folder.adapter));
  removeHalfWritten(folder.adapter);
  const { model, name } = scenario.data;
  task.save(folder.adapter, adapter, training.spec, typeof model === "string" ? model : name);
  writeRescalers(folder.adapter, { rescalers: federation.rescalers() });
}

/** Of tasks that have any. */
async function writePictures(
  folder: RunFolder,
  { task, training }: Prepared,
  parameters: Float32Array,
  engine: EngineName,
): Promise<void> {
  if (task.pictures === undefined || training === null) return;
  const opened = await createEngine({ task: training.spec, engine });
  try {
    // A copy: native executors on Node 20 refuse shared memory.
    const sheets = await task.pictures(opened, parameters.slice(), training.setup.evaluation);
    writeAtomically(folder.pictures, `${JSON.stringify(sheets)}\n`);
  } finally {
    opened.dispose();
  }
}

/** Last: it seals everything else. */
export function writeResult(
  folder: RunFolder,
  result: RunResult,
  origin: Pick<ResultRecord, "made" | "continuedDespite">,
): void {
  const { digest, adapterDigest, rounds, divergedIn, rows, heldOut, expectations } = result;
  const totals = totalsOf(rows);
  const evaluations = rows.findLast((row) => row.evaluations.length > 0)?.evaluations ?? [];
  const found = { digest, adapterDigest, rounds, divergedIn, totals, evaluations, heldOut, expectations };
  writeAtomically(folder.result, `${JSON.stringify(sealed(folder, { ...origin, ...found }), null, 2)}\n`);
}
