/** What a federation has to know of its round policy, whoever wrote it. */
import { type Millis, millis } from "../base/units.ts";
import type { Scenario } from "./define.ts";
import { policySpecOf } from "./schema.ts";

const numberIn = (spec: Readonly<Record<string, unknown>>, key: string): number | null =>
  typeof spec[key] === "number" ? spec[key] : null;

const specOf = ({ data, own }: Scenario): Readonly<Record<string, unknown>> => own.policy?.spec ?? policySpecOf(data);

/** Updates without which a round comes to nothing. */
export const leastClientsOf = (scenario: Scenario): number => numberIn(specOf(scenario), "minUpdates") ?? 1;

export const deadlineOf = (scenario: Scenario): Millis | null => {
  const deadline = numberIn(specOf(scenario), "deadline");
  return deadline === null ? null : millis(deadline);
};

/** A server that sets itself no limit has to hear of broken connections, or it would wait for ever. */
export const noticesLosses = (scenario: Scenario): boolean => {
  const spec = specOf(scenario);
  return numberIn(spec, "deadline") === null && numberIn(spec, "timeout") === null;
};
