/**
 * How much of its local training a client does in a round, decided before it begins.
 *
 *   fit       as many steps as the device, undisturbed, can take and still report before the deadline; at least one
 *   uniform   with a probability, a uniform number of steps in [1, all); else all of them (FedProx's stragglers)
 *   epochs    a uniform number of epochs in [from, to] of those in `training` (FedNova's)
 *
 * `fixed` draws once for each client instead of once a round. What a client has done counts in full: its update weighs
 * as much as one from all steps. After FLGo's completeness modes, https://github.com/WwZzz/easyFL, and the option of
 * FLASH to "do as many epochs as fit".
 */
import type { ClientId, Round } from "../base/ids.ts";
import type { Problem } from "../base/problem.ts";
import type { Rng } from "../base/random.ts";
import { type Millis, millis } from "../base/units.ts";
import type { Charge } from "../fl/charge.ts";
import { factsOf, type RoundPolicy } from "../fl/policy.ts";
import type { Fleet } from "../sim/fleet/fleet.ts";
import type { ScenarioData } from "./schema.ts";

/**
 * Share of its local steps that a client takes in a round, in (0, 1].
 *
 * @param charge what its part costs, should that have to fit
 */
type EffortOf = (client: ClientId, round: Round, charge: () => Charge) => number;

/** Optimizer steps of a client that does everything it is asked to. */
export function allSteps({ examples }: Pick<Fleet, "examples">, { training }: ScenarioData, client: ClientId): number {
  const { epochs, batchSize, maxSteps = Infinity } = training;
  return Math.min(maxSteps, epochs * Math.ceil(examples[client]! / batchSize));
}

/** Tokens such a client trains on; steps are taken to be equally long. */
export function trainedTokens({ training }: ScenarioData, examples: number, tokens: number): number {
  const { epochs, batchSize, maxSteps = Infinity } = training;
  return Math.min(1, maxSteps / (epochs * Math.ceil(examples / batchSize))) * epochs * tokens;
}

/** What all its local training takes on the client's device, undisturbed, whether or not it is really done. */
export function trainingTimeOf(fleet: Fleet, data: ScenarioData, client: ClientId): Millis {
  // Where steps have no limit their number does not matter: one column less of a large fleet is read.
  const { epochs, maxSteps } = data.training;
  const all = fleet.tokens[client]!;
  const tokens = maxSteps === undefined ? epochs * all : trainedTokens(data, fleet.examples[client]!, all);
  return millis((1_000 * tokens) / fleet.tokensPerSecond[client]!);
}

/** Milliseconds that a participation's messages take on the client's link, undisturbed. */
export function transferTime(
  { download, upload, preliminary }: Charge,
  { latency, downlink, uplink }: Pick<Fleet, "latency" | "downlink" | "uplink">,
  client: ClientId,
  luck: { readonly downlink: number; readonly uplink: number } = { downlink: 1, uplink: 1 },
): number {
  const { up, down } = preliminary ?? { up: 0, down: 0 };
  return (
    (preliminary === null ? 2 : 4) * latency[client]! +
    (1_000 * (download + down)) / (downlink[client]! * luck.downlink) +
    (1_000 * (upload + up)) / (uplink[client]! * luck.uplink)
  );
}

export interface EffortContext {
  readonly policy: RoundPolicy;
  readonly fleet: Fleet;
  readonly rng: Rng;
}

/** Null when every client always does all of it. */
export function effortOf(data: ScenarioData, { policy, fleet, rng }: EffortContext): EffortOf | null {
  const { effort } = data.training;
  if (effort === undefined) return null;
  const inSteps = (client: ClientId, share: number): number => {
    const all = allSteps(fleet, data, client);
    return Math.max(1, Math.min(all, Math.floor(share * all + 1e-9))) / all;
  };
  switch (effort.type) {
    case "fit": {
      const deadline = effort.deadline ?? deadlineOf(policy) ?? Infinity;
      return (client, _round, charge) => {
        const charged = charge();
        const rest = deadline - transferTime(charged, fleet, client) - charged.probing;
        return inSteps(client, rest / charged.training);
      };
    }
    case "uniform":
      return (client, round) => {
        const draws = rng.at("effort", effort.fixed ? 0 : round).at(client);
        const all = allSteps(fleet, data, client);
        if (all === 1 || !draws.bernoulli(effort.probability)) return 1;
        return (1 + draws.below(all - 1)) / all;
      };
    case "epochs":
      return (client, round) => {
        const draws = rng.at("effort", effort.fixed ? 0 : round).at(client);
        return inSteps(client, (effort.from + draws.below(effort.to - effort.from + 1)) / data.training.epochs);
      };
  }
}

export function checkEffort({ training }: ScenarioData, policy: RoundPolicy): Problem[] {
  const { effort, epochs } = training;
  if (effort?.type === "fit" && effort.deadline === undefined && deadlineOf(policy) === null) {
    return [{ path: "training.effort.deadline", text: "is missing, and the rounds have no deadline to fit" }];
  }
  if (effort?.type !== "epochs") return [];
  if (effort.to < effort.from) {
    return [{ path: "training.effort.to", text: `is ${effort.to}, expected at least from, which is ${effort.from}` }];
  }
  return effort.to <= epochs
    ? []
    : [{ path: "training.effort.to", text: `is ${effort.to}, expected at most training.epochs, which is ${epochs}` }];
}

/** Asynchronous policies give up after their timeout. */
function deadlineOf(policy: RoundPolicy): number | null {
  const { deadline, timeout } = factsOf(policy);
  return deadline ?? timeout;
}
