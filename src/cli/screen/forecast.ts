/** What a forecast says on a terminal: in a table, and in short. */

import { formatBytes, formatTime } from "../../base/units.ts";
import type { Forecast } from "../../records/forecast.ts";
import { plural } from "../../report/numbers.ts";
import { formatTable } from "../../report/table.ts";
import { colors } from "./colors.ts";
import { duration } from "./table.ts";
import { wrapped } from "./terminal.ts";

/** Two lines, before a run. */
export function shortForecast(forecast: Forecast): string[] {
  const { virtualTime, round, downloadBytes, uploadBytes, steps, memory } = forecast;
  const slowest = slowestOf(forecast);
  const slow = slowest === null ? "" : ` (${slowest.tier} ${formatTime(slowest.part)})`;
  const about = forecast.whole ? "" : "about ";
  return [
    `expects ${about}${formatTime(virtualTime)} of virtual time, ${formatTime(round)} a round${slow}${here(forecast)}`,
    `${about}${formatBytes(downloadBytes)} down, ${formatBytes(uploadBytes)} up, ${steps} steps, ${formatBytes(memory)} of memory`,
  ];
}

function here({ seconds, timed }: Forecast): string {
  if (seconds === null) return "";
  if (timed) return `, about ${duration(seconds)} here`;
  return seconds <= 60 ? ", within a minute or so here" : `, very roughly ${duration(seconds)} here`;
}

/** The tier whose updates take longest. */
function slowestOf({ tiers }: Forecast): { readonly tier: string; readonly part: number } | null {
  const parts = tiers.flatMap(({ tier, part }) => (part === null ? [] : [{ tier, part }]));
  return parts.length < 2 ? null : parts.reduce((most, each) => (each.part > most.part ? each : most));
}

/** @param symbol what the task calls a budget: `k` */
export function longForecast(forecast: Forecast, symbol: string): string {
  const { clients, rounds, invited, counted, virtualTime, round, downloadBytes, uploadBytes } = forecast;
  const { steps, seconds, timed, workers, memory, together, tiers, whole, warnings } = forecast;
  const about = whole ? "" : "about ";
  const shared = together.map(({ budget, clients }) => `${clients} at ${symbol}=${budget}`).join(", ");
  const facts: [string, string][] = [
    [
      "clients",
      `${clients}, ${plural(rounds, "round", "rounds")}, ${about}${invited} invitations, ${about}${counted} of them counted`,
    ],
    ["virtual time", `${about}${formatTime(virtualTime)}, the median round ${formatTime(round)}`],
    ["bytes", `${about}${formatBytes(downloadBytes)} down, ${about}${formatBytes(uploadBytes)} up`],
    ["training", `${about}${steps} steps`],
    ...(seconds === null
      ? []
      : [["real time", `about ${duration(seconds)} ${timed ? "on this machine" : "by formula"}`] as [string, string]]),
    ["memory", `about ${formatBytes(memory)}`],
    ...(seconds === null ? [] : [["workers", `${workers} have something to do`] as [string, string]]),
    ...(together.every(({ clients }) => clients === 1) ? [] : [["one call", shared] as [string, string]]),
  ];
  const table = formatTable(
    ["tier", "clients", "down", "up", "a part takes", ...(timed ? ["on a core here"] : [])],
    tiers.map(({ tier, clients, downloadBytes, uploadBytes, part, seconds }) => [
      tier,
      clients,
      formatBytes(downloadBytes),
      formatBytes(uploadBytes),
      part === null ? "·" : formatTime(part),
      ...(timed ? [seconds === null ? "·" : duration(seconds)] : []),
    ]),
    1,
  );
  return [
    ...facts.map(([name, text]) => wrapped(`${colors.dim(name.padEnd(14))}${text}`, 14)),
    "",
    table,
    ...(warnings.length === 0 ? [] : [""]),
    ...warnings.map((warning) => colors.yellow(wrapped(warning))),
  ].join("\n");
}
