/**
 * Kills a run at random moments and resumes it, until it has happened often enough; then says how many of the runs left
 * the bytes of one that nobody touched.
 *
 *   npm run kill -- --count 200
 *   npm run kill -- --count 50 --kind timing --scenario my-scenario.json
 *
 * Every other run is killed a second time while it is resumed, and a few before they have begun.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Rng } from "../src/base/random.ts";
import { type Scenario, scenarioFromJson, scenarioToJson } from "../src/scenario/define.ts";
import { embeddedScenario } from "../test/support/embedded-scenario.ts";
import { killAndResume } from "../test/support/kill.ts";
import { assertSameRun, sameFiles } from "../test/support/run-folders.ts";
import { foulWeather, stormy } from "../test/support/weather.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "200" },
    kind: { type: "string", default: "training" },
    scenario: { type: "string" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: String(availableParallelism()) },
  },
});

const folder = mkdtempSync(join(tmpdir(), "flame-kill-"));
process.env.XDG_CACHE_HOME = join(folder, "cache");
const workers = Number(values.workers);
const count = Number(values.count);
const rng = new Rng(Number(values.seed));
const scenario = chosenScenario();
const file = join(folder, "scenario.json");
writeFileSync(file, scenarioToJson(scenario));
const files = scenario.data.timingOnly
  ? sameFiles
  : [...sameFiles, "adapter/adapter_model.safetensors", "adapter/rescalers.json"];

const straight = join(folder, "straight");
const begun = performance.now();
const whole = await killAndResume({ file, out: straight, delays: [], workers: [workers] });
if (whole.code !== 0) throw new Error(`the run itself fails:\n${whole.said}`);
// Loading the program takes part of that; kills after the end are not counted.
const length = performance.now() - begun;
console.log(`${scenario.data.name}: ${(length / 1_000).toFixed(1)} s from beginning to end`);

let kills = 0;
let identical = 0;
const failures: string[] = [];
const where = new Map<number, number>();
for (let number = 0; kills < count; number++) {
  const draws = rng.at("kill").at(number);
  const out = join(folder, "killed");
  const delays = Array.from({ length: 1 + (number % 2) }, () => Math.floor(length * draws.uniform()));
  const aftermath = await killAndResume({ file, out, delays, workers: [workers, 1] });
  if (aftermath.kills > 0) {
    kills += aftermath.kills;
    for (const round of aftermath.rounds) where.set(round, (where.get(round) ?? 0) + 1);
    const problem = problemOf(out, aftermath.code, aftermath.said);
    if (problem === null) identical += aftermath.kills;
    else failures.push(`kill after ${delays.join(" and ")} ms (--seed ${values.seed}, run ${number}): ${problem}`);
    console.log(`${kills} kills, ${identical} identical${failures.length > 0 ? `, ${failures.length} FAILED` : ""}`);
  }
  rmSync(out, { recursive: true, force: true });
}
for (const [round, times] of [...where].sort(([a], [b]) => a - b)) {
  console.log(`${round < 0 ? "before the first row of metrics" : `after round ${round}`}: ${times} kills`);
}
for (const failure of failures) console.log(failure);
console.log(`${identical} of ${kills} kills left a run that is byte for byte the one that nobody touched`);
rmSync(folder, { recursive: true, force: true });
process.exitCode = failures.length === 0 ? 0 : 1;

function chosenScenario(): Scenario {
  if (values.scenario !== undefined) {
    return scenarioFromJson(JSON.parse(readFileSync(resolve(values.scenario), "utf8")));
  }
  // Nobody leaves for good, or the fleet would be empty long before the end.
  const { churn: _, ...world } = foulWeather(5);
  if (values.kind === "timing") return stormy(5, { rounds: { count: 1_500, cohort: 8, deadline: 60_000 }, world });
  return embeddedScenario({ rounds: { count: 3, cohort: 4, deadline: 300_000 } });
}

function problemOf(out: string, code: number, said: string): string | null {
  if (code !== 0) return `exit code ${code}\n${said}`;
  try {
    assertSameRun(out, straight, "bytes", files);
  } catch (error) {
    return (error as Error).message;
  }
  return existsSync(join(out, "report.html")) ? null : "there is no report";
}
