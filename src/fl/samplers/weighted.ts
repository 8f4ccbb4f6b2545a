/**
 * Clients in proportion to their number of examples, without replacement: each draw takes client i with probability
 * n_i ÷ the sum over those not yet drawn.
 */
import { defineSampler } from "../sampler.ts";
import { sampleByExamples } from "./choose.ts";

export const weighted = defineSampler({
  type: "weighted",
  is: "clients in proportion to their number of examples",
  options: {},
  make: () => ({ needsLosses: false, select: sampleByExamples }),
});
