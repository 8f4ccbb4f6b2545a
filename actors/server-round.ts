/** How the server carries out what its policy decides: invite, accept, refuse, give up, close. */
import { InvariantError, invariant } from "../src/base/errors.ts";
import { given } from "../src/base/given.ts";
import { type ClientId, participationId, round as roundOf } from "../src/base/ids.ts";
import { millis } from "../src/base/units.ts";
import type { ClientMemory } from "../src/fl/plan.ts";
import type { Arrival, Decision, PolicyView } from "../src/fl/policy.ts";
import { after, send } from "../src/runtime/actor.ts";
import { activeIn } from "../src/tasks/task.ts";
import { chooseClients, policyIn } from "./choosing.ts";
import { evaluating } from "./evaluator.ts";
import type { Aggregated } from "./learning.ts";
import { addTo, inOrder } from "./outstanding.ts";
import { deployedAt, deployedToClients, orderOf, planFor } from "./planning.ts";
import { type Count, clientRef, type EvaluatorEvent, evaluatorRef } from "./protocol.ts";
import {
  type Accepted,
  type Draft,
  effect,
  emit,
  type Invitation,
  retryLater,
  type ServerContext,
} from "./server-state.ts";
import { measured } from "./stopping.ts";
import { discardPlan, replaceAll, weighing } from "./storage.ts";

export const viewOf = (draft: Draft, ctx: ServerContext): PolicyView => ({
  now: ctx.now,
  round: draft.round,
  roundStartedAt: draft.startedAt,
  invited: draft.invited,
  accepted: draft.accepted.length,
  outstanding: draft.outstanding.length,
});

/** An update that has arrived, with the invitation it answers; its discount is set when it is accepted. */
export interface Answer extends Omit<Accepted, "discount"> {
  discount: number;
}

export function carryOut(
  draft: Draft,
  ctx: ServerContext,
  decisions: readonly Decision[],
  answer: Answer | null,
): void {
  const { name } = policyIn(draft, ctx);
  let isDecided = answer === null;
  for (const decision of decisions) {
    invariant(draft.closing === null, () => `policy ${name} decides after it has closed the round`);
    switch (decision.type) {
      case "invite":
        draft.wanted = decision.count;
        inviteMore(draft, ctx);
        break;
      case "accept":
        accept(draft, ctx, answered(answer, decision, name), decision.discount);
        isDecided = true;
        break;
      case "refuse":
        answered(answer, decision, name);
        emit(ctx, {
          type: "refused",
          participation: decision.participation,
          as: decision.as,
          reason: refusal(draft, decision.as, answer!),
        });
        isDecided = true;
        break;
      case "give-up":
        giveUp(draft, ctx, ({ sentAt }) => sentAt <= decision.sentBefore);
        break;
      case "timer":
        draft.timers++;
        effect(draft, after(decision.after, { type: "timer", of: draft.round, name: decision.name }));
        break;
      case "close":
        draft.closing = { aggregate: decision.aggregate };
        break;
    }
  }
  invariant(isDecided, () => `policy ${name} says nothing about participation ${answer!.participation}`);
}

/** A policy may only decide about the update it was asked about. */
function answered(answer: Answer | null, { participation }: Pick<Arrival, "participation">, policy: string): Answer {
  if (answer === null || answer.participation !== participation) {
    throw new InvariantError(
      `policy ${policy} decides about participation ${participation}, which has not just arrived`,
    );
  }
  return answer;
}

const refusal = (draft: Draft, as: "late" | "rejected", answer: Answer): string => {
  if (as === "late") return "deadline";
  return answer.round < draft.round ? "stale" : "surplus";
};

function accept(draft: Draft, ctx: ServerContext, answer: Answer, discount: number): void {
  ctx.keep(answer.result);
  const { learning } = ctx.services;
  if (learning !== null && !learning.isAhead) ctx.start(answer.result);
  answer.discount = discount;
  draft.accepted.push(answer);
  emit(ctx, { type: "accepted", participation: answer.participation });
}

const preliminaryStages = ["preliminary", "answer"] as const;

/** Invites up to `wanted` clients; the rest is tried again when clients come back. */
export function inviteMore(draft: Draft, ctx: ServerContext): void {
  if (draft.wanted === 0) return;
  const { fleet, roster, learning, effortOf, method } = ctx.services;
  const { round } = draft;
  const chosen = chooseClients(draft, ctx);
  for (const one of chosen) {
    const { client } = one;
    const participation = participationId(draft.nextParticipation++);
    const plan = planFor(one, participation, draft, ctx);
    const from = plan?.start ?? draft.adapter;
    const base = ctx.keep(from);
    const invited = { participation, client, round, sentAt: ctx.now, base };
    addTo(draft.outstanding, plan === null ? invited : { ...invited, plan });
    draft.invited++;
    roster.invited(client, round, participation);
    const budget = activeIn(plan?.kind.variant, fleet.budget[client]!);
    const rescaler = learning === null ? null : learning.rescalers.forBudget(budget);
    const charge = method.charge(client, plan);
    const effort = plan?.effort ?? effortOf?.(client, round, () => charge);
    const { download, upload, preliminary, training, probing } = charge;
    const takes = millis(training * (effort ?? 1) + probing);
    const bytes = download + upload + (preliminary ? preliminary.up + preliminary.down : 0);
    const told = { type: "invited", participation, client, round, budget, takes, bytes } as const;
    emit(ctx, plan?.preliminary ? { ...told, asks: preliminaryStages } : told);
    const invitation = { type: "train", round, participation, adapter: from, rescaler } as const;
    const asked = effort === undefined ? invitation : { ...invitation, effort };
    if (plan === null) effect(draft, send(clientRef(client), asked));
    else {
      const method = {
        order: orderOf(plan, draft, ctx),
        uploadBytes: upload,
        ...(preliminary && { reportBytes: preliminary.up }),
        takes,
      };
      effect(draft, send(clientRef(client), { ...asked, adapter: weighing(from, download), method }));
    }
  }
  // A prelude does not wait for those who are away, nor does whoever chose fewer on purpose: of nobody, nobody comes.
  const chosenFreely = round > 0 && method.strategy.sampler?.fewer === true;
  draft.wanted = round === 0 || chosenFreely ? 0 : draft.wanted - chosen.length;
  if (chosenFreely && draft.outstanding.length === 0) draft.isDeserted = true;
  if (draft.wanted > 0 && !retryLater(draft, ctx)) {
    draft.wanted = 0;
    draft.isDeserted = true;
  }
}

function giveUp(draft: Draft, ctx: ServerContext, isGivenUp: (invitation: Invitation) => boolean): void {
  const outstanding = inOrder(draft.outstanding);
  draft.outstanding = outstanding.filter((invitation) => !isGivenUp(invitation));
  for (const invitation of outstanding) if (isGivenUp(invitation)) release(invitation, ctx);
}

/** What has been given up is not waited for any more. */
export function release({ base, participation, plan }: Invitation, ctx: ServerContext): void {
  ctx.discard(base);
  if (plan) discardPlan(plan, ctx);
  emit(ctx, { type: "gave-up", participation });
}

/**
 * Ends the round: settles every accepted update, moves to the new adapter, has it evaluated, and goes on to the next
 * round. Round 0 is the base model.
 *
 * @param outcome what training gave; null when nothing was opened
 * @returns undefined, or a promise in a run that may end early: then what was learned is measured first
 */
export function closeRound(draft: Draft, ctx: ServerContext, outcome: Aggregated | null): Promise<void> | undefined {
  const { rounds, evaluateEvery, learning } = ctx.services;
  const { round, closing } = draft;
  const counts = outcome === null ? evenly(closing?.aggregate === true ? draft.accepted : []) : outcome.counts;
  settle(draft, ctx, counts, outcome);
  if (outcome !== null && outcome.next !== null) {
    const { before, next } = outcome;
    ctx.discard(draft.adapter);
    draft.adapter = ctx.keep(ctx.put(next.parameters));
    draft.vectors = replaceAll(next.vectors, draft.vectors, before.vectors, ctx);
    draft.notes = next.notes;
    remember(outcome.memories, draft, ctx);
  }
  const isLast = round === rounds;
  const evaluated = learning !== null && !learning.isAhead && (round % evaluateEvery === 0 || isLast);
  if (!evaluated || learning.stopping === undefined) {
    endRound(draft, ctx, { counts, outcome, evaluated, isLast });
    return undefined;
  }
  return measured(draft, ctx, learning.budgets, learning.stopping).then((evaluations) => {
    const ends = isLast || (draft.course?.standing.because ?? null) !== null;
    endRound(draft, ctx, { counts, outcome, evaluated, isLast: ends }, evaluations);
  });
}

interface Closed {
  readonly counts: readonly Count[];
  readonly outcome: Aggregated | null;
  readonly evaluated: boolean;
  readonly isLast: boolean;
}

/** @param evaluations that have begun, where the round was closed by what they found */
function endRound(
  draft: Draft,
  ctx: ServerContext,
  { counts, outcome, evaluated, isLast }: Closed,
  evaluations?: EvaluatorEvent["evaluations"],
): void {
  const { roster, environment, learning, method } = ctx.services;
  const policy = policyIn(draft, ctx);
  const { round, startedAt } = draft;
  if (!policy.carriesOver || isLast) giveUp(draft, ctx, () => true);
  emit(ctx, {
    type: "round-closed",
    round,
    startedAt,
    aggregated: counts.length > 0 || method.strategy.finishesAlways === true,
    counts,
    trainLoss: outcome?.trainLoss ?? null,
    ...(method.isScheduled === true && round > 0 && { learningRate: method.settingIn(round).rate }),
    expertTokens: outcome?.expertTokens ?? null,
    ...given({ method: outcome?.report }),
    distinctClients: roster.distinctCounted,
    downloadBytes: environment.traffic.downloadSent,
    uploadBytes: environment.traffic.uploadSent,
    evaluated,
    isLast,
  });
  if (evaluated && draft.adapter.ref === "blob") {
    const clients = isLast ? deployedToClients(draft, ctx) : [];
    const own = clients.length === 0 ? undefined : clients;
    if (evaluations !== undefined) ctx.emit({ ...evaluating(round, evaluations, own, ctx) });
    else {
      const budgets = learning!.budgets.map((budget) => ({ budget, ...deployedAt(budget, draft, ctx) }));
      effect(draft, send(evaluatorRef, { type: "evaluate", of: round, budgets, ...given({ clients: own }) }));
    }
  }
  draft.closing = null;
  draft.accepted = [];
  draft.invited = 0;
  draft.timers = 0;
  draft.isRetrying = false;
  if (!policy.carriesOver) draft.wanted = 0;
  draft.phase = isLast ? "finished" : "gathering";
  if (!isLast) draft.round = roundOf(round + 1);
  draft.gatheringSince = ctx.now;
}

/** Every accepted update ends here: counted, or rejected with the reason. */
function settle(draft: Draft, ctx: ServerContext, counts: readonly Count[], outcome: Aggregated | null): void {
  const { roster, learning } = ctx.services;
  const areAll = counts.length === draft.accepted.length;
  const counted = areAll ? null : new Set(counts.map(({ participation }) => participation));
  for (const { participation, client, base, result, plan } of draft.accepted) {
    ctx.discard(base);
    if (plan) discardPlan(plan, ctx);
    ctx.discard(result);
    if (counted !== null && !counted.has(participation)) {
      const reason = outcome?.refusals.get(participation) ?? "too-few-updates";
      emit(ctx, { type: "refused", participation, as: "rejected", reason });
      continue;
    }
    const found = outcome?.found.get(participation);
    roster.counted(client, draft.round, found?.meanLoss ?? Number.NaN);
    emit(ctx, { type: "counted", participation, client });
    const rescaler = learning === null ? null : (found?.personal ?? learning.rescalers.forBudget(1));
    effect(draft, send(clientRef(client), { type: "acknowledge", round: draft.round, participation, rescaler }));
  }
}

/** Without training every counted client weighs the same. */
const evenly = (accepted: readonly Invitation[]): Count[] =>
  accepted.map(({ participation, client }) => ({ participation, client, weight: 1 / accepted.length }));

/** Puts what clients keep for themselves in the place of what they kept before. */
function remember(memories: ReadonlyMap<ClientId, ClientMemory>, draft: Draft, ctx: ServerContext): void {
  if (memories.size === 0) return;
  const kept = { ...draft.memories };
  for (const [client, { vectors, notes }] of memories) {
    kept[client] = { vectors: replaceAll(vectors, kept[client]?.vectors ?? {}, {}, ctx), notes };
  }
  draft.memories = kept;
}
