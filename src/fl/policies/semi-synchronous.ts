/**
 * Aggregation by the clock: at the end of every period the server takes what has arrived, and who is not ready yet
 * works on.
 *
 * A straggler's update counts in the period in which it arrives, with the weight of its staleness, instead of being
 * lost. A client that is ready early rests until the period ends. With fewer than `minUpdates` the period is extended
 * by another one; what has arrived is kept.
 * After Stripelis, Thompson, Ambite, "Semi-Synchronous Federated Learning", 2022, https://arxiv.org/abs/2102.02849, and
 * Wu et al., "SAFA", 2020, https://arxiv.org/abs/1910.01355.
 */
import * as z from "zod";
import { millis } from "../../base/units.ts";
import { type Decision, definePolicy } from "../policy.ts";
import { judge, refill, sweep, timeoutField } from "./buffered.ts";
import { atMost, duration } from "./fields.ts";
import { stalenessFields } from "./staleness.ts";

export const semiSynchronous = definePolicy({
  type: "semi-synchronous",
  is: "aggregates every so often what has arrived, late updates too",
  options: {
    period: duration.describe("milliseconds of virtual time between aggregations"),
    concurrency: z.int().min(1).describe("clients at work after each aggregation"),
    minUpdates: z.int().min(1).default(1).describe("with fewer than this a period goes on for another one"),
    ...stalenessFields,
    ...timeoutField,
  },
  name: ({ concurrency }) => `semi-synchronous(${concurrency})`,
  sizedLike: ({ cohort, deadline }) => ({
    concurrency: cohort,
    timeout: deadline,
    ...(deadline === null ? {} : { period: deadline }),
  }),
  make: (options) => {
    const { period, concurrency, minUpdates, timeout } = options;
    const endOfPeriod: Decision = { type: "timer", after: millis(period), name: "period" };
    return {
      carriesOver: true,
      facts: () => ({ timeout, minUpdates }),
      problems: (fleetSize) => [
        ...atMost("concurrency", concurrency, fleetSize, "the clients of the fleet"),
        ...atMost("minUpdates", minUpdates, fleetSize, "the clients of the fleet"),
      ],
      onRound: (view) => [...sweep(view, concurrency, timeout), endOfPeriod],
      onUpdate: (view, arrival) => [judge(view, arrival, options)],
      onTimer(view, name) {
        if (name === "refill") return refill(view, concurrency);
        if (name === "sweep") return sweep(view, concurrency, timeout);
        if (view.accepted >= minUpdates) return [{ type: "close", aggregate: true }];
        // Those who have answered go back to work, or an extended period could wait for nobody.
        return [...refill(view, concurrency), endOfPeriod];
      },
      onQuiet: (view) => refill(view, concurrency),
    };
  },
});
