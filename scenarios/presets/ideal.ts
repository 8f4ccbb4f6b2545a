/**
 * Nothing gets in the way: equal devices, messages that take their latency and no more, everybody there, nothing fails.
 * What do the rounds of a method take when only its own waiting counts?
 *
 *   npx flame run presets/ideal
 */
import { defineScenario, megabytes } from "flame-sim";

export default defineScenario({
  name: "ideal",
  question: "What do rounds take in a world without mishaps?",
  timingOnly: true,
  data: { sizes: { examplesPerClient: 100, tokensPerExample: 60 } },
  fleet: [
    {
      name: "device",
      clients: 400,
      budget: 1,
      tokensPerSecond: 100,
      uplink: megabytes(1_000_000_000),
      downlink: megabytes(1_000_000_000),
    },
  ],
  rounds: { count: 20, cohort: 20 },
});
