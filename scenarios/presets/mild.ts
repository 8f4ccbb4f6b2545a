/**
 * Somewhat unequal devices on measured WiFi, of which one in ten is away and one in fifty gives up. Does a method mind?
 *
 *   npx flame run presets/mild
 */
import { defineScenario, flashLink, minutes } from "flame-sim";

export default defineScenario({
  name: "mild",
  question: "What do rounds take on a fleet that behaves?",
  timingOnly: true,
  data: { sizes: { examplesPerClient: 100, tokensPerExample: 60 } },
  fleet: [
    {
      name: "device",
      clients: 400,
      budget: 1,
      tokensPerSecond: { type: "log-normal", median: 100, sigma: 0.3 },
      link: flashLink(),
    },
  ],
  world: {
    availability: [{ type: "bernoulli", probability: 0.9, slot: minutes(10) }],
    faults: { training: 0.02 },
  },
  rounds: { count: 20, cohort: 20 },
});
