/** What a federation has to know of its round policy, whoever wrote it. */
import { type Millis, millis } from "../base/units.ts";
import type { Scenario } from "./define.ts";
import { policySpecOf } from "./schema.ts";

const numberIn = (spec: Readonly<Record<string, unknown>>, key: string): number | null =>
  typeof spec[key] === "number" ? spec[key] : null;

const specOf = ({ data, own }: Scenario): Readonly<Record<string, unknown>> => own.policy?.spec ?? policySpecOf(data);

/** Updates without which a round comes to nothing. */
export const leastClientsOf = (scenario: Scenario): number => numberIn(specOf(scenario), "minUpdates") ?? 1;

/** How long after a round's beginning an update may arrive that counts in it; null where no policy of ours says. */
export const deadlineOf = (scenario: Scenario): Millis | null => {
  const deadline = scenario.own.policy === undefined ? numberIn(specOf(scenario), "deadline") : null;
  return deadline === null ? null : millis(deadline);
};

/**
 * A server that sets itself no limit has to hear of broken connections, or it would wait for ever. A deadline is no limit
 * to invitations that outlive their round.
 */
export const noticesLosses = (scenario: Scenario): boolean => {
  const spec = specOf(scenario);
  const isLimited = numberIn(spec, "deadline") !== null && spec.late !== "stale";
  return !isLimited && numberIn(spec, "timeout") === null;
};

/** What a scenario says of its rounds although its policy brings its own. */
export function unusedFields({ data, own }: Scenario): string[] {
  const { policy, deadline, minUpdates, overSelection } = data.rounds;
  if (policy === undefined && own.policy === undefined) return [];
  const given = { deadline: deadline !== null, minUpdates: minUpdates !== 1, overSelection: overSelection !== 1 };
  return Object.entries(given).flatMap(([field, isGiven]) =>
    isGiven ? [`rounds.${field} is not used: the round policy brings its own`] : [],
  );
}
