/** The tiers of a scenario: what its devices are, before any of them is drawn. */
import type { Millis } from "../../base/units.ts";
import type { Law } from "./laws.ts";
import type { LinkLaw } from "./links.ts";
import type { SpeedLaw } from "./speed-laws.ts";

export interface FleetSpec {
  readonly tiers: readonly TierSpec[];
  /** Where clients live. Left out: one region named `everywhere`. */
  readonly regions?: readonly RegionSpec[];
}

export interface RegionSpec {
  readonly name: string;
  /** Relative; shares need not sum to 1. */
  readonly share: number;
}

export interface TierSpec {
  readonly name: string;
  readonly clients: number;
  /** Experts per token, k_i: the tier's own, or the largest that a device finishes a round with in time. */
  readonly topK: number | DeadlineBudget;
  readonly speed: SpeedLaw;
  /** Experts per token at which `speed` is quoted. Left out: the tier's own, or the largest of a deadline budget. */
  readonly speedAtTopK?: number;
  readonly link: LinkLaw;
  /** One-way, in milliseconds; drawn once per device. */
  readonly latency?: Law;
  readonly memory?: MemorySpec;
  /** All clients of the tier live here. Left out: regions by their shares. */
  readonly region?: string;
  /** Probability of dropping out in training. */
  readonly dropout?: number;
  /** Measured devices, for laws of type `trace`. */
  readonly trace?: DeviceTrace;
}

/** k_i = the largest allowed k whose expected round (download, training, upload) fits the deadline. */
export interface DeadlineBudget {
  readonly type: "deadline";
  readonly deadline: Millis;
  readonly allowed: readonly number[];
}

/** k_i is at most the largest k with `fixed + perExpert · k ≤ available`, all in bytes. */
export interface MemorySpec {
  readonly available: Law;
  readonly fixed: number;
  readonly perExpert: number;
}

/** One measured device. */
export interface DeviceRecord {
  readonly tokensPerSecond?: number;
  /** Bytes per second. */
  readonly downlink?: number;
  readonly uplink?: number;
}

export interface DeviceTrace {
  readonly records: readonly DeviceRecord[];
  /** `cycle`: client i takes record i modulo their number, as FedScale does. */
  readonly assignment: "cycle" | "random";
}

/** Local training data: given per client, or drawn for fleets whose clients hold none. */
export type PartitionSizes =
  | { readonly examples: ArrayLike<number>; readonly tokens: ArrayLike<number> }
  | { readonly examplesPerClient: Law; readonly tokensPerExample: number };

/** What one client's part in a round costs. */
export interface RoundCost {
  /** Training cost of one token with k active experts, in FLOPs, or in any unit if no tier is quoted in FLOPs. */
  readonly flopsPerToken: (topK: number) => number;
  /** Tokens a client trains on in a round, by the examples and tokens it holds. */
  readonly trainedTokens: (examples: number, tokens: number) => number;
  readonly downloadBytes: number;
  readonly uploadBytes: number;
}

/** Cost in proportion to the active experts; free messages. */
export const defaultRoundCost: RoundCost = {
  flopsPerToken: (topK) => topK,
  trainedTokens: (_, tokens) => tokens,
  downloadBytes: 0,
  uploadBytes: 0,
};
