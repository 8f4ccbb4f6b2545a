/**
 * A million phones, of which a thousand are needed a round. How long does a round take, and how many of them has the
 * server heard of after a hundred rounds?
 *
 * Nothing is trained: only devices, network and rounds are simulated. An idle phone is a row in a few columns of
 * numbers, so the fleet takes less memory than the browser that shows the report.
 *
 *   npx flame run million-clients
 */
import {
  aiBenchmark,
  defineScenario,
  everyRoundAggregated,
  expectThat,
  flashLink,
  hours,
  megabits,
  minutes,
} from "flame-sim";

export default defineScenario({
  name: "million-clients",
  question: "How long does a round take when a thousand out of a million phones are needed?",
  seed: 1,
  timingOnly: true,
  data: {
    sizes: { examplesPerClient: { type: "log-normal", mean: 100, cv: 1 }, tokensPerExample: 60 },
  },
  fleet: [
    {
      name: "phone",
      clients: 900_000,
      budget: 1,
      speed: aiBenchmark(150),
      link: flashLink(0.5),
      latency: 60,
      dropout: 0.06,
    },
    { name: "laptop", clients: 100_000, budget: 4, tokensPerSecond: 400, uplink: megabits(20), latency: 30 },
  ],
  world: {
    compute: { noise: { type: "log-normal", mean: 1, cv: 0.2 } },
    // On the charger, on WiFi and idle.
    availability: [
      { type: "two-state", onShare: 0.1, meanOn: hours(2), diurnal: { amplitude: 0.6, peakAt: hours(2) } },
    ],
  },
  // Google's system invites 130 % of what a round needs.
  rounds: { count: 100, cohort: 1_000, overSelection: 1.3, minUpdates: 800, deadline: minutes(10) },
  trace: "digest",
  checkpoints: { every: 50, keep: 1 },
  expect: [
    everyRoundAggregated(),
    expectThat("most updates come from clients that were never heard before", ({ rows }) => {
      const { distinctClients } = rows.at(-1)!;
      return { holds: distinctClients > 50_000, found: `${distinctClients} different clients in 100 rounds of 1,000` };
    }),
  ],
});
