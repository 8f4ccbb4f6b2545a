/**
 * When a run ends before its last round, by what is measured on held-out examples: at a target, or when nothing has improved
 * for a while. An evaluation is better when it beats the best one so far by more than `minDelta`; one that is no finite
 * number never is.
 */
import * as z from "zod";
import { whole } from "../base/fields.ts";
import { expected, type Problem } from "../base/problem.ts";
import { factsOf, type TaskType } from "../tasks/facts.ts";
import type { BudgetMetrics } from "./metrics.ts";

export const stopSchema = z
  .strictObject({
    metric: z.string().default("loss").describe("`loss`, or what the task measures besides"),
    at: z
      .int()
      .min(1)
      .exactOptional()
      .describe("budget at which it is looked at; the mean over all that are evaluated unless given"),
    target: z.number().exactOptional().describe("ends the run when it is reached"),
    patience: z
      .int()
      .min(1)
      .exactOptional()
      .describe("ends the run after so many evaluations in a row that were not better"),
    minDelta: z
      .number()
      .min(0)
      .default(0)
      .describe("an evaluation is better when it beats the best one so far by more than this"),
  })
  .refine(({ target, patience }) => target !== undefined || patience !== undefined, "a target, patience or both");

export type StopRule = Readonly<z.output<typeof stopSchema>>;

/** How evaluations have gone so far. */
export const standingSchema = z.strictObject({
  /** The best one; null before any that is a finite number. */
  best: z.strictObject({ round: whole, value: z.number() }).nullable(),
  /** Evaluations since then. */
  waited: whole,
  /** Why the run ends now; null while it goes on. */
  because: z.enum(["target", "patience"]).nullable(),
});
export type Standing = Readonly<z.output<typeof standingSchema>>;

const nothingYet: Standing = { best: null, waited: 0, because: null };

const metricsOf = (task: TaskType) => [
  { key: "loss", better: "low" as const, of: ({ loss }: BudgetMetrics) => loss },
  ...factsOf(task).metrics,
];

/** How things stand after the evaluation of a round. */
export function judged(
  before: Standing | undefined,
  { metric, at, target, patience = Number.POSITIVE_INFINITY, minDelta }: StopRule,
  task: TaskType,
  round: number,
  evaluations: readonly BudgetMetrics[],
): Standing {
  const { better, of } = metricsOf(task).find(({ key }) => key === metric)!;
  const asked = at === undefined ? evaluations : evaluations.filter(({ budget }) => budget === at);
  const value = asked.reduce((sum, result) => sum + of(result), 0) / asked.length;
  const sign = better === "low" ? -1 : 1;
  const { best, waited: earlier } = before ?? nothingYet;
  const isBest = Number.isFinite(value) && (best === null || sign * (value - best.value) > minDelta);
  const waited = isBest ? 0 : earlier + 1;
  const isReached = target !== undefined && sign * (value - target) >= 0;
  const because = isReached ? "target" : waited >= patience ? "patience" : null;
  return { best: isBest ? { round, value } : best, waited, because };
}

/** What of a rule nobody measures. @param budgets that are evaluated; null before that is known */
export function stopProblems(rule: StopRule | undefined, task: TaskType, budgets: readonly number[] | null): Problem[] {
  if (rule === undefined) return [];
  const { metric, at } = rule;
  const known = metricsOf(task).map(({ key }) => key);
  const problems: Problem[] = [];
  if (!known.includes(metric)) problems.push(expected("stop.metric", `one of ${known.join(", ")}`, metric));
  if (at !== undefined && budgets !== null && !budgets.includes(at)) {
    problems.push(expected("stop.at", `a budget that is evaluated: ${budgets.join(", ")}`, at));
  }
  return problems;
}

/** `the target of loss 0.3 is reached`, `loss has not improved in 3 evaluations`; null for a run that goes on. */
export function reasonOf({ because }: Standing, { metric, target, patience }: StopRule): string | null {
  if (because === null) return null;
  if (because === "target") return `the target of ${metric} ${target} is reached`;
  return `${metric} has not improved in ${patience} evaluation${patience === 1 ? "" : "s"}`;
}
