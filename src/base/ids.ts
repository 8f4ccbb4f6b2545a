/** Identities that run through every room. A client's id is its row in the fleet's columns. */

/** A client's row in the fleet, `0 ≤ id < fleet.size`. */
export type ClientId = number & { readonly id: "client" };
/** One cycle of invite, train, aggregate; the first is 1, and a prelude before it 0. For asynchronous policies: the model version being built. */
export type Round = number & { readonly id: "round" };
/** One client's part in one round, numbered over the whole run from 0. */
export type ParticipationId = number & { readonly id: "participation" };

export const clientId = (row: number): ClientId => row as ClientId;
export const round = (number: number): Round => number as Round;
export const participationId = (number: number): ParticipationId => number as ParticipationId;

/** `c-017`: the name used in messages, traces and errors. */
export const clientName = (client: ClientId): string =>
  client >= 100 ? `c-${client}` : `c-${String(client).padStart(3, "0")}`;
