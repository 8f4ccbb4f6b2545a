/**
 * Phones as far as they were measured: a quarter of them there, mostly at night, of very different speed, on home WiFi.
 * How many of those invited answer in time?
 *
 *   compute        as unequal as phones on the market, and cv 0.2 from task to task
 *   network        FLASH's WiFi profiles, cv 0.4 from message to message
 *   availability   on for two hours on average, a quarter of the time, with Google's daily swing of 4 : 1
 *   failure        a hazard that loses 8 % of median tasks, Google's share
 *
 * Bonawitz et al., "Towards Federated Learning at Scale", 2019. https://arxiv.org/abs/1902.01046
 *
 *   npx flame run presets/phones
 */
import { defineScenario, flashLink, hazardLosing, hours, millis, minutes } from "flame-sim";

/** The median client's part in a round: about a minute of training, and its messages. */
const medianTask = minutes(2);

export default defineScenario({
  name: "phones",
  question: "How many of those invited answer in time?",
  timingOnly: true,
  data: { sizes: { examplesPerClient: 100, tokensPerExample: 60 } },
  fleet: [
    {
      name: "phone",
      clients: 400,
      budget: 1,
      tokensPerSecond: { type: "log-normal", median: 100, sigma: 0.9 },
      link: flashLink(),
    },
  ],
  world: {
    network: { taskVariation: { down: 0.4, up: 0.4 } },
    compute: { noise: { type: "log-normal", mean: 1, cv: 0.2 } },
    availability: [
      { type: "two-state", onShare: 0.25, meanOn: hours(2), diurnal: { amplitude: 0.6, peakAt: hours(2) } },
    ],
    faults: { hazardPerHour: hazardLosing(0.08, medianTask) },
  },
  rounds: { count: 20, cohort: 20, overSelection: 1.3, deadline: millis(3 * medianTask) },
});
