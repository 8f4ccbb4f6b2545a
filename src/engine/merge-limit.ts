/** What a user says of clients that share calls. Apart from the engines, so that a scenario's types do not reach into them. */
import { formatBytes } from "../base/units.ts";

/** How many clients may share a call: a number, or as many as fit into memory of this size. */
export type MergeLimit = { readonly clients: number } | { readonly bytes: number };

/** Every client has a call of its own. */
export const alone: MergeLimit = { clients: 1 };

export const isAlone = (limit: MergeLimit): boolean => "clients" in limit && limit.clients === 1;

/** `8 clients a call`, `as many clients a call as 40.0 GB hold`. */
export const formatMerge = (limit: MergeLimit): string =>
  "clients" in limit
    ? `${limit.clients} ${limit.clients === 1 ? "client" : "clients"} a call`
    : `as many clients a call as ${formatBytes(limit.bytes)} hold`;
