/** What variants of one scenario came to, side by side. */

import { formatBytes, formatTime } from "../../base/units.ts";
import { formatTable } from "../../report/table.ts";
import type { RunResult } from "../../run/result.ts";
import { type Scenario, strategyOf } from "../../scenario/define.ts";
import { factsOf } from "../../tasks/facts.ts";
import { score } from "./table.ts";

export function comparison(scenarios: readonly Scenario[], results: readonly RunResult[]): string {
  const task = factsOf(scenarios[0]!.data.task.type);
  const budgets = [...new Set(results.flatMap(({ rows }) => lastEvaluation(rows).map(({ budget }) => budget)))];
  budgets.sort((a, b) => b - a);
  const rows = results.map(({ rows, virtualTime }, at) => {
    const evaluations = lastEvaluation(rows);
    return [
      scenarios[at]!.data.name,
      strategyOf(scenarios[at]!).name,
      ...budgets.map((k) =>
        score(
          evaluations.find(({ budget }) => budget === k),
          task,
        ),
      ),
      rows.reduce((sum, { counted }) => sum + counted, 0),
      formatTime(virtualTime),
      formatBytes(rows.at(-1)?.uploadBytes ?? 0),
    ];
  });
  const titles = [
    "variant",
    "strategy",
    ...budgets.map((k) => `${task.budget.symbol}=${k}`),
    "counted",
    "virtual time",
    "uploads",
  ];
  return `\n${formatTable(titles, rows, 2)}\n`;
}

const lastEvaluation = (rows: RunResult["rows"]) =>
  rows.findLast(({ evaluations }) => evaluations.length > 0)?.evaluations ?? [];
