/**
 * Phones at their worst: a few very slow ones, a quarter of the bandwidth, rounds that fail together, and clients that
 * are there when others with other data are not. Whose data does a model still see?
 *
 *   npx flame run presets/harsh
 */
import { defineScenario, flashLink, hours } from "flame-sim";
import phones from "./phones.ts";

const { world, rounds } = phones.data;

export default defineScenario({
  name: "harsh",
  question: "Who is heard when absence goes with the data and failures come together?",
  timingOnly: true,
  // Availability goes with labels, so there have to be examples.
  data: { source: { type: "instructions", examples: 4_000 } },
  fleet: [
    {
      name: "phone",
      clients: 400,
      budget: 1,
      // The median of a Pareto time is 2^(1/α) times its minimum.
      speed: { type: "pareto", fastest: 100 * Math.SQRT2, alpha: 2 },
      link: flashLink(1 / 4),
    },
  ],
  world: {
    ...world,
    availability: [{ type: "data", rule: "YC", beta: 0.5, slot: hours(1), period: 24 }],
    faults: { roundRate: { type: "beta", mean: 0.2, correlation: 0.1 } },
  },
  rounds,
});
