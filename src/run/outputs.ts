/** What is made of a run that has finished: its result, the adapter, the report, the timeline. */

import type { Best } from "../../actors/server-state.ts";
import { makeFolder, onDisk, writeAtomically } from "../base/disk.ts";
import { given } from "../base/given.ts";
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

/** An adapter, and what goes with it at each budget. */
type Learned = Omit<Best, "adapter"> & { readonly adapter: Float32Array };

interface Finished {
  readonly scenario: Scenario;
  readonly prepared: Prepared;
  readonly federation: Federation;
  readonly engine: EngineName;
}

/** Adapter and pictures. Before anything is judged: a claim is code of somebody who has not seen it run. */
export async function writeLearned(folder: RunFolder, finished: Finished): Promise<void> {
  const { scenario, prepared, federation, engine } = finished;
  const { adapter, course } = federation;
  const { task, training } = prepared;
  if (adapter === null || training === null) return;
  await writePictures(folder, prepared, adapter, engine);
  const { model, name } = scenario.data;
  const write = (place: string, learned: Learned) => {
    onDisk(`cannot write ${place}`, () => makeFolder(place));
    removeHalfWritten(place);
    task.save(place, learned.adapter, training.spec, typeof model === "string" ? model : name);
    writeRescalers(place, learned);
  };
  write(folder.adapter, { adapter, rescalers: federation.rescalers() });
  if (course?.best) write(folder.best, course.best);
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
  const { digest, adapterDigest, rounds, divergedIn, rows, heldOut, stop, expectations } = result;
  const totals = totalsOf(rows);
  const evaluations = rows.findLast((row) => row.evaluations.length > 0)?.evaluations ?? [];
  const found = {
    digest,
    adapterDigest,
    rounds,
    divergedIn,
    totals,
    evaluations,
    heldOut,
    ...given({ stop }),
    expectations,
  };
  writeAtomically(folder.result, `${JSON.stringify(sealed(folder, { ...origin, ...found }), null, 2)}\n`);
}
