/** Whoever was invited least often, ties to the lower id: all take turns, and who was away catches up. */
import { z } from "zod";
import type { ClientSampler } from "../sampler.ts";
import { allEligible, ascending, highest } from "./choose.ts";

export const roundRobinSpec = z.strictObject({ type: z.literal("round-robin") });

export function roundRobin(): ClientSampler {
  return {
    name: "round-robin",
    spec: { type: "round-robin" },
    needsLosses: false,
    select(candidates, count) {
      const eligible = allEligible(candidates);
      const scores = Float64Array.from(eligible, (client) => -candidates.history.timesInvited[client]!);
      return ascending(highest(scores, count).map((index) => eligible[index]!));
    },
  };
}
