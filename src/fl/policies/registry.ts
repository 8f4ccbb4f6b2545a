/** Every round policy by name: from plain data to a policy, the schema of that data, and what can be wrong with it. */
import { z } from "zod";
import { unreachable } from "../../base/errors.ts";
import type { PolicySpec, RoundPolicy } from "../policy.ts";
import { type Problem, parseSpec, problemsOf } from "../problem.ts";
import { checkFedasync, fedasync, fedasyncSpec } from "./fedasync.ts";
import { checkFedbuff, fedbuff, fedbuffSpec } from "./fedbuff.ts";
import { checkSemiSynchronous, semiSynchronous, semiSynchronousSpec } from "./semi-synchronous.ts";
import { checkSynchronous, synchronous, synchronousSpec } from "./synchronous.ts";

export { fedasync, fedbuff, semiSynchronous, synchronous };

export const policySpecSchema = z.discriminatedUnion("type", [
  synchronousSpec,
  fedbuffSpec,
  fedasyncSpec,
  semiSynchronousSpec,
]);

/** The policy a spec names. `policyFromSpec(p.spec)` is `p` again. */
export function policyFromSpec(spec: PolicySpec): RoundPolicy {
  const parsed = parseSpec("policy", policySpecSchema, spec);
  switch (parsed.type) {
    case "synchronous":
      return synchronous(parsed);
    case "fedbuff":
      return fedbuff(parsed);
    case "fedasync":
      return fedasync(parsed);
    case "semi-synchronous":
      return semiSynchronous(parsed);
    default:
      return unreachable(parsed);
  }
}

/** Everything wrong with a policy for a fleet of this size, such as a quorum that can never be met. */
export function checkPolicy(spec: PolicySpec, { fleetSize }: { fleetSize: number }): Problem[] {
  const problems = problemsOf(policySpecSchema, spec);
  if (problems.length > 0) return problems;
  const parsed = policySpecSchema.parse(spec);
  switch (parsed.type) {
    case "synchronous":
      return checkSynchronous(parsed, fleetSize);
    case "fedbuff":
      return checkFedbuff(parsed, fleetSize);
    case "fedasync":
      return checkFedasync(parsed, fleetSize);
    case "semi-synchronous":
      return checkSemiSynchronous(parsed, fleetSize);
    default:
      return unreachable(parsed);
  }
}
