/** What a strategy asks of a client, and what the client is sent for it. */

import { given } from "../src/base/given.ts";
import { type ClientId, clientId, type ParticipationId, type Round } from "../src/base/ids.ts";
import type { Deployment } from "../src/fl/deployment.ts";
import { type ClientView, usual } from "../src/fl/plan.ts";
import type { Chosen, ServerState as MethodState } from "../src/fl/strategy.ts";
import type { BlobRef } from "../src/runtime/messages/refs.ts";
import { activeIn } from "../src/tasks/task.ts";
import type { OwnModel } from "./protocol.ts";
import type { Evaluated, MethodOrder } from "./recipes.ts";
import type { Draft, ServerContext } from "./server-state.ts";
import { load, loadAll, loadMemory, type StoredPlan, storePlan, weighing } from "./storage.ts";

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
    budget: fleet.budget[client]!,
    examples: fleet.examples[client]!,
    round,
    memory: loadMemory(draft.memories[client], ctx),
    draws: (purpose) => ctx.rng.at(`strategy: ${purpose}`, round).at(client),
  };
}

/** Null for a method that asks nothing special of anybody. */
export function planFor(
  { client, notes }: Chosen["clients"][number],
  participation: ParticipationId,
  draft: Draft,
  ctx: ServerContext,
): StoredPlan | null {
  const { strategy, settingIn } = ctx.services.method;
  if (strategy.plan === undefined && strategy.steps === undefined && strategy.shape === undefined) return null;
  const view = { ...clientView(client, draft.round, draft, ctx), participation, ...given({ chosen: notes }) };
  const setting = settingIn(draft.round);
  const plan = strategy.plan?.(view, methodState(draft, ctx), setting) ?? usual(view, setting);
  if (ctx.services.learning !== null) return storePlan(plan, ctx);
  // Without training nobody reads its vectors.
  const { start: _, ...rest } = plan;
  return storePlan({ ...rest, inputs: {} }, ctx);
}

/** What a client trains with; it is held to have the programs of a kind. Vectors are charged with the model. */
export function orderOf(
  { kind, inputs, scope, members, learningRate }: StoredPlan,
  draft: Draft,
  ctx: ServerContext,
): MethodOrder | null {
  if (draft.adapter.ref !== "blob") return null;
  const { members: all = 1 } = ctx.services.method.strategy.shape ?? {};
  const sent = Object.entries(inputs).map(([name, value]) => {
    if (typeof value === "number") return [name, value] as const;
    // Programs take float32.
    const single = value.double ? ctx.put(Float32Array.from(load(value, ctx))) : value.content;
    return [name, weighing(single, 0)] as const;
  });
  const trained =
    all === 1 ? undefined : { all, chosen: members ?? Array.from({ length: all }, (_, member) => member) };
  return { kind, inputs: Object.fromEntries(sent), ...given({ scope, members: trained, learningRate }) };
}

/** What is evaluated at a budget. */
export function deployedAt(budget: number, draft: Draft, ctx: ServerContext): Evaluated {
  const { strategy, settingIn } = ctx.services.method;
  const setting = settingIn(draft.round);
  const state = methodState(draft, ctx);
  const { parameters } = state;
  const deployment = strategy.deploy?.(budget, state, setting) ?? {
    models: [{ parameters, variant: setting.variant(budget) }],
  };
  return evaluated(deployment, budget, parameters, draft, ctx);
}

/** Clients with models of their own, each with its model and with that of its budget; none where a method has no such. */
export function deployedToClients(draft: Draft, ctx: ServerContext): OwnModel[] {
  const { strategy, settingIn } = ctx.services.method;
  if (!strategy.validation) return [];
  const setting = settingIn(draft.round);
  const state = methodState(draft, ctx);
  const budgets = new Map<number, Evaluated>();
  const remembered = Object.keys(draft.memories).map(Number);
  const everybody = Array.from({ length: ctx.services.fleet.size }, (_, client) => client);
  return (strategy.deployTo === undefined ? everybody : remembered)
    .toSorted((a, b) => a - b)
    .map((number) => {
      const client = clientId(number);
      const view = clientView(client, draft.round, draft, ctx);
      const { budget } = view;
      const shared = budgets.get(budget) ?? deployedAt(budget, draft, ctx);
      budgets.set(budget, shared);
      if (strategy.deployTo === undefined) return { client, shared };
      const deployment = strategy.deployTo(view, state, setting);
      return { client, own: evaluated(deployment, budget, state.parameters, draft, ctx), shared };
    });
}

function evaluated(
  { models, mix }: Deployment,
  budget: number,
  global: Float32Array,
  draft: Draft,
  ctx: ServerContext,
): Evaluated {
  const content = (values: Float32Array): BlobRef =>
    values === global && draft.adapter.ref === "blob" ? draft.adapter : ctx.put(values);
  return {
    models: models.map(({ parameters, variant, scope, inputs = {} }) => ({
      adapter: content(parameters),
      rescaler: ctx.services.learning!.rescalers.forBudget(activeIn(variant, budget)),
      variant,
      ...(scope && { scope }),
      inputs: Object.fromEntries(Object.entries(inputs).map(([name, values]) => [name, content(values)])),
    })),
    ...(mix && { mix }),
  };
}
