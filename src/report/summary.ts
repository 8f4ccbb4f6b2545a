import type { BudgetMetrics, RoundMetrics } from "../records/metrics.ts";
import { tierTotals } from "../records/totals.ts";
import { nats, percent, points, shareOf, signed, whole } from "./numbers.ts";
import type { RunRecord } from "./run-folder.ts";

export interface BudgetChange {
  readonly budget: number;
  /** From the first evaluation, the base model's where round 0 was evaluated. */
  readonly first: BudgetMetrics;
  readonly last: BudgetMetrics;
}

/** First and last evaluation at each budget, largest first; empty for timing-only runs. */
export function budgetChanges(rounds: readonly RoundMetrics[]): BudgetChange[] {
  const changes = new Map<number, BudgetChange>();
  for (const { evaluations } of rounds) {
    for (const result of evaluations) {
      const { budget } = result;
      changes.set(budget, { budget, first: changes.get(budget)?.first ?? result, last: result });
    }
  }
  return [...changes.values()].sort((a, b) => b.budget - a.budget);
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
  changes.map(({ budget, first, last }) => [
    `k = ${budget}`,
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

export const CLIENT_COLUMNS: readonly string[] = [
  "tier",
  "clients",
  "loss, own model",
  "loss, model of its budget",
  "token accuracy, own",
  "of its budget",
  "own model better for",
];

/** Means over clients with models of their own, each on the examples that it keeps; empty where there are none. */
export function clientRows({ rounds, tiers }: RunRecord): string[][] {
  const clients = (rounds.at(-1)?.clients ?? []).flatMap(({ sharedLoss, sharedTokenAccuracy, ...own }) =>
    sharedLoss === undefined || sharedTokenAccuracy === undefined ? [] : [{ ...own, sharedLoss, sharedTokenAccuracy }],
  );
  const rowOf = (name: string, own: typeof clients): string[] => {
    const mean = (of: (client: (typeof clients)[number]) => number) =>
      own.reduce((sum, one) => sum + of(one), 0) / own.length;
    return [
      name,
      whole(own.length),
      nats(mean(({ loss }) => loss)),
      nats(mean(({ sharedLoss }) => sharedLoss)),
      percent(mean(({ tokenAccuracy }) => tokenAccuracy)),
      percent(mean(({ sharedTokenAccuracy }) => sharedTokenAccuracy)),
      shareOf(own.filter(({ loss, sharedLoss }) => loss < sharedLoss).length, own.length),
    ];
  };
  const present = tiers
    .map(({ name }) => ({ name, own: clients.filter(({ tier }) => tier === name) }))
    .filter(({ own }) => own.length > 0);
  const rows = present.map(({ name, own }) => rowOf(name, own));
  return present.length < 2 ? rows : [...rows, rowOf("all", clients)];
}
