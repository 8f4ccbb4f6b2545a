/**
 * A federated client. It decides nothing and, in its turn, computes nothing: how long training takes is known before
 * it begins, and what it will have learned is promised as a pledge, which the server opens if it counts the update.
 *
 *   server ──train──▶ client ──update──▶ server ──acknowledge──▶ client
 *
 * The rescaler s_i that came out of training becomes the client's own only when the server says that it counted the
 * update, so a client that dropped out or came too late goes on with what it had.
 */

import { unreachable } from "../src/base/errors.ts";
import { type ClientId, clientId } from "../src/base/ids.ts";
import { type Millis, millis } from "../src/base/units.ts";
import { type ActorDefinition, defineActor, next, send } from "../src/runtime/actor.ts";
import type { Attack } from "./attack.ts";
import { type ClientMessage, serverRef } from "./protocol.ts";
import type { Trained, TrainRecipe } from "./training.ts";

export interface ClientState {
  readonly id: ClientId;
  /** s_i, one factor per layer; null before the first invitation. */
  readonly rescaler: Float32Array | null;
}

export interface ClientServices {
  /** k_i, the client's expert budget. */
  topKOf(client: ClientId): number;
  /** What local training takes on the client's device, undisturbed. */
  trainingTimeOf(client: ClientId): Millis;
  /** Whether clients go on from their own s_i or from what the server sends. */
  readonly keepsRescaler: boolean;
  /** What an update weighs on the wire. */
  readonly uploadBytes: number;
  attackOf(client: ClientId): Attack | null;
}

export const client: ActorDefinition<ClientState, ClientMessage, ClientServices> = defineActor({
  kind: "client",
  runsOn: "device",
  leg: ({ type }) => (type === "acknowledge" ? "acknowledge" : "download"),
  cost: ({ id }, message, { trainingTimeOf }) =>
    message.type === "train" ? millis(trainingTimeOf(id) * (message.effort ?? 1)) : millis(0),
  receive(state, message, ctx) {
    switch (message.type) {
      case "train": {
        const { round, participation, adapter, effort = 1 } = message;
        const { keepsRescaler, uploadBytes, topKOf, attackOf } = ctx.services;
        const start = keepsRescaler && state.rescaler !== null ? state.rescaler : message.rescaler;
        const { id } = state;
        const job: TrainRecipe | null =
          adapter.ref === "blob" && start !== null
            ? {
                client: id,
                round,
                participation,
                topK: topKOf(id),
                adapter,
                rescaler: start,
                effort,
                attack: attackOf(id),
              }
            : null;
        const result = ctx.pledge<Trained>({ work: "train", job, bytes: uploadBytes });
        // A newcomer goes on from where it joined, should this update not be counted.
        const joined = keepsRescaler && state.rescaler === null && start !== null;
        return next(
          joined ? { ...state, rescaler: start } : state,
          send(serverRef, { type: "update", round, participation, result }),
        );
      }
      case "acknowledge":
        return next(message.rescaler === null ? state : { ...state, rescaler: message.rescaler });
      default:
        return unreachable(message);
    }
  },
});

/** The first state of each client. */
export const newClient = (id: number): ClientState => ({ id: clientId(id), rescaler: null });
