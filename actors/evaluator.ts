/**
 * Measures what runs at every budget on held-out examples, and clients' own models on theirs. Its turn only pledges the work and lets it begin:
 * the shards are computed while the next round goes on, and whoever keeps the metrics opens them.
 */

import { z } from "zod";
import { given } from "../src/base/given.ts";
import { type ActorDefinition, defineActor, next } from "../src/runtime/actor.ts";
import type { PledgeRef } from "../src/runtime/messages/refs.ts";
import type { Evaluation } from "../src/tasks/training-engine.ts";
import { type EvaluatorEvent, type EvaluatorMessage, evaluatorMessageSchema } from "./protocol.ts";
import type { EvaluateRecipe } from "./recipes.ts";

export interface EvaluatorServices {
  /** Batches `[from, until)` of each task; of one size whatever the number of workers. */
  readonly shards: readonly { readonly from: number; readonly until: number }[];
}

export const evaluator: ActorDefinition<null, EvaluatorMessage, EvaluatorServices> = defineActor({
  kind: "evaluator",
  schemas: { state: z.null(), message: evaluatorMessageSchema },
  receive(state, { of, budgets, clients }, ctx) {
    const begin = (job: EvaluateRecipe): PledgeRef<Evaluation> => {
      // Kept until the metrics are written, and released by whoever writes them.
      const shard = ctx.keep(ctx.pledge<Evaluation>({ work: "evaluate", job, bytes: 0 }));
      ctx.start(shard);
      return shard;
    };
    const evaluations = budgets.map(({ budget, ...deployed }) => ({
      budget,
      shards: ctx.services.shards.map((on) => begin({ ...deployed, on })),
    }));
    const ofClients = clients?.map(({ client, own, shared }) => ({
      client,
      ...(own && { own: begin({ ...own, on: { client } }) }),
      shared: begin({ ...shared, on: { client } }),
    }));
    const event: EvaluatorEvent = { type: "evaluating", round: of, evaluations, ...given({ clients: ofClients }) };
    ctx.emit({ ...event });
    return next(state);
  },
});
