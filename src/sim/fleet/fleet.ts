/**
 * The fleet as columns: one row per client in typed arrays, no object per client, so that a million idle clients cost
 * tens of megabytes.
 */
import type { ClientId } from "../../base/ids.ts";

export interface Fleet {
  readonly size: number;
  readonly tierNames: readonly string[];
  readonly regionNames: readonly string[];
  /** Index into `tierNames`. */
  readonly tier: Uint16Array;
  /** Index into `regionNames`. */
  readonly region: Uint16Array;
  /** What the task calls a budget: of a language model, experts per token k_i. */
  readonly budget: Uint8Array;
  /** Training speed in tokens per second at the client's own budget k_i. */
  readonly tokensPerSecond: Float64Array;
  /** Bytes per second towards the client. */
  readonly downlink: Float64Array;
  /** Bytes per second towards the server. */
  readonly uplink: Float64Array;
  /** One-way latency in milliseconds. */
  readonly latency: Float64Array;
  /** Training examples and their tokens (one epoch) in the client's partition. */
  readonly examples: Float64Array;
  readonly tokens: Float64Array;
  /** Probability per tier of dropping out in training, besides what the world's own faults do. Absent = 0. */
  readonly tierDropout?: readonly number[];
}

/** What a scenario can refer to. */
export type FleetNames = Pick<Fleet, "size" | "tierNames" | "regionNames">;

export const tierOf = (fleet: Fleet, client: ClientId): string => fleet.tierNames[fleet.tier[client]!]!;
