/** Fleets and histories for tests of samplers: plain columns, every client alike unless said otherwise. */
import { type ClientId, clientId, round } from "../../src/base/ids.ts";
import type { Candidates, History } from "../../src/fl/sampler.ts";
import type { Fleet } from "../../src/sim/fleet/fleet.ts";

export interface FleetSketch {
  examples?(row: number): number;
  tokensPerSecond?(row: number): number;
}

/** 1,000 tokens a client; at 1,000 tokens a second that is an expected second, without latency. */
export function makeFleet(
  size: number,
  { examples = () => 10, tokensPerSecond = () => 1_000 }: FleetSketch = {},
): Fleet {
  const column = (value: (row: number) => number) => Float64Array.from({ length: size }, (_, row) => value(row));
  return {
    size,
    tierNames: ["all"],
    regionNames: ["all"],
    tier: new Uint16Array(size),
    region: new Uint16Array(size),
    budget: new Uint8Array(size).fill(1),
    tokensPerSecond: column(tokensPerSecond),
    downlink: column(() => 1e6),
    uplink: column(() => 1e6),
    latency: column(() => 0),
    examples: column(examples),
    tokens: column(() => 1_000),
  };
}

export const makeHistory = (size: number): History => ({
  lastCounted: new Uint32Array(size),
  timesInvited: new Uint32Array(size),
  timesCounted: new Uint32Array(size),
  duration: new Float64Array(size).fill(Number.NaN),
  loss: new Float64Array(size).fill(Number.NaN),
});

/** The client was invited and counted in `inRound`. */
export function count(history: History, client: ClientId, inRound: number, duration: number, loss: number): void {
  history.timesInvited[client]!++;
  history.timesCounted[client]!++;
  history.lastCounted[client] = inRound;
  history.duration[client] = duration;
  history.loss[client] = loss;
}

export function candidatesOf<State>(
  fleet: Fleet,
  {
    history = makeHistory(fleet.size),
    inRound = 1,
    isEligible = () => true,
    state,
  }: {
    history?: History;
    inRound?: number;
    isEligible?: (client: ClientId) => boolean;
    state?: State | undefined;
  } = {},
): Candidates<State> {
  return { fleet, history, round: round(inRound), isEligible, ...(state === undefined ? {} : { state }) };
}

export const rows = (size: number): ClientId[] => Array.from({ length: size }, (_, row) => clientId(row));
