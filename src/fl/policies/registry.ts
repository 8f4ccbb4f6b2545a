/** Round policies by name: from plain data to a policy, the schema of that data, and what can be wrong with it. */

import { type Problem, problemsOf } from "../../base/problem.ts";
import { registryOf, type Spec } from "../define.ts";
import type { RoundSize } from "../policy.ts";
import * as all from "./all.ts";

export * from "./all.ts";

export const policies = registryOf("policy", all);
export const { schema: policySpecSchema, fromSpec: policyFromSpec } = policies;

/** What a scenario that names no policy gets. */
export const usualPolicySpec = (rounds: RoundSize): Spec => sizedLike({ type: all.synchronous.type }, rounds);

/** The policy of this spec as large as these rounds, where the spec does not say how large. */
export const sizedLike = (spec: Spec, rounds: RoundSize): Spec => ({
  ...policies.entries.get(spec.type)?.sizedLike(rounds),
  ...spec,
});

/** Everything wrong with a policy for a fleet of this size, such as a quorum that can never be met. */
export function checkPolicy(spec: Spec, { fleetSize }: { fleetSize: number }): readonly Problem[] {
  const problems = problemsOf(policySpecSchema, spec);
  return problems.length > 0 ? problems : (policyFromSpec(spec).problems?.(fleetSize) ?? []);
}
