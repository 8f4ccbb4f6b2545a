/**
 * A federated client. It decides nothing and, in its turn, computes nothing: how long training takes is known before
 * it begins, and what it will have learned is promised as a pledge, which the server opens if it counts the update.
 *
 *   server ──train──▶ client ──update──▶ server ──acknowledge──▶ client
 *
 * A plan may ask for a few numbers ahead of the update, `report`, to which the server says something, `answer`.
 *
 * The rescaler s_i that came out of training becomes the client's own only when the server says that it counted the
 * update, so a client that dropped out or came too late goes on with what it had.
 */

import * as z from "zod";
import { unreachable } from "../src/base/errors.ts";
import { floats, wholeAs } from "../src/base/fields.ts";
import { type ClientId, clientId } from "../src/base/ids.ts";
import { type Millis, millis } from "../src/base/units.ts";
import { type ActorDefinition, defineActor, next, send, type TurnContext } from "../src/runtime/actor.ts";
import { blobSchema } from "../src/runtime/messages/refs.ts";
import type { Variant } from "../src/tasks/task.ts";
import type { Attack } from "./attack.ts";
import { type ClientMessage, clientMessageSchema, serverRef } from "./protocol.ts";
import type { MethodOrder, MethodRecipe, Trained, TrainRecipe } from "./recipes.ts";
import type { Method } from "./server-state.ts";
import { weighing } from "./storage.ts";

/** The global model as a client was sent it. */
const modelSchema = z.strictObject({ adapter: blobSchema, rescaler: floats.nullable() });
type Model = Readonly<z.output<typeof modelSchema>>;

const clientSchema = z.strictObject({
  id: wholeAs<ClientId>(),
  /** s_i, one factor per layer; null before the first invitation. */
  rescaler: floats.nullable(),
  /** Of clients with a stale model: what they were last sent, oldest first. Absent for all others. */
  models: z.array(modelSchema).readonly().exactOptional(),
});
export type ClientState = Readonly<z.output<typeof clientSchema>>;

export interface ClientServices {
  /** What the client's budget runs. */
  variantOf(client: ClientId): Variant;
  /** What local training takes on the client's device, undisturbed. */
  trainingTimeOf(client: ClientId): Millis;
  /** Whether clients go on from their own s_i or from what the server sends. */
  readonly keepsRescaler: boolean;
  /** What an update weighs on the wire. */
  readonly uploadBytes: number;
  attackOf(client: ClientId): Attack | null;
  /** The programs of a kind of plan, which every client is held to have. */
  programs: Method["programs"];
}

export const client: ActorDefinition<ClientState, ClientMessage, ClientServices> = defineActor({
  kind: "client",
  runsOn: "device",
  schemas: { state: clientSchema, message: clientMessageSchema },
  stage: ({ type }) => (type === "train" ? "download" : type),
  cost: ({ id }, message, { trainingTimeOf }) =>
    message.type === "train"
      ? (message.method?.takes ?? millis(trainingTimeOf(id) * (message.effort ?? 1)))
      : millis(0),
  receive(state, message, ctx) {
    switch (message.type) {
      case "train": {
        const { round, participation, adapter, effort = 1, method } = message;
        const { keepsRescaler, uploadBytes, variantOf, attackOf } = ctx.services;
        const { id, models = [] } = state;
        const order = method?.order ?? null;
        const variant = order?.kind.variant ?? variantOf(id);
        const attack = adapter.ref === "blob" ? attackOf(id) : null;
        // The oldest model that a client with a stale one still has; what was just sent for everybody else.
        const from = models[0] ?? message;
        const start = keepsRescaler && state.rescaler !== null ? state.rescaler : from.rescaler;
        const job: TrainRecipe | null =
          adapter.ref === "blob" && start !== null
            ? { client: id, round, participation, variant, adapter, rescaler: start, effort, attack }
            : null;
        const stale = models[0]?.adapter;
        const dated = job === null || stale === undefined ? job : { ...job, stale };
        const recipe = dated === null || order === null ? dated : { ...dated, method: recipeOf(order, ctx.services) };
        const result = ctx.pledge<Trained>({ work: "train", job: recipe, bytes: method?.uploadBytes ?? uploadBytes });
        // A newcomer goes on from where it joined, should this update not be counted.
        const joined = keepsRescaler && state.rescaler === null && start !== null;
        const after = joined ? { ...state, rescaler: start } : state;
        return next(
          adapter.ref === "blob" && attack?.type === "stale"
            ? { ...after, models: keptModels(models, { adapter, rescaler: message.rescaler }, attack.lag, ctx) }
            : after,
          method?.reportBytes === undefined
            ? send(serverRef, { type: "update", round, participation, result })
            : send(serverRef, {
                type: "report",
                round,
                participation,
                client: id,
                result: weighing(result, method.reportBytes),
              }),
        );
      }
      case "answer": {
        const { round, participation, result, uploadBytes } = message;
        return next(
          state,
          send(serverRef, { type: "update", round, participation, result: weighing(result, uploadBytes) }),
        );
      }
      case "acknowledge":
        return next(message.rescaler === null ? state : { ...state, rescaler: message.rescaler });
      default:
        return unreachable(message);
    }
  },
});

const recipeOf = ({ kind, ...order }: MethodOrder, { programs }: ClientServices): MethodRecipe => ({
  ...programs(kind, order.scope !== undefined),
  ...order,
});

/** The last `lag` models; they are the client's own, and live on in checkpoints with its state. */
function keptModels(
  models: readonly Model[],
  sent: Model,
  lag: number,
  ctx: Pick<TurnContext, "keep" | "discard">,
): readonly Model[] {
  ctx.keep(sent.adapter);
  const kept = [...models, sent];
  for (const { adapter } of kept.splice(0, Math.max(0, kept.length - lag))) ctx.discard(adapter);
  return kept;
}

/** The first state of each client. */
export const newClient = (id: number): ClientState => ({ id: clientId(id), rescaler: null });
