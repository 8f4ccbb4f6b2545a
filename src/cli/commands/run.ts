/** `flame run <scenario>`. */

import { join } from "node:path";
import { given } from "../../base/given.ts";
import type { MergeLimit } from "../../engine/merge-limit.ts";
import type { RunResult } from "../../run/result.ts";
import { configure, type ScenarioChanges } from "../../scenario/configure.ts";
import { hasCode, type Scenario, scenarioToJson, withoutClaims } from "../../scenario/define.ts";
import { rebased } from "../../scenario/paths.ts";
import { forecast } from "../../study/forecast/forecast.ts";
import { loadScenario, sourceOf } from "../../study/load-scenario.ts";
import { trustCode } from "../../study/trusted-code.ts";
import { comparison } from "../screen/comparison.ts";
import { startToHear } from "../screen/interrupt.ts";
import { terminal } from "../screen/terminal.ts";
import { watchRun } from "../screen/watch.ts";
import { type NatsFlags, natsOf } from "./nats-flags.ts";

export interface RunFlags extends ScenarioChanges, NatsFlags {
  readonly workers?: number;
  readonly engine?: string;
  readonly merge?: "auto" | MergeLimit;
  readonly taskLimit?: number;
  readonly out?: string;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export async function runScenario(name: string, flags: RunFlags): Promise<void> {
  startToHear();
  const loaded = await loadScenario(name);
  // What a run leaves does not depend on the folder where the command was typed.
  const { home } = loaded;
  const scenarios = loaded.scenarios.map((scenario) => rebased(configure(scenario, flags), process.cwd(), home));
  const source = sourceOf(loaded.file, changesOf(flags));
  // Named by the user: what is interrupted here goes on without a question.
  if (source !== null && scenarios.some((own) => hasCode(scenarioToJson(own)))) trustCode(source.file, source.digest);
  const results: RunResult[] = [];
  for (const scenario of scenarios) {
    const result = await watchRun({
      scenario,
      startedIn: home,
      reproduce: reproduce(loaded.path, flags),
      ...given({
        workers: flags.workers,
        engine: flags.engine,
        merge: flags.merge,
        taskLimit: flags.taskLimit,
        force: flags.force,
      }),
      ...natsOf(flags),
      ...(source === null ? {} : { source }),
      ...outOf(flags, scenario, scenarios.length),
      ...(foreseen(scenario, flags) && {
        forecast: (prepared) => forecast(scenario, prepared, { ...flags, thorough: false, limit: patience }),
      }),
      json: flags.json === true,
      quiet: flags.quiet === true,
    });
    if (result.state === "interrupted") return;
    results.push(result);
  }
  if (scenarios.length > 1 && flags.json !== true) terminal.out.write(comparison(scenarios, results));
}

/** Real milliseconds for which a run is played ahead of itself. */
const patience = 2_000;

/** One without training is over as soon as it was played ahead, and code of its author's runs once. */
const foreseen = (scenario: Scenario, { quiet }: RunFlags): boolean =>
  quiet !== true && !scenario.data.timingOnly && !hasCode(scenarioToJson(withoutClaims(scenario)));

/** The flags that change the scenario, without those that say how it is run. */
function changesOf(flags: RunFlags): ScenarioChanges {
  const how = new Set([
    "workers",
    "engine",
    "merge",
    "taskLimit",
    "out",
    "force",
    "json",
    "quiet",
    "nats",
    "creds",
    "mixedHardware",
  ]);
  return Object.fromEntries(Object.entries(flags).filter(([name]) => !how.has(name)));
}

/** Variants get a folder each inside `--out`. */
const outOf = ({ out }: RunFlags, { data }: Scenario, variants: number): { out?: string } =>
  out === undefined ? {} : { out: variants > 1 ? join(out, data.name) : out };

/** What reaches the last digits of a result; the number of workers does not. */
type Asked = ScenarioChanges & { readonly engine?: string; readonly merge?: "auto" | MergeLimit };

/** The command line that gives this run again; flags that cannot change the result are left out. */
export function reproduce(path: string, asked: Asked): string {
  const { seed, rounds, data, model, base, timingOnly, calibration, set = [], engine = "auto", merge = "auto" } = asked;
  const words = ["npx flame run", quote(path)];
  if (seed !== undefined) words.push(`--seed ${seed}`);
  if (rounds !== undefined) words.push(`--rounds ${rounds}`);
  if (data !== undefined) words.push(`--data ${quote(data)}`);
  if (model !== undefined) words.push(`--model ${quote(model)}`);
  if (base !== undefined) words.push(`--base ${quote(base)}`);
  if (timingOnly === true) words.push("--timing-only");
  if (calibration !== undefined) words.push(`--calibration ${quote(calibration)}`);
  if (engine !== "auto") words.push(`--engine ${engine}`);
  if (merge !== "auto" && "clients" in merge) words.push(`--merge ${merge.clients}`);
  for (const change of set) words.push(`--set ${quote(change)}`);
  return words.join(" ");
}

export const quote = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
