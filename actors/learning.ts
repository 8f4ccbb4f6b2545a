/**
 * The part of a round that looks into updates: opens what was accepted, refuses what is not fit to be counted, and
 * folds the rest into the next global adapter in ascending order of participation, in float64.
 */
import { invariant } from "../src/base/errors.ts";
import type { ParticipationId } from "../src/base/ids.ts";
import type { GlobalState } from "../src/fl/strategy.ts";
import { checkUpdate, type Update } from "../src/fl/update.ts";
import type { AdapterLayout } from "../src/model/adapter.ts";
import type { Count } from "./protocol.ts";
import type { Accepted, Draft, Learning, ServerContext } from "./server-state.ts";
import type { Trained } from "./training.ts";

/** An accepted update and what it holds. */
export interface Opened {
  readonly accepted: Accepted;
  readonly trained: Trained;
}

export interface Aggregated {
  readonly counts: readonly Count[];
  /** Null when too few updates were good. */
  readonly next: GlobalState | null;
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

export function aggregate(draft: Draft, ctx: ServerContext, learning: Learning, opened: readonly Opened[]): Aggregated {
  const { layout, strategy, minUpdates, rescalers } = learning;
  const refusals = new Map<ParticipationId, string>();
  const found = new Map<ParticipationId, Trained>();
  const good: Update[] = [];
  for (const { accepted, trained } of opened) {
    const update = updateOf(accepted, trained, ctx);
    const problem = checkUpdate(update, layout);
    if (problem === null) {
      good.push(update);
      found.set(accepted.participation, trained);
    } else {
      refusals.set(accepted.participation, problem.kind === "misfit" ? problem.text : problem.kind);
    }
  }
  if (good.length < minUpdates) {
    return { counts: [], next: null, found, refusals, trainLoss: null, expertTokens: null };
  }
  const state: GlobalState = { adapter: adapterOf(draft, ctx), moments: momentsOf(draft, ctx) };
  const sum = strategy.init(layout);
  for (const update of good) strategy.accumulate(sum, update, layout);
  const next = strategy.finish(sum, state, layout);
  for (const update of good) rescalers.report(update);
  return {
    counts: countsOf(good, learning),
    next,
    found,
    refusals,
    trainLoss: good.reduce((total, { meanLoss }) => total + meanLoss, 0) / good.length,
    expertTokens: expertTokensOf(good, layout),
  };
}

function updateOf(
  { participation, client, round, base, discount }: Accepted,
  trained: Trained,
  ctx: ServerContext,
): Update {
  const { fleet } = ctx.services;
  invariant(base.ref === "blob", "an update to be opened has no base");
  return {
    client,
    participation,
    round,
    topK: fleet.topK[client]!,
    examples: fleet.examples[client]!,
    base: ctx.floats(base),
    discount,
    ...trained,
  };
}

/**
 * Each client's share in the average of an expert, averaged over the experts that anybody trained.
 *
 * The shares of one expert sum to 1, so their means do as well; the round's books are closed on that.
 */
function countsOf(updates: readonly Update[], { strategy, layout }: Learning): Count[] {
  const sums = new Float64Array(updates.length);
  let experts = 0;
  for (let expert = 0; expert < layout.layers * layout.experts; expert++) {
    const weights = updates.map((update) => strategy.weight(update, expert));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    if (total === 0) continue;
    experts++;
    for (const [at, weight] of weights.entries()) sums[at]! += weight / total;
  }
  const shares = [...sums].map((sum) => (experts === 0 ? 1 / updates.length : sum / experts));
  const whole = shares.reduce((sum, share) => sum + share, 0);
  invariant(Math.abs(whole - 1) < 1e-9, () => `the weights of ${updates.length} counted updates sum to ${whole}`);
  return updates.map(({ participation, client }, at) => ({ participation, client, weight: shares[at]! }));
}

function expertTokensOf(updates: readonly Update[], { layers, experts }: AdapterLayout): Float64Array {
  const tokens = new Float64Array(layers * experts);
  for (const { activations } of updates) {
    for (const [expert, count] of activations.entries()) tokens[expert]! += count;
  }
  return tokens;
}

function adapterOf({ adapter }: Draft, ctx: ServerContext): Float32Array {
  invariant(adapter.ref === "blob", "a run that trains has an adapter");
  return ctx.floats(adapter);
}

/** Blobs hold bytes; a view of them as float64 needs them aligned, which shared memory of their own is. */
function momentsOf({ moments }: Draft, ctx: ServerContext): Record<string, Float64Array> {
  return Object.fromEntries(
    Object.entries(moments).map(([name, ref]) => {
      const { buffer, byteOffset, byteLength } = ctx.bytes(ref);
      return [name, new Float64Array(buffer, byteOffset, byteLength / 8)];
    }),
  );
}
