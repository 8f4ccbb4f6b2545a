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

/** Share of the south's invitations that counted, in rounds that closed in an interval of time. */
function southCounted(rows: readonly RoundMetrics[], after: number, before: number): number {
  let invited = 0;
  let counted = 0;
  for (const { closedAt, tiers } of rows) {
    if (closedAt < after || closedAt >= before) continue;
    for (const { tier, ...parts } of tiers) {
      if (tier !== "south") continue;
      invited += parts.invited;
      counted += parts.counted;
    }
  }
  return invited === 0 ? 0 : counted / invited;
}

const device = {
  topK: 2,
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
  rounds: { count: 60, cohort: 24, minUpdates: 6, deadline: minutes(2) },
  expect: [
    everyRoundAggregated(),
    expectThat("the south hardly counts in the dark", ({ rows }) => {
      const share = southCounted(rows, from, until);
      return { holds: share < 0.2, found: `${(share * 100).toFixed(0)} % of its invitations` };
    }),
    expectThat("it counts as often after the outage as before", ({ rows }) => {
      const [before, after] = [southCounted(rows, 0, from), southCounted(rows, until + minutes(2), Infinity)];
      return {
        holds: Math.abs(after - before) < 0.1,
        found: `${(before * 100).toFixed(0)} % before, ${(after * 100).toFixed(0)} % after`,
      };
    }),
  ],
});
