/** What a client is asked to do in a participation, decided when it is invited. */
import * as z from "zod";
import type { ClientId, ParticipationId, Round } from "../base/ids.ts";
import type { ParameterLayout } from "../tasks/layout.ts";
import { type Scope, scalarsOf } from "../tasks/scope.ts";
import { type KeyedDraws, type Setting, variantSchema } from "../tasks/task.ts";

/** Survives msgpack unchanged. */
export type Plain = null | boolean | number | string | readonly Plain[] | { readonly [key: string]: Plain };
export const plainSchema = z.custom<Plain>(isPlain, "plain data");
export type Vectors = Readonly<Record<string, Float32Array | Float64Array>>;

/** A client's own. Changed by a reply, and only when the server has counted the update. */
export interface ClientMemory {
  readonly vectors: Vectors;
  readonly notes: Plain;
}

export interface ClientView {
  readonly client: ClientId;
  readonly budget: number;
  /** |D_i| */
  readonly examples: number;
  readonly round: Round;
  readonly memory: ClientMemory;
  readonly draws: KeyedDraws;
}

/** A client when it is invited. */
export interface Invited extends ClientView {
  /** How many invitations went before in this run: what goes by turns among all clients goes by this. */
  readonly participation: ParticipationId;
  /** What the strategy's own sampler noted when it chose this client. */
  readonly chosen?: Plain;
}

/** Chooses the programs of a participation; few distinct values in a run. */
export const kindSchema = z
  .object({ variant: variantSchema })
  .catchall(z.union([z.string(), z.number(), z.boolean(), variantSchema]));
export type Kind = Readonly<z.output<typeof kindSchema>>;

export interface Plan {
  readonly kind: Kind;
  /** Parameters that the client has; all unless given. */
  readonly scope?: Scope;
  /** What it trains from in the place of the server's parameters; charged like these. */
  readonly start?: Float32Array;
  /** Which members train, one after the other; all there are unless given. */
  readonly members?: readonly number[];
  /** Fed to every step, by the names that `steps` declares or its variant asks for. */
  readonly inputs?: Readonly<Record<string, number | Float32Array | Float64Array>>;
  /** Share of its local steps, in (0, 1]; what the scenario says unless given. */
  readonly effort?: number;
  /** Of the local optimizer, in this round; the scenario's, under its schedule, unless given. */
  readonly learningRate?: number;
  /** What travels besides the envelope; four bytes for each parameter of the scope unless given. */
  readonly bytes?: { readonly down?: number; readonly up?: number };
  /** How many parameters a client that compresses sends, where it would not send all of them otherwise either. */
  readonly entries?: number;
  /**
   * An exchange between training and update, in bytes: a few numbers for the server, and its answer. The server answers
   * each client at once; what is said is in `reply`, this is what it weighs.
   */
  readonly preliminary?: { readonly up: number; readonly down: number };
  /** Whatever `reply` and `fold` want to know again. */
  readonly notes?: Plain;
}

/** What travels for a plan, besides the envelope. */
export function bytesOf({ bytes, scope }: Pick<Plan, "bytes" | "scope">, layout: ParameterLayout) {
  const whole = 4 * scalarsOf(layout, scope);
  return { down: bytes?.down ?? whole, up: bytes?.up ?? whole };
}

export const emptyMemory: ClientMemory = { vectors: {}, notes: null };

/** The plan of a method that adapts nothing but the budget. */
export const usual = ({ budget }: Pick<ClientView, "budget">, setting: Setting): Plan => ({
  kind: { variant: setting.variant(budget) },
});

function isPlain(value: unknown): value is Plain {
  if (value === null || ["boolean", "number", "string"].includes(typeof value)) return true;
  if (Array.isArray(value)) return value.every(isPlain);
  if (typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) return false;
  return Object.values(value).every(isPlain);
}
