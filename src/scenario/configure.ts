/** Changes to a scenario from the command line: `--seed`, `--rounds`, `--data`, `--set key=value`, … */
import * as z from "zod";
import { ScenarioError } from "../base/errors.ts";
import { calibrationFrom } from "./calibration.ts";
import { redefine, type Scenario } from "./define.ts";

/** Whoever wrote them down in a run's folder need not have been this program. */
export const changesSchema = z.strictObject({
  seed: z.int().exactOptional(),
  rounds: z.int().exactOptional(),
  /** A file of instructions. */
  data: z.string().exactOptional(),
  model: z.string().exactOptional(),
  base: z.string().exactOptional(),
  timingOnly: z.boolean().exactOptional(),
  /** A file of `flame calibrate`. */
  calibration: z.string().exactOptional(),
  /** `path=value`, with the value as JSON or as text. */
  set: z.array(z.string()).readonly().exactOptional(),
});

export type ScenarioChanges = Readonly<z.output<typeof changesSchema>>;

export function configure(scenario: Scenario, changes: ScenarioChanges): Scenario {
  const { seed, rounds, data, model, base, timingOnly, calibration, set = [] } = changes;
  const assignments: [path: string, value: unknown][] = [];
  if (seed !== undefined) assignments.push(["seed", seed]);
  if (rounds !== undefined) assignments.push(["rounds.count", rounds]);
  if (data !== undefined) assignments.push(["data.source", { ...fileOptions(scenario), path: data }]);
  if (model !== undefined) assignments.push(["model", model]);
  if (base !== undefined) assignments.push(["base", base]);
  if (timingOnly === true) assignments.push(["timingOnly", true]);
  if (calibration !== undefined) assignments.push(["calibration", calibrationFrom(calibration)]);
  for (const text of set) assignments.push(parseAssignment(text));
  if (assignments.length === 0) return scenario;
  let fields: unknown = scenario.data;
  for (const [path, value] of assignments) fields = assign(fields, keysOf(path), value, path);
  const own = { ...scenario.own };
  // A field that was set replaces what the author's code had put there.
  for (const [path] of assignments) {
    if (path.startsWith("strategy")) delete (own as { strategy?: unknown }).strategy;
    if (path.startsWith("rounds.policy")) delete (own as { policy?: unknown }).policy;
    if (path.startsWith("rounds.sampler")) delete (own as { sampler?: unknown }).sampler;
  }
  return redefine(fields, own);
}

/** Another file is read as the scenario's own would have been. */
function fileOptions({ data: { data, task } }: Scenario) {
  const { source } = data;
  if (source.type === "file" || source.type === "csv") return source;
  return { type: task.type === "llm" ? "file" : task.type === "tabular" ? "csv" : "images" };
}

function parseAssignment(text: string): [path: string, value: unknown] {
  const sign = text.indexOf("=");
  if (sign <= 0) throw new ScenarioError(`--set ${text}: expected key=value, as in rounds.deadline=600000`);
  const value = text.slice(sign + 1);
  try {
    return [text.slice(0, sign), JSON.parse(value)];
  } catch {
    return [text.slice(0, sign), value];
  }
}

/** `fleet[0].dropout` → `fleet`, `0`, `dropout`. */
function keysOf(path: string): string[] {
  const keys = path.replaceAll(/\[(\d+)\]/g, ".$1").split(".");
  if (keys.some((key) => key === "" || key === "__proto__")) {
    throw new ScenarioError(`--set ${path}=…: expected a path such as fleet[0].dropout`);
  }
  return keys;
}

/** A copy with the value at the path; what is not there yet is made. */
function assign(target: unknown, [key, ...rest]: readonly string[], value: unknown, path: string): unknown {
  if (key === undefined) return value;
  if (Array.isArray(target)) {
    const index = Number(key);
    if (!Number.isInteger(index) || index >= target.length) {
      throw new ScenarioError(`--set ${path}=…: there is no element ${key} in a list of ${target.length}`);
    }
    return target.map((item: unknown, at) => (at === index ? assign(item, rest, value, path) : item));
  }
  if (target !== undefined && (typeof target !== "object" || target === null)) {
    throw new ScenarioError(`--set ${path}=…: ${JSON.stringify(target)} has no field ${key}`);
  }
  const record = (target ?? {}) as Readonly<Record<string, unknown>>;
  return { ...record, [key]: assign(record[key], rest, value, path) };
}
