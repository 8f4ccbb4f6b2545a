/**
 * Measures what runs at every budget on held-out examples, and clients' own models on theirs. Its turn only pledges the work and lets it begin:
 * the shards are computed while the next round goes on, and whoever keeps the metrics opens them.
 */

import * as z from "zod";
import { given } from "../src/base/given.ts";
import type { Round } from "../src/base/ids.ts";
import { type ActorDefinition, defineActor, next, type TurnContext } from "../src/runtime/actor.ts";
import type { PledgeRef } from "../src/runtime/messages/refs.ts";
import type { Evaluation } from "../src/tasks/training-engine.ts";
import { type EvaluatorEvent, type EvaluatorMessage, evaluatorMessageSchema, type OwnModel } from "./protocol.ts";
import type { EvaluateRecipe } from "./recipes.ts";

export type Shard = Extract<EvaluateRecipe["on"], { readonly from: number }>;

export interface EvaluatorServices {
  /** Batches `[from, until)` of each task; of one size whatever the number of workers. */
  readonly shards: readonly Shard[];
}

export const evaluator: ActorDefinition<null, EvaluatorMessage, EvaluatorServices> = defineActor({
  kind: "evaluator",
  schemas: { state: z.null(), message: evaluatorMessageSchema },
  receive(state, { of, budgets, clients }, ctx) {
    const evaluations = evaluationsOf(budgets, ctx.services.shards, ctx);
    ctx.emit({ ...evaluating(of, evaluations, clients, ctx) });
    return next(state);
  },
});

type Context = Pick<TurnContext, "pledge" | "keep" | "start">;

/** Begins to measure what runs at each budget. */
export const evaluationsOf = (
  budgets: EvaluatorMessage["budgets"],
  shards: readonly Shard[],
  ctx: Context,
): EvaluatorEvent["evaluations"] =>
  budgets.map(({ budget, ...deployed }) => ({ budget, shards: shards.map((on) => begin({ ...deployed, on }, ctx)) }));

/** What whoever keeps the metrics is told of it, once clients' own models are measured as well. */
export function evaluating(
  round: Round,
  evaluations: EvaluatorEvent["evaluations"],
  clients: readonly OwnModel[] | undefined,
  ctx: Context,
): EvaluatorEvent {
  const ofClients = clients?.map(({ client, own, shared }) => ({
    client,
    ...(own && { own: begin({ ...own, on: { client } }, ctx) }),
    shared: begin({ ...shared, on: { client } }, ctx),
  }));
  return { type: "evaluating", round, evaluations, ...given({ clients: ofClients }) };
}

function begin(job: EvaluateRecipe, ctx: Context): PledgeRef<Evaluation> {
  // Kept until the metrics are written, and released by whoever writes them.
  const shard = ctx.keep(ctx.pledge<Evaluation>({ work: "evaluate", job, bytes: 0 }));
  ctx.start(shard);
  return shard;
}
