/**
 * Builds the fleet: every client's speed, link, memory and expert budget, from the tiers of a scenario.
 *
 * Rows go tier by tier in the order of the scenario. Whatever a device is follows from its row and the seed alone, so
 * a tier that is added at the end changes no device before it.
 */

import { InvariantError, ScenarioError } from "../../base/errors.ts";
import type { Draws, Rng } from "../../base/random.ts";
import type { Fleet } from "./fleet.ts";
import {
  clientsIn,
  type DeadlineBudget,
  type DeviceRecord,
  type DeviceTrace,
  defaultRoundCost,
  type FleetSpec,
  linkOfTier,
  type MemorySpec,
  type PartitionSizes,
  type RegionSpec,
  type RoundCost,
  speedOfTier,
  type TierSpec,
} from "./fleet-spec.ts";
import { drawFrom, pickByShare } from "./laws.ts";
import { linkOf } from "./links.ts";
import { speedOf } from "./speed-laws.ts";

export type * from "./fleet-spec.ts";

export function buildFleet(
  spec: FleetSpec,
  sizes: PartitionSizes,
  rng: Rng,
  cost: RoundCost = defaultRoundCost,
): Fleet {
  const size = clientsIn(spec.tiers);
  const regions = spec.regions ?? [{ name: "everywhere", share: 1 }];
  const fleet: Fleet = {
    size,
    tierNames: spec.tiers.map(({ name }) => name),
    regionNames: regions.map(({ name }) => name),
    tier: new Uint16Array(size),
    region: new Uint16Array(size),
    budget: new Uint8Array(size),
    tokensPerSecond: new Float64Array(size),
    downlink: new Float64Array(size),
    uplink: new Float64Array(size),
    latency: new Float64Array(size),
    examples: new Float64Array(size),
    tokens: new Float64Array(size),
    tierDropout: spec.tiers.map(({ dropout }) => dropout ?? 0),
  };
  fillSizes(fleet, sizes, rng);
  fillRegions(fleet, spec.tiers, regions, rng);
  let first = 0;
  for (const [number, tier] of spec.tiers.entries()) {
    fillTier(fleet, tier, { number, first, rng, cost });
    first += tier.clients;
  }
  return fleet;
}

function fillSizes(fleet: Fleet, sizes: PartitionSizes, rng: Rng): void {
  if ("examplesPerClient" in sizes) {
    const lane = rng.at("partition size");
    const { examplesPerClient: law, tokensPerExample } = sizes;
    for (let client = 0; client < fleet.size; client++) {
      const drawn = typeof law === "number" ? law : drawFrom(law, lane.at(client));
      const examples = Math.max(1, Math.round(drawn));
      fleet.examples[client] = examples;
      fleet.tokens[client] = examples * tokensPerExample;
    }
    return;
  }
  if (sizes.examples.length !== fleet.size || sizes.tokens.length !== fleet.size) {
    throw new InvariantError(
      `the partition has ${sizes.examples.length} sizes and ${sizes.tokens.length} token counts for ${fleet.size} clients`,
    );
  }
  fleet.examples.set(sizes.examples);
  fleet.tokens.set(sizes.tokens);
}

function fillRegions(fleet: Fleet, tiers: readonly TierSpec[], regions: readonly RegionSpec[], rng: Rng): void {
  const lane = rng.at("device region");
  const shares = regions.map(({ share }) => share);
  let client = 0;
  for (const tier of tiers) {
    const fixed = tier.region === undefined ? -1 : fleet.regionNames.indexOf(tier.region);
    for (const end = client + tier.clients; client < end; client++) {
      if (fixed >= 0) fleet.region[client] = fixed;
      else if (regions.length > 1) fleet.region[client] = pickByShare(shares, lane.at(client));
    }
  }
}

interface TierPlace {
  readonly number: number;
  readonly first: number;
  readonly rng: Rng;
  readonly cost: RoundCost;
}

function fillTier(fleet: Fleet, tier: TierSpec, { number, first, rng, cost }: TierPlace): void {
  const quotedAt =
    tier.speedAtBudget ?? (typeof tier.budget === "number" ? tier.budget : Math.max(...tier.budget.allowed));
  const quotedCost = cost.flopsPerToken(quotedAt);
  const recordOf = tier.trace && recordPicker(tier.trace, first, rng);
  const speed = speedOf(speedOfTier(tier), {
    rng,
    tier: number,
    first,
    clients: tier.clients,
    flopsPerToken: quotedCost,
    traced: (client) => recordOf?.(client).tokensPerSecond ?? NaN,
  });
  const link = linkOf(linkOfTier(tier), rng, (client) => recordOf?.(client) ?? {});
  const latencies = rng.at("device latency");
  const memories = rng.at("device memory");
  const rates = { down: 0, up: 0 };
  const { latency = 0, memory } = tier;
  for (let client = first; client < first + tier.clients; client++) {
    fleet.tier[client] = number;
    link(client, rates);
    fleet.downlink[client] = rates.down;
    fleet.uplink[client] = rates.up;
    fleet.latency[client] = typeof latency === "number" ? latency : drawFrom(latency, latencies.at(client));
    const quotedSpeed = speed(client);
    const speedAt = (k: number) => (k === quotedAt ? quotedSpeed : (quotedSpeed * quotedCost) / cost.flopsPerToken(k));
    const limit = memory === undefined ? Infinity : largestInMemory(memory, memories.at(client));
    const budget = chooseBudget(tier.budget, limit, (k) => roundSeconds(fleet, client, speedAt(k), cost));
    fleet.budget[client] = budget;
    fleet.tokensPerSecond[client] = speedAt(budget);
    checkDevice(fleet, client);
  }
}

/** Laws with extreme parameters, and functions of an author's own, may give what no device can be. */
function checkDevice({ tierNames, tier, tokensPerSecond, downlink, uplink, latency }: Fleet, client: number): void {
  const speed = tokensPerSecond[client]!;
  const down = downlink[client]!;
  const up = uplink[client]!;
  const delay = latency[client]!;
  if (isRate(speed) && isRate(down) && isRate(up) && delay < Infinity) return;
  const what = !isRate(speed)
    ? `speed in tokens per second is ${speed}, expected a finite number above 0`
    : !isRate(down)
      ? `downlink in bytes per second is ${down}, expected a finite number above 0`
      : !isRate(up)
        ? `uplink in bytes per second is ${up}, expected a finite number above 0`
        : `latency in milliseconds is ${delay}, expected a finite number`;
  throw new ScenarioError(`tier ${JSON.stringify(tierNames[tier[client]!])}, client ${client}: the ${what}`);
}

const isRate = (value: number): boolean => value > 0 && value < Infinity;

function recordPicker({ records, assignment }: DeviceTrace, first: number, rng: Rng): (client: number) => DeviceRecord {
  if (assignment === "cycle") return (client) => records[(client - first) % records.length]!;
  const lane = rng.at("device record");
  return (client) => records[lane.at(client).below(records.length)]!;
}

function largestInMemory({ available, fixed, perExpert }: MemorySpec, draws: Draws): number {
  return Math.floor((drawFrom(available, draws) - fixed) / perExpert);
}

/** The smallest allowed budget is the floor: a device that is too small for it still takes part, and is late. */
function chooseBudget(budget: number | DeadlineBudget, limit: number, seconds: (budget: number) => number): number {
  if (typeof budget === "number") return Math.max(1, Math.min(budget, limit));
  let smallest = Infinity;
  let best = 0;
  for (const k of budget.allowed) {
    smallest = Math.min(smallest, k);
    if (k > best && k <= limit && seconds(k) * 1_000 <= budget.deadline) best = k;
  }
  return best === 0 ? smallest : best;
}

function roundSeconds(fleet: Fleet, client: number, tokensPerSecond: number, cost: RoundCost): number {
  return (
    (2 * fleet.latency[client]!) / 1_000 +
    cost.downloadBytes / fleet.downlink[client]! +
    cost.trainedTokens(fleet.examples[client]!, fleet.tokens[client]!) / tokensPerSecond +
    cost.uploadBytes / fleet.uplink[client]!
  );
}
