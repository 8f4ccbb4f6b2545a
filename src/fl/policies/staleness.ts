/**
 * How much a stale update still counts. Staleness τ is the number of versions between an update's base and now.
 *
 *   constant     1
 *   polynomial   (1 + τ)^(−exponent)
 *   hinge        1 up to τ = h, then 1 / (g·(τ − h) + 1)
 *
 * Xie, Koyejo, Gupta, "Asynchronous Federated Optimization", 2019. https://arxiv.org/abs/1903.03934
 */
import * as z from "zod";
import { unreachable } from "../../base/errors.ts";

export const stalenessFields = {
  staleness: z
    .enum(["polynomial", "constant", "hinge"])
    .default("polynomial")
    .describe(
      "how the weight of an update falls with the rounds s since its base: (1 + s)^−exponent, not at all, or 1 ÷ (g·max(0, s − h) + 1)",
    ),
  exponent: z.number().min(0).default(0.5).describe("of the polynomial"),
  hingeSlope: z.number().positive().default(10).describe("g, of the hinge"),
  hingeFrom: z.number().min(0).default(4).describe("h, of the hinge"),
  maxStaleness: z.int().min(0).nullable().default(null).describe("staler updates are refused; null takes all"),
};

export interface StalenessOptions {
  readonly staleness: "polynomial" | "constant" | "hinge";
  readonly exponent: number;
  readonly hingeSlope: number;
  readonly hingeFrom: number;
}

/** In (0, 1], and 1 for a fresh update. */
export function stalenessWeight(options: StalenessOptions, staleness: number): number {
  switch (options.staleness) {
    case "constant":
      return 1;
    case "polynomial":
      return (1 + staleness) ** -options.exponent;
    case "hinge":
      return 1 / (options.hingeSlope * Math.max(0, staleness - options.hingeFrom) + 1);
    default:
      return unreachable(options.staleness);
  }
}
