/** Whoever was invited least often, ties to the lower id: all take turns, and who was away catches up. */
import { defineSampler } from "../sampler.ts";
import { allEligible, ascending, highest } from "./choose.ts";

export const roundRobin = defineSampler({
  type: "round-robin",
  is: "whoever was invited least often",
  options: {},
  make: () => ({
    needsLosses: false,
    select(candidates, count) {
      const eligible = allEligible(candidates);
      const scores = Float64Array.from(eligible, (client) => -candidates.history.timesInvited[client]!);
      return ascending(highest(scores, count).map((index) => eligible[index]!));
    },
  }),
});
