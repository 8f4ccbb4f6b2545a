import type { BudgetMetrics, RoundMetrics } from "../records/metrics.ts";
import { tierTotals } from "../records/totals.ts";
import { fairnessOf, type Served } from "../study/fairness.ts";
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

export const FAIRNESS_COLUMNS: readonly string[] = ["measure", "value"];

/**
 * How evenly the last model serves the clients, by the measures of studies; empty where a client's budget was not evaluated.
 * A client gets what it has on the examples that it keeps from training, or else what its budget comes to on the held-out ones.
 */
export function fairnessRows({ rounds, tiers }: Pick<RunRecord, "rounds" | "tiers">): string[][] {
  const { evaluations, clients: own = [] } = rounds.at(-1)!;
  const served: Served[] = [];
  for (const { name: tier, clients, budget } of tiers) {
    const ofTier = own.filter((client) => client.tier === tier);
    const common = evaluations.find((result) => result.budget === budget);
    if (common === undefined && ofTier.length < clients) return [];
    for (const { loss, accuracy } of ofTier) served.push({ tier, loss, accuracy });
    for (let rest = ofTier.length; rest < clients; rest++) {
      served.push({ tier, loss: common!.loss, accuracy: common!.accuracy });
    }
  }
  if (served.length < 2) return [];
  const { tiers: losses, worstTenth, variance, jain } = fairnessOf(served);
  const number = (value: number | null, digits = 3): string => (value === null ? "–" : value.toFixed(digits));
  return [
    ...losses.map(({ tier, loss }) => [`mean loss, ${tier}`, number(loss)]),
    ["mean loss of the tenth of the clients that is worst off", number(worstTenth)],
    ["variance of the clients' losses", number(variance, 4)],
    ["Jain's index of the clients' accuracies, 1 when all are equal", number(jain)],
  ];
}
