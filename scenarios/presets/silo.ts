/**
 * A few institutions: similar servers on good lines, always there, and once in a hundred rounds one of their sites fails
 * as a whole. How often does a round that needs four in five of them come to nothing?
 *
 *   npx flame run presets/silo
 */
import { defineScenario, megabytes } from "flame-sim";

export default defineScenario({
  name: "silo",
  question: "How often do too few of the sites answer?",
  timingOnly: true,
  data: { sizes: { examplesPerClient: 100, tokensPerExample: 60 } },
  fleet: [
    {
      name: "server",
      clients: 20,
      budget: 1,
      tokensPerSecond: { type: "log-normal", median: 100, sigma: 0.3 },
      uplink: megabytes(100),
      downlink: megabytes(100),
    },
  ],
  regions: ["north", "east", "south", "west"].map((name) => ({ name, share: 1 })),
  world: { faults: { shocks: { probability: 0.01, severity: 1 } } },
  rounds: { count: 100, cohort: 20, minUpdates: 16 },
});
