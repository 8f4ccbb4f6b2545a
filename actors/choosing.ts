/** Whom the server invites: as the scenario's sampler says, or the strategy's own; in a prelude all who are there. */
import { invariant } from "../src/base/errors.ts";
import { type ClientId, clientName } from "../src/base/ids.ts";
import type { Plain } from "../src/fl/plan.ts";
import { prelude } from "../src/fl/policies/prelude.ts";
import type { RoundPolicy } from "../src/fl/policy.ts";
import { allEligible } from "../src/fl/samplers/choose.ts";
import type { Chosen, Strategy } from "../src/fl/strategy.ts";
import { methodState } from "./planning.ts";
import { candidatesOf, type Draft, type ServerContext } from "./server-state.ts";

/** The rule of the present round. */
export const policyIn = ({ round }: Pick<Draft, "round">, { services }: ServerContext): RoundPolicy =>
  round === 0 ? prelude : services.policy;

/** At most `wanted` clients, with what the strategy's own sampler notes of them; all there are in a prelude. */
export function chooseClients(draft: Draft, ctx: ServerContext): Chosen["clients"] {
  const { sampler, method } = ctx.services;
  const { strategy, settingIn } = method;
  const { round, wanted: count } = draft;
  const candidates = candidatesOf(draft, ctx);
  if (round === 0) return allEligible(candidates).map((client) => ({ client }));
  const draws = ctx.rng.at("cohort", round).at(draft.nextParticipation);
  if (strategy.sampler === undefined) {
    const clients = sampler.select(candidates, count, draws);
    if (sampler.nextState !== undefined) draft.memory = sampler.nextState(candidates, clients);
    return Array.from(clients, (client) => ({ client }));
  }
  const eligible = allEligible(candidates);
  const from = { round, eligible, count, memory: draft.memory as Plain, server: methodState(draft, ctx) };
  const { clients, memory } = strategy.sampler.select(from, settingIn(round), draws);
  checkChosen(clients, new Set(eligible), Math.min(count, eligible.length), strategy);
  draft.memory = memory;
  return clients;
}

/** Whether so many clients could be invited now. */
export function canInvite(draft: Draft, ctx: ServerContext, count: number): boolean {
  const { sampler, method } = ctx.services;
  const candidates = candidatesOf(draft, ctx);
  if (draft.round === 0 || method.strategy.sampler !== undefined) return allEligible(candidates).length >= count;
  const draws = ctx.rng.at("quorum", draft.round).at(draft.nextParticipation);
  return sampler.select(candidates, count, draws).length >= count;
}

function checkChosen(
  clients: Chosen["clients"],
  free: Set<ClientId>,
  count: number,
  { name, sampler }: Pick<Strategy, "name" | "sampler">,
): void {
  for (const { client } of clients) {
    invariant(free.delete(client), () => `strategy ${name} chose ${clientName(client)}, who is not there to be chosen`);
  }
  const isEnough = sampler?.fewer === true ? clients.length <= count : clients.length === count;
  invariant(isEnough, () => `strategy ${name} chose ${clients.length} clients, expected ${count}`);
}
