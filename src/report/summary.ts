import type { BudgetMetrics, RoundMetrics } from "../records/metrics.ts";
import { tierTotals } from "../records/totals.ts";
import type { Metric, TaskFacts } from "../tasks/facts.ts";
import { nats, percent, points, shareOf, signed, whole, written } from "./numbers.ts";
import type { RunRecord } from "./run-folder.ts";
import { wilson } from "./statistics/intervals.ts";

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

export const budgetColumns = ({ budget, metrics }: TaskFacts): readonly string[] => [
  budget.name,
  "loss, base",
  "loss, final",
  "change",
  ...metrics.flatMap(({ title }) => [`${title}, base`, "final", "change"]),
];

/**
 * How far a share of held-out examples may be off for having been found on so few, in words; nothing for other metrics.
 *
 * @param heldOut null where it is not known
 */
export function samplingError({ of, form }: Metric, scores: BudgetMetrics, heldOut: number | null): string {
  if (form !== "share" || heldOut === null) return "";
  const { low, high } = wilson(of(scores), heldOut);
  return `${(100 * low).toFixed(0)} to ${(100 * high).toFixed(0)} %, 95 % interval for ${whole(heldOut)} held-out examples`;
}

export const budgetRows = (changes: readonly BudgetChange[], { budget: { symbol }, metrics }: TaskFacts): string[][] =>
  changes.map(({ budget, first, last }) => [
    `${symbol} = ${budget}`,
    nats(first.loss),
    nats(last.loss),
    signed(last.loss - first.loss),
    ...metrics.flatMap((metric) => {
      const difference = metric.of(last) - metric.of(first);
      return [
        written(metric, first),
        written(metric, last),
        metric.form === "share" ? points(difference) : signed(difference),
      ];
    }),
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
  "accuracy, own",
  "of its budget",
  "own model better for",
];

/** Means over clients with models of their own, each on the examples that it keeps; empty where there are none. */
export function clientRows({ rounds, tiers }: RunRecord): string[][] {
  const clients = (rounds.at(-1)?.clients ?? []).flatMap(({ sharedLoss, sharedAccuracy, ...own }) =>
    sharedLoss === undefined || sharedAccuracy === undefined ? [] : [{ ...own, sharedLoss, sharedAccuracy }],
  );
  const rowOf = (name: string, own: typeof clients): string[] => {
    const mean = (of: (client: (typeof clients)[number]) => number) =>
      own.reduce((sum, one) => sum + of(one), 0) / own.length;
    return [
      name,
      whole(own.length),
      nats(mean(({ loss }) => loss)),
      nats(mean(({ sharedLoss }) => sharedLoss)),
      percent(mean(({ accuracy }) => accuracy)),
      percent(mean(({ sharedAccuracy }) => sharedAccuracy)),
      shareOf(own.filter(({ loss, sharedLoss }) => loss < sharedLoss).length, own.length),
    ];
  };
  const present = tiers
    .map(({ name }) => ({ name, own: clients.filter(({ tier }) => tier === name) }))
    .filter(({ own }) => own.length > 0);
  const rows = present.map(({ name, own }) => rowOf(name, own));
  return present.length < 2 ? rows : [...rows, rowOf("all", clients)];
}
