/** `flame diff <runA> <runB>`. */
import type { FieldDifference } from "../../base/field-differences.ts";
import { formatTime } from "../../base/units.ts";
import { compareRuns, isSame, type Parting, type RunDifference } from "../../study/diff.ts";
import { colors } from "../screen/colors.ts";
import { exitCodes } from "../screen/failure.ts";
import { terminal } from "../screen/terminal.ts";

/** @param flags `tolerance`: see {@link compareRuns} */
export function diff(a: string, b: string, flags: { readonly json?: boolean; readonly tolerance?: number }): void {
  const { json, tolerance } = flags;
  const difference = compareRuns(a, b, tolerance);
  if (json === true) terminal.out.write(`${JSON.stringify({ same: isSame(difference), ...difference })}\n`);
  else terminal.out.write(report(difference, a, b, tolerance));
  if (!isSame(difference)) process.exitCode = exitCodes.failed;
}

function report(difference: RunDifference, a: string, b: string, tolerance?: number): string {
  if (isSame(difference)) {
    const roughly = tolerance === undefined ? "" : `, trained numbers within ${tolerance} of each other`;
    return `the runs are the same: scenario, events, metrics, participations, adapter${roughly}\n`;
  }
  const { scenario, events, metrics, metricsFields, participations, draws, files } = difference;
  const lines = [`a ${a}`, `b ${b}`];
  if (scenario.length > 0) lines.push("", colors.bold("scenario"), ...fields(scenario));
  if (events !== null) {
    const time = timeOf(events);
    lines.push(
      "",
      colors.bold(`first event that differs: ${events.line}${time === null ? "" : ` at ${formatTime(time)}`}`),
    );
    for (const line of events.before) lines.push(colors.dim(`    ${line}`));
    lines.push(...sides(events));
  }
  if (metrics !== null) {
    lines.push("", colors.bold(`first row of metrics that differs: round ${metrics.line - 1}`));
    lines.push(...(metricsFields.length > 0 ? fields(metricsFields) : sides(metrics)));
  }
  if (draws !== null) {
    const told = `${colors.red(draws.a ?? "none")} → ${colors.green(draws.b ?? "none")}`;
    lines.push("", `${colors.bold(`first draws that differ: of "${draws.purpose}" in round ${draws.round}`)}  ${told}`);
  }
  if (events === null && participations !== null) {
    lines.push(
      "",
      colors.bold(`first participation that differs: row ${participations.line}`),
      ...sides(participations),
    );
  }
  if (files.length > 0) lines.push("", `${colors.bold("other files that differ")} ${files.join(", ")}`);
  return `${lines.join("\n")}\n`;
}

const sides = ({ a, b }: Parting): string[] => [
  `  ${colors.red("a")} ${a ?? "(has ended)"}`,
  `  ${colors.green("b")} ${b ?? "(has ended)"}`,
];

const fields = (differences: readonly FieldDifference[]): string[] =>
  differences.map(({ path, a, b }) => `  ${path}  ${colors.red(short(a))} → ${colors.green(short(b))}`);

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? "(missing)";
  return text.length <= 60 ? text : `${text.slice(0, 59)}…`;
}

function timeOf({ a, b }: Parting): number | null {
  for (const line of [a, b]) {
    const [, time] = /^\{"t":(\d+)/.exec(line ?? "") ?? [];
    if (time !== undefined) return Number(time);
  }
  return null;
}
