/** What a strategy asks of a client, and what the client is sent for it. */
import type { ClientId, Round } from "../src/base/ids.ts";
import { type ClientView, type Plan, usual } from "../src/fl/plan.ts";
import type { ServerState as MethodState } from "../src/fl/strategy.ts";
import type { BlobRef } from "../src/runtime/messages/refs.ts";
import type { Draft, ServerContext } from "./server-state.ts";
import { load, loadAll, loadMemory, type StoredPlan, storePlan, weighing } from "./storage.ts";
import type { MethodRecipe } from "./training.ts";

/** The model and what a method keeps with it; empty in runs without training. */
export function methodState(draft: Draft, ctx: ServerContext): MethodState {
  const { adapter, vectors, notes } = draft;
  const parameters = adapter.ref === "blob" ? ctx.floats(adapter) : new Float32Array(0);
  return { parameters, vectors: loadAll(vectors, ctx), notes };
}

export function clientView(client: ClientId, round: Round, draft: Draft, ctx: ServerContext): ClientView {
  const { fleet } = ctx.services;
  return {
    client,
    budget: fleet.topK[client]!,
    examples: fleet.examples[client]!,
    round,
    memory: loadMemory(draft.memories[client], ctx),
    draws: (purpose) => ctx.rng.at(`strategy: ${purpose}`, round).at(client),
  };
}

/** Null for a method that asks nothing special of anybody. */
export function planFor(client: ClientId, draft: Draft, ctx: ServerContext): StoredPlan | null {
  const { strategy, setting } = ctx.services.method;
  if (strategy.plan === undefined && strategy.steps === undefined) return null;
  const view = clientView(client, draft.round, draft, ctx);
  const plan = strategy.plan?.(view, methodState(draft, ctx), setting) ?? usual(view, setting);
  return storePlan(plan, ctx);
}

/**
 * What a client trains with, as references: programs, which it is held to have, weigh nothing; vectors weigh what the
 * plan says of the download besides the model.
 */
export function recipeOf(plan: StoredPlan, draft: Draft, ctx: ServerContext): MethodRecipe | null {
  const { programs, setting } = ctx.services.method;
  if (draft.adapter.ref !== "blob") return null;
  const { kind, inputs, bytes, learningRate } = plan;
  const whole = 4 * setting.layout.size;
  let charge = Math.max(0, (bytes?.down ?? whole) - whole);
  const weighed: [string, number | BlobRef][] = [];
  for (const [name, value] of Object.entries(inputs)) {
    if (typeof value === "number") weighed.push([name, value]);
    else {
      // Programs take float32.
      const vector = load(value, ctx);
      const single = value.double ? ctx.put(Float32Array.from(vector)) : value.content;
      weighed.push([name, weighing(single, charge)]);
      charge = 0;
    }
  }
  const step = programs(kind);
  return {
    ...step,
    inputs: Object.fromEntries(weighed),
    ...(learningRate === undefined ? {} : { learningRate }),
  };
}

/** Bytes of the update, when the plan says something of them. */
export function uploadOf({ bytes }: Pick<Plan, "bytes">, usualBytes: number, ctx: ServerContext): number {
  const whole = 4 * ctx.services.method.setting.layout.size;
  return bytes?.up === undefined ? usualBytes : Math.max(0, usualBytes - whole + bytes.up);
}
