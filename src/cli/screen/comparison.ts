/** What variants of one scenario came to, side by side. */

import { formatBytes, formatTime } from "../../base/units.ts";
import type { RunResult } from "../../run/result.ts";
import { type Scenario, strategyOf } from "../../scenario/define.ts";
import { colors } from "./colors.ts";

export function comparison(scenarios: readonly Scenario[], results: readonly RunResult[]): string {
  const budgets = [...new Set(results.flatMap(({ rows }) => lastEvaluation(rows).map(({ topK }) => topK)))];
  budgets.sort((a, b) => b - a);
  const table = [
    ["variant", "strategy", ...budgets.map((k) => `k=${k}`), "counted", "virtual time", "uploads"],
    ...results.map(({ rows, virtualTime }, at) => {
      const evaluations = lastEvaluation(rows);
      return [
        scenarios[at]!.data.name,
        strategyOf(scenarios[at]!).name,
        ...budgets.map((k) => {
          const found = evaluations.find(({ topK }) => topK === k);
          return found === undefined ? "·" : `${found.loss.toFixed(3)} ${(found.exactMatch * 100).toFixed(0)}%`;
        }),
        String(rows.reduce((sum, { counted }) => sum + counted, 0)),
        formatTime(virtualTime),
        formatBytes(rows.at(-1)?.uploadBytes ?? 0),
      ];
    }),
  ];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((cells) => cells[column]!.length)));
  const lines = table.map((cells) =>
    cells.map((cell, at) => (at < 2 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join("  "),
  );
  return `\n${colors.bold(lines[0]!)}\n${lines.slice(1).join("\n")}\n`;
}

const lastEvaluation = (rows: RunResult["rows"]) =>
  rows.findLast(({ evaluations }) => evaluations.length > 0)?.evaluations ?? [];
