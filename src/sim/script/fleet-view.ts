/** The fleet as a hook sees it: the columns themselves, which nobody may write to. */
import { ScenarioError } from "../../base/errors.ts";
import type { Fleet } from "../fleet/fleet.ts";
import type { ReadonlyColumn, ReadonlyFleet } from "./effects.ts";

export const viewOfFleet = (fleet: Fleet): ReadonlyFleet =>
  Object.freeze({
    size: fleet.size,
    tierNames: Object.freeze([...fleet.tierNames]),
    regionNames: Object.freeze([...fleet.regionNames]),
    tier: readonly(fleet.tier),
    region: readonly(fleet.region),
    budget: readonly(fleet.budget),
    tokensPerSecond: readonly(fleet.tokensPerSecond),
    downlink: readonly(fleet.downlink),
    uplink: readonly(fleet.uplink),
    latency: readonly(fleet.latency),
    examples: readonly(fleet.examples),
    tokens: readonly(fleet.tokens),
  });

/** Copies would cost as much as the fleet; a device that changed would not be what a resumed run begins with. */
function readonly(column: ReadonlyColumn): ReadonlyColumn {
  const refuse = (): never => {
    throw new ScenarioError('a hook changes the fleet, expected effects: sim.inject({ type: "slowdown", … })');
  };
  return new Proxy(column, {
    get(target, key) {
      if (key === "length") return target.length;
      // Methods could write.
      return typeof key === "string" && /^\d+$/.test(key) ? target[Number(key)] : undefined;
    },
    set: refuse,
    defineProperty: refuse,
    deleteProperty: refuse,
  });
}
