/** Everything about the simulated world that is not a device: the part of a scenario this room understands. */

import { checkThat, type Problem } from "../base/problem.ts";
import { type AvailabilitySpec, checkAvailability, type OnIneligible } from "./availability/availability.ts";
import type { DataTraits } from "./availability/availability-data.ts";
import { type BatterySpec, checkBattery } from "./availability/battery.ts";
import { type ChurnSpec, checkChurn } from "./availability/churn.ts";
import type { FleetNames } from "./fleet/fleet.ts";
import { checkLaw } from "./fleet/laws.ts";
import { checkFaults, type FaultSpec } from "./flight/faults.ts";
import type { ComputeSpec } from "./flight/tasks.ts";
import { checkNetwork, type NetworkSpec } from "./network/network.ts";
import { checkTimeline, type TimelineEntry } from "./script/timeline.ts";

export interface WorldSpec {
  readonly network: NetworkSpec;
  readonly compute: ComputeSpec;
  /** A client is eligible when all models say so; an empty list is always. */
  readonly availability: readonly AvailabilitySpec[];
  readonly onIneligible: OnIneligible;
  readonly faults: FaultSpec;
  readonly timeline: readonly TimelineEntry[];
  readonly churn?: ChurnSpec;
  readonly battery?: BatterySpec;
}

/** Messages take latency and bytes ÷ rate, devices their own time, everybody is always there and nothing fails. */
export const defaultWorldSpec: WorldSpec = {
  network: {},
  compute: {},
  availability: [],
  onIneligible: "abort",
  faults: {},
  timeline: [],
};

/** Mistakes that no schema sees. `traits` is what is known of the labels of the clients' data. */
export function checkWorld(spec: WorldSpec, fleet: FleetNames, traits?: DataTraits): Problem[] {
  const modes: readonly string[] = ["abort", "abort-at-end-check", "pause"];
  return [
    ...checkNetwork("network", spec.network),
    ...checkLaw("compute.noise", spec.compute.noise),
    ...checkLaw("compute.duration", spec.compute.duration),
    ...spec.availability.flatMap((model, i) => checkAvailability(`availability[${i}]`, model, fleet, traits)),
    ...checkThat(modes.includes(spec.onIneligible), "onIneligible", `one of ${modes.join(", ")}`, spec.onIneligible),
    ...checkFaults("faults", spec.faults),
    ...checkTimeline("timeline", spec.timeline, fleet),
    ...(spec.churn === undefined ? [] : checkChurn("churn", spec.churn)),
    ...(spec.battery === undefined ? [] : checkBattery("battery", spec.battery, fleet)),
  ];
}
