/**
 * The server: asks its round policy what to do and does it. It never sees whether a client is alive; it sees updates
 * that arrive, its own timers, and which clients check in as available.
 *
 *   gathering ──enough clients──▶ open ──policy closes──▶ aggregate ──▶ gathering … ──▶ finished
 *
 * An update is decided on when it arrives and opened when its round closes, so what is refused is never computed.
 */

import { unreachable } from "../src/base/errors.ts";
import type { ParticipationId, Round } from "../src/base/ids.ts";
import { type ActorDefinition, defineActor, type Next, send } from "../src/runtime/actor.ts";
import { canInvite, policyIn } from "./choosing.ts";
import { aggregate } from "./learning.ts";
import { invitationOf, takeFrom } from "./outstanding.ts";
import { clientRef, type ServerMessage, serverMessageSchema } from "./protocol.ts";
import { carryOut, closeRound, inviteMore, release, viewOf } from "./server-round.ts";
import {
  type Draft,
  draftOf,
  effect,
  emit,
  quietSince,
  retryLater,
  type ServerContext,
  type ServerServices,
  type ServerState,
  serverSchema,
  stateOf,
} from "./server-state.ts";
import { discardPlan, replaceAll, weighing } from "./storage.ts";

export const server: ActorDefinition<ServerState, ServerMessage, ServerServices> = defineActor({
  kind: "server",
  schemas: { state: serverSchema, message: serverMessageSchema },
  stage: ({ type }) => (type === "report" ? "preliminary" : "upload"),
  receive(state, message, ctx) {
    const draft = draftOf(state);
    switch (message.type) {
      case "begin":
        return begin(draft, ctx);
      case "report":
        return receiveReport(draft, message, ctx);
      case "update":
        return receiveUpdate(draft, message, ctx);
      case "unreadable":
        return receiveUnreadable(draft, message, ctx);
      case "gone":
        return noticeGone(draft, message.of, ctx);
      case "timer":
        return ring(draft, message, ctx);
      case "retry":
        return retry(draft, message.of, ctx);
      default:
        return unreachable(message);
    }
  },
  corrupted: ({ round, participation }) =>
    round === null || participation === null ? null : { type: "unreadable", round, participation },
});

type Turn = Next<ServerState, ServerMessage> | Promise<Next<ServerState, ServerMessage>>;

function begin(draft: Draft, ctx: ServerContext): Turn {
  const { learning, downloadBytes } = ctx.services;
  draft.adapter = ctx.keep(
    learning === null ? ctx.pledge({ work: "nothing", job: null, bytes: downloadBytes }) : ctx.put(learning.initial()),
  );
  if (learning !== null) {
    const { strategy, settingIn } = ctx.services.method;
    const { vectors = {}, notes = null } = strategy.init?.(settingIn(draft.round)) ?? {};
    draft.vectors = replaceAll(vectors, {}, {}, ctx);
    draft.notes = notes;
  }
  // Row 0 of the metrics: the base model, after a prelude if there is one.
  if (ctx.services.method.strategy.prelude === true) {
    draft.phase = "gathering";
    draft.gatheringSince = ctx.now;
    return proceed(draft, ctx);
  }
  return goOn(closeRound(draft, ctx, null), draft, ctx);
}

function receiveUpdate(draft: Draft, message: Extract<ServerMessage, { type: "update" }>, ctx: ServerContext): Turn {
  const { roster } = ctx.services;
  const { participation, result } = message;
  const invitation = takeFrom(draft.outstanding, participation);
  // Given up before; the onlookers know whether it was late.
  if (invitation === null) return proceed(draft, ctx);
  draft.lastHeard = ctx.now;
  const { client, sentAt, round, base, plan } = invitation;
  const plain = { participation, client, round, sentAt, base, result, discount: 0 };
  const answer = plan === undefined ? plain : { ...plain, plan };
  roster.released(client, participation);
  roster.answered(client, ctx.now - sentAt);
  const decisions = policyIn(draft, ctx).onUpdate(viewOf(draft, ctx), { client, participation, round });
  carryOut(draft, ctx, decisions, answer);
  // What was accepted just now is the last that was.
  if (draft.accepted.at(-1)?.participation !== participation) {
    ctx.discard(base);
    if (plan) discardPlan(plan, ctx);
  }
  return quietOr(draft, ctx);
}

/** Answered at once, whatever the others of the round are about. */
function receiveReport(
  draft: Draft,
  { client, round, participation, result }: Extract<ServerMessage, { type: "report" }>,
  ctx: ServerContext,
): Turn {
  const plan = invitationOf(draft.outstanding, participation)?.plan;
  // Given up before: the client is told nothing and has nothing left to do.
  if (plan === undefined) ctx.services.roster.released(client, participation);
  else {
    draft.lastHeard = ctx.now;
    const { upload, preliminary } = ctx.services.method.charge(client, plan);
    const answer = { type: "answer", round, participation, uploadBytes: upload } as const;
    effect(draft, send(clientRef(client), { ...answer, result: weighing(result, preliminary!.down) }));
  }
  return proceed(draft, ctx);
}

function receiveUnreadable(
  draft: Draft,
  { participation }: { participation: ParticipationId },
  ctx: ServerContext,
): Turn {
  const invitation = takeFrom(draft.outstanding, participation);
  if (invitation === null) return proceed(draft, ctx);
  draft.lastHeard = ctx.now;
  ctx.services.roster.released(invitation.client, participation);
  ctx.discard(invitation.base);
  if (invitation.plan) discardPlan(invitation.plan, ctx);
  emit(ctx, { type: "refused", participation, as: "rejected", reason: "corrupted" });
  return quietOr(draft, ctx);
}

function noticeGone(draft: Draft, participation: ParticipationId, ctx: ServerContext): Turn {
  const invitation = takeFrom(draft.outstanding, participation);
  if (invitation !== null) release(invitation, ctx);
  return quietOr(draft, ctx);
}

/** The policy is asked once more when nothing it waits for can happen. */
function quietOr(draft: Draft, ctx: ServerContext): Turn {
  const { phase, closing, outstanding, timers, wanted } = draft;
  if (phase === "open" && closing === null && outstanding.length === 0 && timers === 0 && wanted === 0) {
    carryOut(draft, ctx, policyIn(draft, ctx).onQuiet(viewOf(draft, ctx)), null);
  }
  return proceed(draft, ctx);
}

function ring(draft: Draft, { of, name }: { of: Round; name: string }, ctx: ServerContext): Turn {
  // Timers of closed rounds are forgotten.
  if (draft.phase !== "open" || of !== draft.round) return proceed(draft, ctx);
  draft.timers--;
  carryOut(draft, ctx, policyIn(draft, ctx).onTimer(viewOf(draft, ctx), name), null);
  return quietOr(draft, ctx);
}

function retry(draft: Draft, of: Round, ctx: ServerContext): Turn {
  if (of !== draft.round) return proceed(draft, ctx);
  draft.isRetrying = false;
  if (draft.phase === "open") inviteMore(draft, ctx);
  return proceed(draft, ctx);
}

/** Carries out what is still to be done, then ends the turn. Only a turn that opens updates is asynchronous. */
function proceed(draft: Draft, ctx: ServerContext): Turn {
  for (;;) {
    if (draft.phase === "open" && draft.closing === null && isHopeless(draft, ctx)) {
      draft.closing = { aggregate: draft.accepted.length >= ctx.services.leastClients };
    }
    draft.isDeserted = false;
    if (draft.closing !== null) {
      const { learning, method } = ctx.services;
      const { finishesAlways = false } = method.strategy;
      if (finishesAlways) draft.closing = { aggregate: true };
      const finishes = finishesAlways || (draft.closing.aggregate && draft.accepted.length > 0);
      if (learning !== null && !learning.isAhead && finishes) {
        return aggregate(draft, ctx, learning).then((outcome) => goOn(closeRound(draft, ctx, outcome), draft, ctx));
      }
      const closed = closeRound(draft, ctx, null);
      if (closed !== undefined) return goOn(closed, draft, ctx);
    }
    if (draft.phase !== "gathering" || draft.isRetrying) break;
    tryToOpen(draft, ctx);
    if (draft.closing === null && !draft.isDeserted) break;
  }
  return { state: stateOf(draft), effects: draft.effects };
}

const goOn = (closed: Promise<void> | undefined, draft: Draft, ctx: ServerContext): Turn =>
  closed === undefined ? proceed(draft, ctx) : closed.then(() => proceed(draft, ctx));

/**
 * Nobody is at work and nobody will come, or no client has been heard of for so long that the server loses patience. A
 * synchronous round waits for everyone it has invited all the same: each of them reports or is lost.
 */
function isHopeless(draft: Draft, ctx: ServerContext): boolean {
  const policy = policyIn(draft, ctx);
  const { isDeserted, outstanding } = draft;
  if (outstanding.length > 0 && !policy.carriesOver) return false;
  if (isDeserted && outstanding.length === 0) return true;
  return ctx.now - quietSince(draft) >= ctx.services.patience;
}

/** Opens the round if enough clients are there; else looks again later, and gives the round up in the end. */
function tryToOpen(draft: Draft, ctx: ServerContext): void {
  const { leastClients, patience } = ctx.services;
  const policy = policyIn(draft, ctx);
  if (policy.carriesOver || canInvite(draft, ctx, leastClients)) {
    draft.phase = "open";
    draft.startedAt = ctx.now;
    emit(ctx, { type: "round-began", round: draft.round, at: ctx.now });
    carryOut(draft, ctx, policy.onRound(viewOf(draft, ctx)), null);
  } else if (ctx.now - draft.gatheringSince >= patience || !retryLater(draft, ctx)) {
    draft.startedAt = draft.gatheringSince;
    emit(ctx, { type: "round-began", round: draft.round, at: draft.startedAt });
    draft.closing = { aggregate: false };
  }
}
