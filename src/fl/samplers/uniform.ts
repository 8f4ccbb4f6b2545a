/** Every eligible client is as likely as any other. */
import { z } from "zod";
import type { ClientSampler } from "../sampler.ts";
import { sampleEligible } from "./choose.ts";

export const uniformSpec = z.strictObject({ type: z.literal("uniform") });

export function uniform(): ClientSampler {
  return {
    name: "uniform",
    spec: { type: "uniform" },
    needsLosses: false,
    select: (candidates, count, draws) =>
      sampleEligible(candidates, count, draws, (client) => candidates.isEligible(client)),
  };
}
