/**
 * Runs a scenario on a disk that fails, again and again until it is through. Whatever happened, the folder holds the bytes of
 * a run that nothing happened to; or, where the disk lied or a bit turned, one error says what is damaged.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { InputError, MachineError, ScenarioError } from "../../../src/base/errors.ts";
import { Rng } from "../../../src/base/random.ts";
import { flawOfFiles } from "../../../src/folder/run-files.ts";
import { filesIn, openRunFolder, readRecord } from "../../../src/folder/run-folder.ts";
import { readCheckpoint } from "../../../src/folder/saved-state.ts";
import type { RunOptions } from "../../../src/run/options.ts";
import { loadRun, type Reload, resume } from "../../../src/run/resume.ts";
import { run } from "../../../src/run/run.ts";
import type { Scenario } from "../../../src/scenario/define.ts";
import { holds, verifyRun } from "../../../src/study/verify.ts";
import { assertSameFolder, assertSameRun } from "../run-folders.ts";
import { noTrouble, SimulatedDisk, type Trouble } from "./disk.ts";

/** Power-ons before the disk is sound for good. */
const mostLives = 4;

const hadFinished = "had finished";
const logs = ["events.jsonl", "metrics.jsonl", "participations.jsonl"];

/** What befalls the disk in one life. */
export type Fate = Trouble & {
  /** A bit turns after it. */
  readonly rots: boolean;
};

export const calm: Fate = { ...noTrouble, rots: false };

export interface Straight {
  /** The folder of the run that nothing happened to. */
  readonly out: string;
  readonly operations: number;
  readonly virtualTime: number;
  readonly eventCount: number;
}

export async function playStraight(scenario: Scenario, folder: string, options: RunOptions = {}): Promise<Straight> {
  const disk = diskIn(join(folder, "straight"), 0);
  const out = join(disk.root, "run");
  const { virtualTime, diagnostics } = await disk.whileOn(noTrouble, () =>
    run(scenario, { ...optionsFor(options), out }),
  );
  return { out, operations: disk.operations, virtualTime, eventCount: diagnostics.events! };
}

/**
 * @param fates of one life after the other; the last is followed by one without trouble
 * @returns how it ended: "same bytes", or the error that says what is damaged
 * @throws AssertionError for a result that is silently another, and for every other ending
 */
export async function playLives(
  scenario: Scenario,
  straight: Straight,
  folder: string,
  fates: readonly Fate[],
  seed: number,
  options: RunOptions = {},
): Promise<string> {
  const disk = diskIn(folder, seed);
  const out = join(disk.root, "run");
  const story: string[] = [];
  const told = () => `${story.join("; ")}: `;
  /** Nobody can promise anything then but to say so. */
  let isExcused = false;
  /** No life has brought the run to its end since. */
  let isSpoilt = false;
  for (const fate of [...fates, calm, calm]) {
    isExcused ||= fate.lies;
    const { said, error } = await disk.whileOn(fate, () => live(scenario, out, optionsFor(options)));
    story.push(said);
    const hasFinished = error === null && !disk.isOff;
    if (hasFinished && said !== hadFinished) isSpoilt = fate.lies;
    const isRefused = disk.operations > fate.refuseAt;
    if (error !== null && !disk.isOff) {
      assert.ok(
        error instanceof InputError || error instanceof MachineError || error instanceof ScenarioError,
        `${told()}ended by no error of the machine's or the input's: ${error.stack}`,
      );
      const namesIt = error.message.includes(out) || /^(checkpoint|scenario) /.test(error.message);
      assert.ok(namesIt, `${told()}does not say what is damaged`);
      if (isExcused && !isRefused) return said;
      assert.ok(isRefused, `${told()}a sound disk, and the run ends with an error`);
    }
    const rotten = disk.restart(fate.rots);
    if (rotten !== null) {
      isExcused = true;
      isSpoilt = true;
      story.push(`a bit of ${relative(disk.root, rotten)} turned`);
    }
    if (fate.lies) story.push("the disk has lied");
    if (isExcused) continue;
    assertCheckpointsHold(out, told());
    if (!hasFinished) continue;
    assert.ok(existsSync(join(out, "result.json")), `${told()}what had finished is gone after a power cut`);
    assertSameRun(out, straight.out, `${told()}after a power cut`);
  }
  // Of a process that is gone; whoever comes next takes it over.
  rmSync(join(out, "lock"), { force: true });
  if (!isExcused) assertSameFolder(out, straight.out, told());
  // What was damaged before the run went on has been found, or is of no use to it.
  else if (!isSpoilt) assertSameRun(out, straight.out, told(), logs);
  // The seal has the digests of all other files.
  else if (holds(await verifyRun(out))) assertSameRun(out, straight.out, `${told()}verified`, ["result.json"]);
  return "same bytes";
}

/** A checkpoint that has its name is whole, and the logs come as far as it says. */
function assertCheckpointsHold(out: string, told: string): void {
  if (!existsSync(join(out, "scenario.json"))) return;
  const folder = openRunFolder(out);
  for (const name of filesIn(folder.checkpoints, ".ckpt")) {
    const flaw = flawOfFiles(folder, readCheckpoint(folder.checkpoints, name).files);
    assert.equal(flaw, null, `${told}checkpoint ${name}`);
  }
}

/** What a user does after a power cut: the same command, or `flame resume`. */
async function live(
  scenario: Scenario,
  out: string,
  options: RunOptions,
): Promise<{ readonly said: string; readonly error: Error | null }> {
  try {
    const isRun = existsSync(join(out, "scenario.json"));
    if (!isRun) {
      await run(scenario, { ...options, out });
      return { said: "ran to its end", error: null };
    }
    if (readRecord(openRunFolder(out))?.state === "finished") return { said: hadFinished, error: null };
    await resume(await loadRun(out, reloadOf(scenario)), options);
    return { said: "resumed to its end", error: null };
  } catch (thrown) {
    const error = thrown as Error;
    return { said: error.message, error };
  }
}

/** Functions of a scenario are not in its folder. */
const reloadOf =
  (scenario: Scenario): Reload =>
  async ({ source }) => ({ scenario, source });

const optionsFor = (options: RunOptions): RunOptions => ({
  workers: 1,
  source: { file: import.meta.filename, digest: "of the swarm", changes: {} },
  ...options,
});

function diskIn(root: string, seed: number): SimulatedDisk {
  mkdirSync(root);
  return new SimulatedDisk(root, new Rng(seed).at("swarm disk").at(0));
}

/** Of a seed: one to three lives, each with a trouble of its own. */
export function fatesOf(seed: number, operations: number): Fate[] {
  const draws = new Rng(seed).at("swarm fates").at(0);
  const lives = 1 + draws.below(mostLives - 1);
  return Array.from({ length: lives }, () => ({
    // One in ten lives to its end; then the power fails as well.
    cutAt: draws.bernoulli(0.1) ? Infinity : draws.below(operations),
    refuseAt: draws.bernoulli(0.3) ? draws.below(operations) : Infinity,
    isShort: draws.bernoulli(0.3),
    isSlow: draws.bernoulli(0.3),
    hasNoLinks: draws.bernoulli(0.1),
    lies: draws.bernoulli(0.1),
    rots: draws.bernoulli(0.3),
  }));
}
