/** Mistakes in the tiers of a scenario that no schema sees. */

import {
  checkCount,
  checkNotNegative,
  checkPositive,
  checkProbability,
  checkThat,
  type Problem,
  problem,
} from "../../base/problem.ts";
import type { DeviceTrace, FleetSpec, TierSpec } from "./fleet-spec.ts";
import { checkLaw } from "./laws.ts";
import { checkLinkLaw } from "./links.ts";
import { checkSpeedLaw } from "./speed-laws.ts";

/** 64 bytes each; what is more than this is a slip of the pen. */
const mostClients = 100_000_000;
/** The columns number tiers and regions with 16 bits, and budgets with 8. */
const mostTiers = 2 ** 16;
const mostExperts = 255;

export function checkFleet({ tiers, regions = [] }: FleetSpec): Problem[] {
  const names = tiers.map(({ name }) => name);
  const clients = tiers.reduce((sum, tier) => sum + tier.clients, 0);
  const places = regions.map(({ name }) => name);
  return [
    ...checkThat(tiers.length > 0 && tiers.length <= mostTiers, "tiers", `1 to ${mostTiers} tiers`, tiers.length),
    ...checkThat(clients <= mostClients, "tiers", `at most ${mostClients} clients in all`, clients),
    ...checkDistinct("tiers", names),
    ...checkDistinct("regions", places),
    ...checkThat(!places.includes("all") && !names.includes("all"), "tiers", 'names other than "all"', "all"),
    ...(regions.length > 0 && !regions.some(({ share }) => share > 0)
      ? [problem("regions", "at least one region with a share above 0", regions)]
      : []),
    ...regions.flatMap(({ share }, i) => checkNotNegative(`regions[${i}].share`, share)),
    ...tiers.flatMap((tier, i) => checkTier(`tiers[${i}]`, tier, places)),
  ];
}

const checkDistinct = (path: string, names: readonly string[]): Problem[] =>
  names.flatMap((name, i) =>
    checkThat(names.indexOf(name) === i, `${path}[${i}].name`, "a name that no other one has", name),
  );

function checkTier(path: string, tier: TierSpec, places: readonly string[]): Problem[] {
  const { memory, region, trace } = tier;
  return [
    ...checkCount(`${path}.clients`, tier.clients, 1),
    ...checkBudget(`${path}.topK`, tier.topK),
    ...checkSpeedLaw(`${path}.speed`, tier.speed),
    ...checkPositive(`${path}.speedAtTopK`, tier.speedAtTopK),
    ...checkLinkLaw(`${path}.link`, tier.link),
    // Latency alone may be nothing at all.
    ...(typeof tier.latency === "number"
      ? checkNotNegative(`${path}.latency`, tier.latency)
      : checkLaw(`${path}.latency`, tier.latency)),
    ...checkLaw(`${path}.memory.available`, memory?.available),
    ...checkNotNegative(`${path}.memory.fixed`, memory?.fixed),
    ...checkPositive(`${path}.memory.perExpert`, memory?.perExpert),
    ...(memory !== undefined && typeof memory.available === "number"
      ? checkThat(
          memory.available >= memory.fixed + memory.perExpert,
          `${path}.memory.available`,
          `room for one expert, which is ${memory.fixed + memory.perExpert}`,
          memory.available,
        )
      : []),
    ...checkThat(
      region === undefined || places.includes(region),
      `${path}.region`,
      `one of the regions ${places.join(", ") || "(there are none)"}`,
      region,
    ),
    ...checkProbability(`${path}.dropout`, tier.dropout),
    ...(trace === undefined ? [] : checkDeviceTrace(`${path}.trace`, trace, tier)),
    ...((tier.speed.type === "trace" || tier.link.type === "trace") && trace === undefined
      ? [problem(`${path}.trace`, "measured devices, which a law of this tier reads", "nothing")]
      : []),
  ];
}

function checkBudget(path: string, budget: TierSpec["topK"]): Problem[] {
  const isBudget = (k: number) => Number.isInteger(k) && k >= 1 && k <= mostExperts;
  const expected = `a whole number of experts in [1, ${mostExperts}]`;
  if (typeof budget === "number") return checkThat(isBudget(budget), path, expected, budget);
  return [
    ...checkPositive(`${path}.deadline`, budget.deadline),
    ...checkThat(budget.allowed.length > 0, `${path}.allowed`, "at least one budget", budget.allowed),
    ...budget.allowed.flatMap((k, i) => checkThat(isBudget(k), `${path}.allowed[${i}]`, expected, k)),
  ];
}

function checkDeviceTrace(path: string, { records }: DeviceTrace, { speed, link }: TierSpec): Problem[] {
  return [
    ...checkThat(records.length > 0, `${path}.records`, "at least one measured device", records),
    ...records.flatMap((record, i) => {
      const here = `${path}.records[${i}]`;
      return [
        ...(speed.type === "trace" && record.tokensPerSecond === undefined
          ? [problem(`${here}.tokensPerSecond`, "a number above 0", "nothing")]
          : checkPositive(`${here}.tokensPerSecond`, record.tokensPerSecond)),
        ...(link.type === "trace" && record.downlink === undefined && record.uplink === undefined
          ? [problem(`${here}.downlink`, "a number above 0", "nothing")]
          : checkPositive(`${here}.downlink`, record.downlink)),
        ...checkPositive(`${here}.uplink`, record.uplink),
      ];
    }),
  ];
}
