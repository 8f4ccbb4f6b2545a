/**
 * Kills a run at random moments and resumes it, until it has happened often enough; then says how many of the runs left
 * the folder of one that nobody touched, byte for byte.
 *
 *   npm run kill -- --count 200
 *   npm run kill -- --count 50 --kind timing --scenario my-scenario.json
 *   npm run kill -- --count 20 --strategy scaffold
 *   npm run kill -- --count 20 --task vision        its first method unless --strategy names another
 *   npm run kill -- --from 17 --count 1             one run again, at the same moments
 *   npm run kill -- --built                         kills what is compiled, which starts faster than the sources
 *
 * A third of the processes are killed while they write a file, some while they start, before there is a run, and most at
 * any moment of the run. A run is killed up to four times, all but the first while it is resumed; one that came out
 * different is kept.
 */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Draws, Rng } from "../src/base/random.ts";
import { exitCodes } from "../src/cli/screen/failure.ts";
import { strategyFromSpec } from "../src/fl/strategies/registry.ts";
import { type Scenario, type ScenarioInput, scenarioFromJson, scenarioToJson } from "../src/scenario/define.ts";
import { embeddedScenario } from "../test/support/embedded-scenario.ts";
import { type Aftermath, killAndResume, type Moment } from "../test/support/kill.ts";
import { assertSameFolder } from "../test/support/run-folders.ts";
import { type SmallTask, smallTasks } from "../test/support/task-scenarios.ts";
import { foulWeather, stormy } from "../test/support/weather.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "200" },
    from: { type: "string", default: "0" },
    built: { type: "boolean", default: false },
    kind: { type: "string", default: "training" },
    scenario: { type: "string" },
    strategy: { type: "string" },
    task: { type: "string" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: String(availableParallelism()) },
  },
});

const folder = mkdtempSync(join(tmpdir(), "flame-kill-"));
process.env.XDG_CACHE_HOME = join(folder, "cache");
const workers = Number(values.workers);
const count = Number(values.count);
const program = values.built ? "built" : "source";
const rng = new Rng(Number(values.seed));
const scenario = chosenScenario();
const file = join(folder, "scenario.json");
writeFileSync(file, scenarioToJson(scenario));
/** Files that a run of `--kind` begins, checkpoints and all; more than a run has is a process that is left alone. */
const mostFiles = 16;

const straight = join(folder, "straight");
await play(straight);
// A second time, with the base model in its cache: that is how long the others take.
const second = join(folder, "second");
const calm = await play(second);
const { startUp } = calm;
let length = calm.took - startUp;
assertSameFolder(second, straight, "two runs that nobody touched");
console.log(
  `${scenario.data.name}: ${(startUp / 1_000).toFixed(1)} s until it is a run, ${(length / 1_000).toFixed(1)} s to its end`,
);

const begun = performance.now();
let kills = 0;
let identical = 0;
const failures: string[] = [];
const stages = new Map<string, number>();
const halves = new Map<string, number>();
let isStopped = false;
process.once("SIGINT", () => {
  isStopped = true;
  console.log("after this run");
});
for (let number = Number(values.from); kills < count && !isStopped; number++) {
  const draws = rng.at("kill").at(number);
  const out = join(folder, "killed");
  const moments = Array.from({ length: 1 + (number % 4) }, () => momentFrom(draws));
  const aftermath = await killAndResume({ file, out, moments, workers: [workers, 1], program });
  // A terminal tells all of its processes.
  if (isStopped && aftermath.code === exitCodes.interrupted) break;
  const dealt = aftermath.stages.length;
  // It ended before its time had come: the machine is faster by now.
  if (dealt === 0) length = aftermath.took - aftermath.startUp;
  if (dealt > 0) {
    kills += dealt;
    for (const stage of aftermath.stages) add(stages, stage);
    for (const name of aftermath.halves) add(halves, name.replace(/[\d-]+/g, "…"));
    const problem = problemOf(out, aftermath.code, aftermath.said);
    if (problem === null) identical += dealt;
    else {
      const kept = join(tmpdir(), `flame-killed-${process.pid}-${number}`);
      renameSync(out, kept);
      const task = values.task === undefined ? "" : ` --task ${values.task}`;
      const words = `npm run kill -- --kind ${values.kind}${task} --seed ${values.seed} --from ${number} --count 1`;
      failures.push(
        `killed ${JSON.stringify(moments)}, ${aftermath.stages.join(", ")}: ${problem}\n  ${words}\n  it lies in ${kept}`,
      );
      console.log(failures.at(-1));
    }
    const perKill = (performance.now() - begun) / 1_000 / kills;
    const left = `${perKill.toFixed(1)} s/kill, ${((Math.max(0, count - kills) * perKill) / 60).toFixed(0)} min left`;
    console.log(`${kills} kills, ${identical} identical, ${left}: ${aftermath.stages.join(", ")}`);
  }
  rmSync(out, { recursive: true, force: true });
}
for (const [stage, times] of [...stages].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }))) {
  console.log(`${stage}: ${times} kills`);
}
for (const [name, times] of halves) console.log(`while ${name} was being written: ${times} kills`);
for (const failure of failures) console.log(failure);
console.log(`${identical} of ${kills} kills left a run that is byte for byte the one that nobody touched`);
rmSync(folder, { recursive: true, force: true });
process.exitCode = failures.length === 0 ? 0 : 1;

function momentFrom(draws: Draws): Moment {
  if (draws.bernoulli(1 / 3)) return { onFile: 1 + draws.below(mostFiles) };
  // A process takes its time until there is a run; few should die before.
  if (draws.bernoulli(1 / 6)) return { afterStart: Math.floor(startUp * draws.uniform()) };
  return { afterLock: Math.floor(length * draws.uniform()) };
}

/** A run that nobody touches. */
async function play(out: string): Promise<Aftermath> {
  const aftermath = await killAndResume({ file, out, moments: [], workers: [workers], program });
  if (aftermath.code !== 0) throw new Error(`the run itself fails:\n${aftermath.said}`);
  return aftermath;
}

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function chosenScenario(): Scenario {
  if (values.scenario !== undefined) {
    return scenarioFromJson(JSON.parse(readFileSync(resolve(values.scenario), "utf8")));
  }
  // Nobody leaves for good, or the fleet would be empty long before the end.
  const { churn: _, ...world } = foulWeather(5);
  if (values.kind === "timing") return stormy(5, { rounds: { count: 400, cohort: 8, deadline: 60_000 }, world });
  const small = values.task === undefined ? undefined : smallTasks[values.task];
  if (values.task !== undefined && small === undefined) {
    throw new Error(`--task is ${values.task}, expected one of ${Object.keys(smallTasks).join(", ")}`);
  }
  const usual = small?.strategies[0] ?? { type: "flame" };
  const strategy = strategyFromSpec(values.strategy === undefined ? usual : { type: values.strategy });
  return embeddedScenario({ strategy, ...embeddedFields(small), rounds: { count: 3, cohort: 4, deadline: 300_000 } });
}

/** The task on the fleet of the embedded scenario. */
function embeddedFields(small: SmallTask | undefined): Partial<ScenarioInput> {
  if (small === undefined) return {};
  const fleet = embeddedScenario().data.fleet.map((tier) => ({
    ...tier,
    budget: Math.min(Number(tier.budget), small.budgets),
  }));
  const clients = fleet.reduce((sum, tier) => sum + tier.clients, 0);
  return { fleet, ...small.fields(clients) } as Partial<ScenarioInput>;
}

function problemOf(out: string, code: number, said: string): string | null {
  if (code !== 0) return `exit code ${code}\n${said}`;
  try {
    assertSameFolder(out, straight, "bytes");
  } catch (error) {
    return (error as Error).message;
  }
  return null;
}
