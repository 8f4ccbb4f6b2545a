/** A client that strays pays μ/2·‖θ − θ₀‖² for it, θ₀ the parameters as it received them. */
import type { Steps } from "../tasks/steps.ts";
import { add, scale, sub } from "../tensor/ops/arithmetic.ts";

/** The derivative of the penalty, two passes over the parameters. */
export const proximal = (mu: number): Pick<Steps, "gradient"> => ({
  gradient: (gradient, { parameters, start }) => add(gradient, scale(sub(parameters, start), mu)),
});
