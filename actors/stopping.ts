/**
 * A run that may end early has what it learned measured before its next round begins, in the turn that closes the round, so
 * that the decision depends on nothing but virtual time. The best adapter so far is kept beside the present one.
 */
import { scoresOf } from "../src/records/round-recorder.ts";
import { evaluationsOf } from "./evaluator.ts";
import { deployedAt } from "./planning.ts";
import type { EvaluatorEvent } from "./protocol.ts";
import type { Draft, ServerContext, Stopping } from "./server-state.ts";

/** Measures the adapter and notes how things stand. @returns what is measured, for those who keep the metrics */
export async function measured(
  draft: Draft,
  ctx: ServerContext,
  budgets: readonly number[],
  { shards, judge, rescalers }: Stopping,
): Promise<EvaluatorEvent["evaluations"]> {
  const deployed = budgets.map((budget) => ({ budget, ...deployedAt(budget, draft, ctx) }));
  const evaluations = evaluationsOf(deployed, shards, ctx);
  const found = await ctx.open(evaluations.flatMap((one) => one.shards));
  const scores = evaluations.map(({ budget }, at) => ({
    budget,
    ...scoresOf(found.slice(at * shards.length, (at + 1) * shards.length)),
  }));
  const best = draft.course?.best ?? null;
  const standing = judge(draft.course?.standing, draft.round, scores);
  const isBest = standing.best?.round === draft.round;
  if (isBest && best !== null) ctx.discard(best.adapter);
  draft.course = {
    standing,
    best: isBest ? { adapter: ctx.keep(draft.adapter), rescalers: rescalers() } : best,
  };
  return evaluations;
}
