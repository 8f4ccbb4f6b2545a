/** Everything that can go wrong in the simulated world, all at once. */
import { minutes, seconds } from "../../src/base/units.ts";
import { fedasync, fedbuff, semiSynchronous } from "../../src/fl/policies/registry.ts";
import type { Scenario, ScenarioInput } from "../../src/scenario/define.ts";
import { crash, outage, serverRestart, slowdown } from "../../src/sim/script/effects.ts";
import { at, between, every } from "../../src/sim/script/timeline.ts";
import { timingOnly } from "./scenarios.ts";

const modes = ["abort", "abort-at-end-check", "pause"] as const;

export const foulWeather = (seed: number): NonNullable<ScenarioInput["world"]> => ({
  network: {
    loss: 0.1,
    duplication: 0.1,
    corruption: 0.05,
    reordering: { probability: 0.2, maxDelay: seconds(5) },
    taskVariation: { down: 0.3, up: 0.3 },
    ...(seed % 2 === 0 ? {} : { sharedUplink: 1e6 as never }),
  },
  compute: { noise: { type: "log-normal", mean: 1, cv: 0.2 } },
  availability: [{ type: "two-state", onShare: 0.6, meanOn: minutes(10) }],
  onIneligible: modes[seed % 3]!,
  faults: {
    beforeDownload: 0.05,
    download: 0.05,
    training: 0.05,
    upload: 0.05,
    acknowledge: 0.1,
    crash: 0.05,
    corruptedUpdate: 0.05,
    hazardPerHour: 0.5,
    roundRate: { type: "beta", mean: 0.1, correlation: 0.1 },
    shocks: { probability: 0.05, severity: 0.8 },
    swizzle: { window: minutes(1), share: 0.2, probability: 0.3 },
  },
  timeline: [
    at(minutes(2), outage("north", minutes(3))),
    every(minutes(5), serverRestart(seconds(10))),
    at(minutes(3), crash("phone")),
    between(minutes(1), minutes(4), slowdown("edge", 3)),
  ],
  churn: { presentAtStart: 0.8, meanWait: minutes(10), meanStay: minutes(60) },
  battery: {},
});

const policies = [
  undefined,
  fedbuff({ concurrency: 8, buffer: 4 }),
  fedbuff({ concurrency: 8, buffer: 4, timeout: minutes(1) }),
  fedasync({ concurrency: 6 }),
  semiSynchronous({ period: seconds(30), concurrency: 8 }),
];

/** A fleet in foul weather under one of the round policies, told by the seed. */
export function stormy(seed: number, overrides: Partial<ScenarioInput> = {}): Scenario {
  const policy = policies[seed % policies.length];
  return timingOnly({
    name: "stormy",
    seed,
    regions: [
      { name: "north", share: 1 },
      { name: "south", share: 2 },
    ],
    rounds: {
      count: 4,
      cohort: 8,
      deadline: minutes(1),
      minUpdates: 3,
      overSelection: 1.3,
      minimumGap: seed % 7 === 0 ? 1 : 0,
      ...(policy === undefined ? {} : { policy }),
    },
    world: foulWeather(seed),
    ...overrides,
  });
}
