/** Decides about one swarm case: plays it straight under the rules, then again in other ways that must not show. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { trainingHandlers } from "../../../actors/training.ts";
import type { WorkerData } from "../../../actors/worker.ts";
import { messageOf } from "../../../src/base/errors.ts";
import { Rng } from "../../../src/base/random.ts";
import { type Prepared, prepare } from "../../../src/run/prepare.ts";
import { InlinePool } from "../../../src/runtime/pools/inline-pool.ts";
import { PiscinaPool } from "../../../src/runtime/pools/piscina-pool.ts";
import type { WorkPool } from "../../../src/runtime/pools/pool.ts";
import type { Scenario } from "../../../src/scenario/define.ts";
import { createEngine } from "../../../src/tasks/open/create-engine.ts";
import { onThisThread } from "../tabular-run.ts";
import { tinyModel } from "../tiny-model.ts";
import { scrambledPool, toyPool } from "../toy-engine.ts";
import { checkersFor } from "./checkers.ts";
import { firstSeed } from "./commit-seed.ts";
import { type Played, play } from "./drive.ts";
import { type Case, caseOf, featuresOf, type Kind, scenarioOf } from "./generate.ts";
import { fatesOf, playLives, playStraight } from "./judge-disk.ts";
import { type Rare, whileRare } from "./rare.ts";

export interface Verdict {
  readonly swarm: Case;
  /** Null when all is well. */
  readonly failure: string | null;
  readonly virtualHours: number;
  readonly events: number;
  /** Updates that were counted: a world without any has little to break. */
  readonly counted: number;
  /** Rare branches of the program that were taken; the straight run takes none. */
  readonly rare: Rare;
}

/** Where swarm scenarios find their base model. Made once per process. */
export class Workshop {
  readonly #folder = mkdtempSync(join(tmpdir(), "flame-swarm-"));
  readonly #model = tinyModel(this.#folder);

  prepare(scenario: Scenario): Promise<Prepared> {
    return prepare(scenario, { embedded: this.#model, cache: join(this.#folder, "cache") });
  }

  /** An empty folder. */
  place(): string {
    return mkdtempSync(join(this.#folder, "disk-"));
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export async function judge(swarm: Case, workshop: Workshop): Promise<Verdict> {
  let straight: Played | null = null;
  const rare: Rare = {};
  try {
    const scenario = scenarioOf(swarm);
    if (swarm.kind === "disk") {
      return { swarm, failure: null, rare, ...(await judgeOnDisk(scenario, workshop.place(), rare)) };
    }
    const prepared = await workshop.prepare(scenario);
    const [pool, otherPool] = poolsFor(swarm.kind);
    straight = await play(scenario, { prepared, pool, checkers: checkersFor(scenario) });
    const draws = new Rng(swarm.seed).at("swarm interruptions").at(0);
    const stops = [draws.below(straight.eventCount + 1), draws.below(straight.eventCount + 1)];
    const interruptAfter = [...new Set(stops)].sort((a, b) => a - b);
    // The rules hold across the seam, too.
    const again = { prepared, pool, interruptAfter, checkers: checkersFor(scenario) };
    const resumed = await whileRare(swarm.seed, rare, () => play(scenario, again));
    assertSame(resumed, straight, `resumed after event ${interruptAfter.join(" and ")}`);
    if (otherPool !== null) {
      assertSame(await play(scenario, { prepared, pool: otherPool }), straight, "with other workers");
    }
    return { swarm, failure: null, rare, ...sizeOf(straight) };
  } catch (error) {
    const stack = error instanceof Error && error.name !== "RuleBroken" ? `\n${error.stack}` : "";
    return { swarm, failure: `${messageOf(error)}${stack}`, rare, ...sizeOf(straight) };
  }
}

export interface Seeds {
  readonly kind: Kind;
  readonly count: number;
  /** Seeds of this commit that another test judges. */
  readonly skip?: number;
  readonly all?: boolean;
}

/** Judges seeds that every commit has others of. @throws AssertionError for the first that fails */
export async function judgeSeeds(workshop: Workshop, { kind, count, skip = 0, all = false }: Seeds): Promise<void> {
  const first = firstSeed().seed + skip;
  for (let seed = first; seed < first + count; seed++) await judgeSoundly(workshop, caseOf(kind, seed, all));
}

/** @throws AssertionError with the commands that show a failure again and keep it */
export async function judgeSoundly(workshop: Workshop, swarm: Case, remark = ""): Promise<Verdict> {
  const verdict = await judge(swarm, workshop);
  const again = commandFor(swarm);
  assert.equal(verdict.failure, null, `${verdict.failure}\n  ${remark}\n  ${again}\n  ${again} --keep`);
  return verdict;
}

type Size = Pick<Verdict, "virtualHours" | "events" | "counted">;

const sizeOf = (played: Pick<Played, "virtualTime" | "eventCount" | "participations"> | null): Size => ({
  virtualHours: (played?.virtualTime ?? 0) / 3_600_000,
  events: played?.eventCount ?? 0,
  counted: played?.participations.match(/"outcome":"counted"/g)?.length ?? 0,
});

async function judgeOnDisk(scenario: Scenario, folder: string, rare: Rare): Promise<Size> {
  const { seed } = scenario.data;
  const options = { pool: onThisThread };
  const straight = await playStraight(scenario, folder, options);
  const fates = fatesOf(seed, straight.operations);
  await whileRare(seed, rare, () => playLives(scenario, straight, join(folder, "lives"), fates, seed, options));
  const { virtualTime, eventCount } = straight;
  const participations = readFileSync(join(straight.out, "participations.jsonl"), "utf8");
  rmSync(folder, { recursive: true });
  return sizeOf({ virtualTime, eventCount, participations });
}

type MakePool = (prepared: Prepared) => WorkPool;

/** The pool of the straight run, and one that works in another order on other threads; null where there is no work. */
function poolsFor(kind: Kind): [MakePool, MakePool | null] {
  if (kind === "timing") return [() => new InlinePool({}), null];
  if (kind === "toy") return [toyPool, scrambledPool];
  const engine = ({ training }: Prepared) => ({ task: training!.spec, engine: "onnx" as const });
  return [
    (prepared) =>
      new InlinePool(
        trainingHandlers(
          () => prepared.training!.setup,
          () => createEngine(engine(prepared)),
        ),
      ),
    (prepared) => {
      const workerData: WorkerData = { setup: prepared.training!.setup, engine: engine(prepared) };
      return new PiscinaPool({
        worker: new URL("../../../actors/worker.ts", import.meta.url),
        workers: 2,
        workerData,
      });
    },
  ];
}

/** Names the first line in which two plays part. */
function assertSame(actual: Played, expected: Played, how: string): void {
  for (const file of ["events", "participations", "metrics"] as const) {
    if (actual[file] === expected[file]) continue;
    const [ours, theirs] = [actual[file].split("\n"), expected[file].split("\n")];
    const line = theirs.findIndex((text, at) => text !== ours[at]);
    throw new Error(`${how}, ${file} line ${line + 1} is\n  ${ours[line]}\nand straight\n  ${theirs[line]}`);
  }
  if (actual.digest !== expected.digest) throw new Error(`${how}, the digest is another`);
  const differs = actual.adapter?.findIndex((value, at) => !Object.is(value, expected.adapter![at])) ?? -1;
  if (differs >= 0) throw new Error(`${how}, value ${differs} of the adapter is another`);
}

/** The smallest case found that still fails, by leaving out one feature after the other, then by size. */
export async function shrink(failing: Case, fails: (swarm: Case) => Promise<boolean>): Promise<Case> {
  let smallest = failing;
  for (let progress = true; progress; ) {
    progress = false;
    for (const feature of featuresOf(smallest)) {
      const simpler = { ...smallest, without: [...smallest.without, feature] };
      if (!(await fails(simpler))) continue;
      smallest = simpler;
      progress = true;
    }
    for (const scale of [0.1, 0.25, 0.5]) {
      if (scale >= smallest.scale || !(await fails({ ...smallest, scale }))) continue;
      smallest = { ...smallest, scale };
      progress = true;
      break;
    }
  }
  return smallest;
}

/** The command line that plays one case again. */
export function commandFor({ kind, seed, without, scale, all }: Case): string {
  const words = ["npm run swarm --", `--seed ${seed}`];
  if (kind !== "timing") words.push(`--kind ${kind}`);
  if (all) words.push("--all");
  if (without.length > 0) words.push(`--without ${without.join(",")}`);
  if (scale !== 1) words.push(`--scale ${scale}`);
  return words.join(" ");
}
