/** A run in figures: what the report's head, the terminal's last table and `--json` say alike. */
import { formatBytes, formatTime } from "../base/units.ts";
import type { BudgetMetrics, RoundMetrics } from "../records/metrics.ts";
import { tierTotals, totalsOf } from "../records/totals.ts";
import { nats, percent, points, shareOf, signed, whole } from "./numbers.ts";
import type { RunRecord } from "./run-folder.ts";
import { type Column, formatTable, type TableOptions } from "./table.ts";

export interface BudgetChange {
  readonly topK: number;
  /** From the first evaluation, the base model's where round 0 was evaluated. */
  readonly first: BudgetMetrics;
  readonly last: BudgetMetrics;
}

/** First and last evaluation at each budget, largest first; empty for timing-only runs. */
export function budgetChanges(rounds: readonly RoundMetrics[]): BudgetChange[] {
  const changes = new Map<number, BudgetChange>();
  for (const { evaluations } of rounds) {
    for (const result of evaluations) {
      const { topK } = result;
      changes.set(topK, { topK, first: changes.get(topK)?.first ?? result, last: result });
    }
  }
  return [...changes.values()].sort((a, b) => b.topK - a.topK);
}

export const BUDGET_COLUMNS: readonly string[] = [
  "active experts",
  "loss, base",
  "loss, final",
  "change",
  "exact match, base",
  "final",
  "change",
  "token accuracy, base",
  "final",
  "change",
];

export const budgetRows = (changes: readonly BudgetChange[]): string[][] =>
  changes.map(({ topK, first, last }) => [
    `k = ${topK}`,
    nats(first.loss),
    nats(last.loss),
    signed(last.loss - first.loss),
    percent(first.exactMatch),
    percent(last.exactMatch),
    points(last.exactMatch - first.exactMatch),
    percent(first.tokenAccuracy),
    percent(last.tokenAccuracy),
    points(last.tokenAccuracy - first.tokenAccuracy),
  ]);

export const TIER_COLUMNS: readonly string[] = [
  "tier",
  "invited",
  "counted",
  "late",
  "dropped",
  "rejected",
  "counted share",
];

export function tierRows({ rounds, tiers }: RunRecord): string[][] {
  const totals = tierTotals(rounds);
  return tiers.flatMap(({ name }) => {
    const total = totals.get(name);
    if (total === undefined) return [];
    const { invited, counted, late, dropped, rejected } = total;
    return [[name, ...[invited, counted, late, dropped, rejected].map(whole), shareOf(counted, invited)]];
  });
}

/** The last words of `flame run` on a terminal. */
export function formatSummary(run: RunRecord, options: TableOptions = {}): string {
  const totals = totalsOf(run.rounds);
  const { indent = "" } = options;
  const of = run.clients === null ? "" : ` of ${whole(run.clients)}`;
  const facts = [
    `${whole(totals.rounds)} rounds in ${formatTime(totals.virtualTime)} of virtual time, ${whole(totals.aggregated)} aggregated`,
    `${whole(totals.counted)} of ${whole(totals.invited)} invitations counted (${shareOf(totals.counted, totals.invited)}), ${whole(totals.distinctClients)}${of} clients heard`,
    `${formatBytes(totals.downloadBytes)} down, ${formatBytes(totals.uploadBytes)} up`,
  ];
  const numbers = (titles: readonly string[]): Column[] =>
    titles.map((title, i) => ({ title, align: i === 0 ? "left" : "right" }));
  const blocks = [facts.map((fact) => indent + fact).join("\n")];
  const tiers = tierRows(run);
  if (tiers.length > 0) blocks.push(formatTable(numbers(TIER_COLUMNS), tiers, options));
  const budgets = budgetRows(budgetChanges(run.rounds));
  if (budgets.length > 0) blocks.push(formatTable(numbers(BUDGET_COLUMNS), budgets, options));
  const claims = run.expectations.map(
    ({ name, held, detail }) => `${indent}${held ? "✓" : "✗"} ${name}${detail === "" ? "" : `: ${detail}`}`,
  );
  if (claims.length > 0) blocks.push(claims.join("\n"));
  return blocks.join("\n\n");
}
