/**
 * Half an hour into the run the south goes dark for ten minutes. How much does the federation lose, and does it
 * recover by itself?
 *
 * Nothing is trained: only devices, network and rounds are simulated.
 *
 *   npx flame run regional-outage
 */
import {
  at,
  defineScenario,
  everyRoundAggregated,
  expectThat,
  megabits,
  minutes,
  outage,
  type RoundMetrics,
} from "flame-sim";

const from = minutes(30);
const until = minutes(40);

/** The south's share of the updates counted in rounds that closed in an interval of time. */
function southShare(rows: readonly RoundMetrics[], after: number, before: number): number {
  let [south, all] = [0, 0];
  for (const { closedAt, tiers } of rows) {
    if (closedAt < after || closedAt >= before) continue;
    for (const { tier, counted } of tiers) {
      all += counted;
      if (tier === "south") south += counted;
    }
  }
  return south / Math.max(1, all);
}

const device = {
  budget: 2,
  tokensPerSecond: { type: "log-normal", median: 100, sigma: 0.4 },
  uplink: megabits(10),
  latency: 40,
} as const;

export default defineScenario({
  name: "regional-outage",
  question: "How much does a federation lose when a region goes dark for ten minutes, and does it recover?",
  seed: 8,
  timingOnly: true,
  data: { sizes: { examplesPerClient: { type: "log-normal", mean: 60, cv: 0.5 }, tokensPerExample: 60 } },
  regions: [
    { name: "region-north", share: 1 },
    { name: "region-south", share: 1 },
  ],
  fleet: [
    { name: "north", clients: 60, region: "region-north", ...device },
    { name: "south", clients: 60, region: "region-south", ...device },
  ],
  world: { timeline: [at(from, outage("region-south", minutes(10)))] },
  rounds: { count: 80, cohort: 24, minUpdates: 6, deadline: minutes(2) },
  expect: [
    everyRoundAggregated(),
    expectThat("the south falls silent in the dark", ({ rows }) => {
      const share = southShare(rows, from + minutes(2), until);
      return { holds: share < 0.1, found: `it sends ${(share * 100).toFixed(0)} % of the updates` };
    }),
    expectThat("it is heard as much after the outage as before", ({ rows }) => {
      const [before, after] = [southShare(rows, 0, from), southShare(rows, until + minutes(2), Infinity)];
      return {
        holds: Math.abs(after - before) < 0.1,
        found: `${(before * 100).toFixed(0)} % of the updates before, ${(after * 100).toFixed(0)} % after`,
      };
    }),
  ],
});
