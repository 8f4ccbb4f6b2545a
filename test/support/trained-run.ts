/** One run that trained the tiny model, made once for all files of a test run. It is read; who changes it copies it. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";
import { scenarioToJson } from "../../src/scenario/define.ts";
import { lossFalls } from "../../src/scenario/expect.ts";
import { runFlame } from "./command-line.ts";
import { temporaryFolder } from "./folders.ts";
import { training } from "./scenarios.ts";
import { tinyModel } from "./tiny-model.ts";

/** `scripts/test.ts` says where the files of its run share what they make; a file that runs alone keeps it to itself. */
const shared = process.env.FLAME_TEST_SHARED ?? temporaryFolder({ after });

const base = join(shared, "base");

/** A scenario that `trainedRun` has to be called for before it can be run. */
export const trainedScenario = training(join(base, "tiny-model"), {
  rounds: { count: 3, cohort: 4, deadline: 60_000, minUpdates: 2 },
  training: { batchSize: 8, learningRate: 2e-2 },
  rescaler: { init: "ratio" },
  evaluateAt: [4, 2, 1],
  checkpoints: { every: 1, keep: 9 },
  expect: [lossFalls({ by: 0.01 })],
});

export interface TrainedRun {
  /** The folder of the finished run, made by one worker; the scenario in a file; and the base model. */
  readonly out: string;
  readonly file: string;
  readonly model: string;
  /** How the run says that it is made again. */
  readonly reproduce: string;
  /** What the command printed. */
  readonly said: string;
}

export async function trainedRun(): Promise<TrainedRun> {
  const [home, file] = [join(shared, "trained"), join(shared, "scenario.json")];
  await once(base, (own) => tinyModel(own));
  await once(file, (own) => writeFileSync(own, scenarioToJson(trainedScenario)));
  await once(home, async (own) => {
    const { code, out, err } = await runFlame("run", file, "--out", join(own, "run"), "--workers", "1");
    assert.equal(code, 0, err);
    writeFileSync(join(own, "said.txt"), out);
  });
  const said = readFileSync(join(home, "said.txt"), "utf8");
  return { out: join(home, "run"), file, model: join(base, "tiny-model"), reproduce: `npx flame run ${file}`, said };
}

/** Makes a file or folder, which is there whole or not at all: other files of tests may be about to make it, too. */
async function once(path: string, make: (own: string) => unknown): Promise<void> {
  if (existsSync(path)) return;
  const own = `${path}.${process.pid}`;
  await make(own);
  try {
    renameSync(own, path);
  } catch {
    rmSync(own, { recursive: true });
  }
}
