/** The fleet that is benchmarked: phones and laptops as unlike as real ones, some of which drop out. Timing only. */
import { minutes } from "../src/base/units.ts";
import { fedbuff } from "../src/fl/policies/registry.ts";
import { defineScenario, type Scenario } from "../src/scenario/define.ts";
import { flashLink } from "../src/sim/fleet/links.ts";
import { aiBenchmark } from "../src/sim/fleet/speed-laws.ts";

export interface FleetSize {
  readonly clients: number;
  readonly cohort: number;
  readonly rounds: number;
  readonly policy?: "synchronous" | "fedbuff";
}

export function benchFleet({ clients, cohort, rounds, policy = "synchronous" }: FleetSize): Scenario {
  const phones = Math.round(0.7 * clients);
  return defineScenario({
    name: "bench",
    timingOnly: true,
    data: {
      sizes: { examplesPerClient: { type: "log-normal", mean: 40, cv: 0.5 }, tokensPerExample: 60 },
      partition: { type: "iid" },
    },
    fleet: [
      {
        name: "phone",
        clients: phones,
        budget: 1,
        speed: aiBenchmark(300),
        link: flashLink(0.25),
        latency: 60,
        dropout: 0.08,
      },
      {
        name: "laptop",
        clients: clients - phones,
        budget: 2,
        speed: aiBenchmark(900, "mild"),
        link: flashLink(),
        latency: 30,
      },
    ],
    world: { compute: { noise: { type: "log-normal", mean: 1, cv: 0.2 } } },
    rounds: {
      count: rounds,
      cohort,
      ...(policy === "fedbuff"
        ? { policy: fedbuff({ concurrency: cohort, buffer: Math.ceil(cohort / 10) }) }
        : { overSelection: 1.3, deadline: minutes(5), minUpdates: Math.min(10, cohort) }),
    },
  });
}
