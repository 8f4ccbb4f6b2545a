/** Every eligible client is as likely as any other. */
import { defineSampler } from "../sampler.ts";
import { sampleEligible } from "./choose.ts";

export const uniform = defineSampler({
  type: "uniform",
  is: "every eligible client is as likely as any other",
  options: {},
  make: () => ({
    needsLosses: false,
    select: (candidates, count, draws) =>
      sampleEligible(candidates, count, draws, (client) => candidates.isEligible(client)),
  }),
});
