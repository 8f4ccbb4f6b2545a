/**
 * The part of a round that looks into updates: opens what was accepted, refuses what is not fit to be counted, and
 * folds the rest into the next global adapter in ascending order of participation, in float64.
 */
import { InvariantError, invariant, MachineError, messageOf } from "../src/base/errors.ts";
import type { ClientId, ParticipationId } from "../src/base/ids.ts";
import { type ClientMemory, usual } from "../src/fl/plan.ts";
import type { ServerState as MethodState, Strategy } from "../src/fl/strategy.ts";
import { checkUpdate, type Update } from "../src/fl/update.ts";
import type { AskForWork, WorkInput, WorkName, WorkResult } from "../src/fl/works.ts";
import { clientView, methodState } from "./planning.ts";
import type { Count } from "./protocol.ts";
import type { Accepted, Draft, Learning, ServerContext } from "./server-state.ts";
import { loadPlan } from "./storage.ts";
import type { Computation, Trained } from "./training.ts";

/** An accepted update and what it holds. */
export interface Opened {
  readonly accepted: Accepted;
  readonly trained: Trained;
}

export interface Aggregated {
  readonly counts: readonly Count[];
  /** Null when too few updates were good. */
  readonly next: MethodState | null;
  readonly before: MethodState;
  /** What clients whose update was counted keep from now on. */
  readonly memories: ReadonlyMap<ClientId, ClientMemory>;
  readonly found: ReadonlyMap<ParticipationId, Trained>;
  /** Why an accepted update was not counted. */
  readonly refusals: ReadonlyMap<ParticipationId, string>;
  readonly trainLoss: number | null;
  readonly expertTokens: Float64Array | null;
}

/** Has all accepted updates computed, in parallel; ascending by participation, whoever arrived first. */
export async function openAccepted(draft: Draft, ctx: ServerContext): Promise<Opened[]> {
  const accepted = draft.accepted.toSorted((a, b) => a.participation - b.participation);
  const results = await ctx.open(accepted.map(({ result }) => result));
  return accepted.map((entry, at) => ({ accepted: entry, trained: results[at]! }));
}

export async function aggregate(
  draft: Draft,
  ctx: ServerContext,
  { layout, minUpdates, rescalers }: Learning,
  opened: readonly Opened[],
): Promise<Aggregated> {
  const { strategy, setting } = ctx.services.method;
  const before = methodState(draft, ctx);
  const refusals = new Map<ParticipationId, string>();
  const found = new Map<ParticipationId, Trained>();
  const memories = new Map<ClientId, ClientMemory>();
  const good: Update[] = [];
  for (const { accepted, trained } of opened) {
    const { update, memory } = replied(accepted, trained, memories.get(accepted.client), draft, ctx);
    // As it was trained as well: a reply may hide what is not finite.
    const problem = checkUpdate({ ...update, values: trained.values }, layout) ?? checkUpdate(update, layout);
    if (problem === null) {
      good.push(update);
      found.set(accepted.participation, trained);
      if (memory !== undefined) memories.set(accepted.client, memory);
    } else {
      refusals.set(accepted.participation, problem.kind === "misfit" ? problem.text : problem.kind);
    }
  }
  if (good.length < minUpdates) {
    const nobody = new Map<ClientId, ClientMemory>();
    return { counts: [], next: null, before, memories: nobody, found, refusals, trainLoss: null, expertTokens: null };
  }
  const at = {
    round: draft.round,
    draws: (purpose: string) => ctx.rng.at(`strategy: ${purpose}`, draft.round).at(0),
  };
  const sum = strategy.begin(before, setting);
  for (const update of good) strategy.fold(sum, update, setting, at);
  const next = await strategy.finish(sum, before, setting, { ...at, work: workFor(strategy, ctx) });
  for (const update of good) rescalers.report(update);
  return {
    counts: countsOf(good, strategy, setting.layout.groups.length),
    next,
    before,
    memories,
    found,
    refusals,
    trainLoss: good.reduce((total, { meanLoss }) => total + meanLoss, 0) / good.length,
    expertTokens: expertTokensOf(good, setting.layout.groups.length),
  };
}

/** A work is a pledge like training: done by the pool while virtual time stands still, and again if the run is cut off. */
const workFor =
  ({ name: strategy }: Strategy, ctx: ServerContext): AskForWork =>
  async <Name extends WorkName>(name: Name, input: WorkInput<Name>) => {
    const job: Computation<Name> = { name, input };
    const pledge = ctx.pledge<WorkResult<Name>>({ work: "compute", job, bytes: 0 });
    try {
      return (await ctx.open([pledge]))[0]!;
    } catch (cause) {
      const Kind = cause instanceof MachineError ? MachineError : InvariantError;
      throw new Kind(`strategy ${strategy} asked for "${name}", which failed: ${messageOf(cause)}`, { cause });
    }
  };

/**
 * The update as the server sees it, once the client has worked out its reply.
 *
 * @param earlier what the client remembers from an update of its own that is counted in the same round
 */
function replied(
  { participation, client, round, base, discount, plan: stored }: Accepted,
  trained: Trained,
  earlier: ClientMemory | undefined,
  draft: Draft,
  ctx: ServerContext,
): { readonly update: Update; readonly memory: ClientMemory | undefined } {
  invariant(base.ref === "blob", "an update to be opened has no base");
  const { strategy, setting } = ctx.services.method;
  const { values, rescaler, activations, tokens, firstLoss, meanLoss, steps, found } = trained;
  const local = {
    values,
    base: ctx.floats(base),
    steps,
    firstLoss,
    meanLoss,
    trained: Uint8Array.from(activations, (count) => (count > 0 ? 1 : 0)),
    counts: Float64Array.from(activations),
    units: tokens,
    personal: rescaler,
  };
  const seen = clientView(client, round, draft, ctx);
  const view = earlier === undefined ? seen : { ...seen, memory: earlier };
  const plan = stored === undefined ? usual(view, setting) : loadPlan(stored, ctx);
  const reply = strategy.reply?.({ ...local, found }, plan, view, setting) ?? {};
  const { budget, examples } = view;
  const update: Update = {
    ...local,
    client,
    participation,
    round,
    budget,
    examples,
    plan,
    discount,
    staleness: draft.round - round,
    sent: reply.sent ?? {},
    ...(reply.values && { values: reply.values }),
  };
  return { update, memory: reply.memory };
}

/**
 * Each client's share in the average of a group, averaged over the groups that anybody trained.
 *
 * The shares of one group sum to 1, so their means do as well; the round's books are closed on that.
 */
function countsOf(updates: readonly Update[], strategy: Strategy, groups: number): Count[] {
  const sums = new Float64Array(updates.length);
  let moved = 0;
  for (let group = 0; group < groups; group++) {
    const weights = updates.map((update) => strategy.weight(update, group));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (total === 0) continue;
    moved++;
    for (const [at, weight] of weights.entries()) sums[at]! += weight / total;
  }
  const shares = [...sums].map((sum) => (moved === 0 ? 1 / updates.length : sum / moved));
  const whole = shares.reduce((sum, share) => sum + share, 0);
  invariant(Math.abs(whole - 1) < 1e-9, () => `the weights of ${updates.length} counted updates sum to ${whole}`);
  return updates.map(({ participation, client }, at) => ({ participation, client, weight: shares[at]! }));
}

function expertTokensOf(updates: readonly Update[], groups: number): Float64Array {
  const tokens = new Float64Array(groups);
  for (const { counts } of updates) for (const [group, count] of counts.entries()) tokens[group]! += count;
  return tokens;
}
