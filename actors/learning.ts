/**
 * The part of a round that looks into updates: opens what was accepted, refuses what is not fit to be counted, and
 * folds the rest into the next global adapter in ascending order of participation, in float64. An update is opened,
 * folded and let go before the next, so the server's memory does not grow with the cohort.
 */
import { InvariantError, invariant, MachineError, messageOf } from "../src/base/errors.ts";
import { given } from "../src/base/given.ts";
import type { ClientId, ParticipationId } from "../src/base/ids.ts";
import { type ClientMemory, usual } from "../src/fl/plan.ts";
import type { ServerState as MethodState, Strategy } from "../src/fl/strategy.ts";
import { checkUpdate, type Update } from "../src/fl/update.ts";
import type { AskForWork, WorkInput, WorkName, WorkResult } from "../src/fl/works.ts";
import { activeIn } from "../src/tasks/task.ts";
import { clientView, methodState } from "./planning.ts";
import type { Count } from "./protocol.ts";
import type { Computation, Trained } from "./recipes.ts";
import type { Accepted, Draft, Learning, ServerContext } from "./server-state.ts";
import { loadPlan } from "./storage.ts";

/** What is left of an update once it is folded. */
interface Counted extends Pick<Update, "participation" | "client" | "budget" | "examples" | "personal" | "meanLoss"> {
  /** By group. */
  readonly weights: Float64Array;
  /** That its mean loss is of. */
  readonly targets: number;
}

export interface Aggregated {
  readonly counts: readonly Count[];
  /** Null when too few updates were good. */
  readonly next: MethodState | null;
  readonly before: MethodState;
  /** What clients whose update was counted keep from now on. */
  readonly memories: ReadonlyMap<ClientId, ClientMemory>;
  readonly found: ReadonlyMap<ParticipationId, Pick<Update, "meanLoss" | "personal">>;
  /** Why an accepted update was not counted. */
  readonly refusals: ReadonlyMap<ParticipationId, string>;
  readonly trainLoss: number | null;
  readonly expertTokens: Float64Array | null;
  /** What the strategy says of the round. */
  readonly report?: Readonly<Record<string, number>>;
}

export async function aggregate(
  draft: Draft,
  ctx: ServerContext,
  { task, minUpdates, rescalers }: Learning,
): Promise<Aggregated> {
  const { strategy, settingIn } = ctx.services.method;
  const setting = settingIn(draft.round);
  const { groups } = setting.layout;
  const before = methodState(draft, ctx);
  const at = {
    round: draft.round,
    draws: (purpose: string) => ctx.rng.at(`strategy: ${purpose}`, draft.round).at(0),
  };
  const accepted = draft.accepted.toSorted((a, b) => a.participation - b.participation);
  const refusals = new Map<ParticipationId, string>();
  const memories = new Map<ClientId, ClientMemory>();
  const counted: Counted[] = [];
  const { members, layers, experts } = task;
  const expertTokens = new Float64Array(layers * experts);
  const sum = strategy.begin(before, setting);
  const pledges = accepted.map(({ result }) => result);
  let opened = 0;
  for await (const trained of strategy.folding === "all" ? await ctx.open(pledges) : ctx.openEach(pledges)) {
    const entry = accepted[opened++]!;
    const { update, memory } = replied(entry, trained, memories.get(entry.client), draft, ctx);
    // As it was trained as well: a reply may hide what is not finite.
    const hidden = update.values === trained.values ? null : checkUpdate({ ...update, values: trained.values }, task);
    const problem = hidden ?? checkUpdate(update, task);
    if (problem !== null) {
      refusals.set(entry.participation, problem.kind === "misfit" ? problem.text : problem.kind);
      continue;
    }
    if (memory !== undefined) memories.set(entry.client, memory);
    strategy.fold(sum, update, settingIn(update.round), at);
    for (let member = 0; member < members; member++) {
      const first = (member * update.counts.length) / members;
      for (const expert of expertTokens.keys()) expertTokens[expert]! += update.counts[first + expert]!;
    }
    const { participation, client, examples, personal, meanLoss } = update;
    // Of the experts that its tokens activated: that is what a rescaler makes up for.
    const budget = activeIn(update.plan.kind.variant, update.budget);
    const weights = Float64Array.from(groups, (_, group) => strategy.weight(update, group, setting.layout));
    const { targets } = trained;
    counted.push({ participation, client, budget, examples, personal, meanLoss, targets, weights });
  }
  if (counted.length < minUpdates && strategy.finishesAlways !== true) {
    // The sum is thrown away.
    const nobody = { memories: new Map<ClientId, ClientMemory>(), found: new Map() };
    return { counts: [], next: null, before, ...nobody, refusals, trainLoss: null, expertTokens: null };
  }
  const next = await strategy.finish(sum, before, setting, { ...at, work: workFor(strategy, ctx) });
  for (const report of counted) rescalers.report(report);
  const said = strategy.report?.(next, before, setting);
  checkReport(strategy.name, said);
  return {
    counts: countsOf(counted, groups.length),
    next,
    before,
    memories,
    found: new Map(counted.map((update) => [update.participation, update])),
    refusals,
    ...(counted.length === 0
      ? { trainLoss: null, expertTokens: null }
      : { trainLoss: meanLossOf(counted), expertTokens }),
    ...given({ report: said }),
  };
}

function checkReport(strategy: string, said: Readonly<Record<string, number>> = {}): void {
  for (const [name, value] of Object.entries(said)) {
    invariant(
      Number.isFinite(value),
      () => `strategy ${strategy} reports ${name} as ${value}, expected a finite number`,
    );
  }
}

/** Per target of all clients. */
function meanLossOf(counted: readonly Counted[]): number {
  const all = counted.reduce((sum, { targets }) => sum + targets, 0);
  return counted.reduce((sum, { meanLoss, targets }) => sum + meanLoss * (targets / all), 0);
}

/** A work is a pledge like training: done by the pool while virtual time stands still, and again if the run is cut off. */
const workFor =
  ({ name: strategy }: Strategy, ctx: ServerContext): AskForWork =>
  async <Name extends WorkName>(name: Name, input: WorkInput<Name>) => {
    const job: Computation<Name> = { name, input };
    const pledge = ctx.pledge<WorkResult<Name>>({ work: "compute", job, bytes: 0 });
    try {
      // Not before whoever asks has returned: pools read clocks, which an author's own strategy is kept from.
      await Promise.resolve();
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
  const { strategy, settingIn } = ctx.services.method;
  const setting = settingIn(round);
  const { values, personal, counts, units, firstLoss, meanLoss, steps, found } = trained;
  const local = {
    values,
    base: ctx.floats(base),
    steps,
    firstLoss,
    meanLoss,
    trained: Uint8Array.from(counts, (count) => (count > 0 ? 1 : 0)),
    counts,
    units,
    personal,
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
    ...(reply.trained && { trained: reply.trained }),
  };
  return { update, memory: reply.memory };
}

/**
 * Each client's share in the average of a group, averaged over the groups that anybody trained.
 *
 * The shares of one group sum to 1, so their means do as well; the round's books are closed on that.
 */
function countsOf(updates: readonly Counted[], groups: number): Count[] {
  const sums = new Float64Array(updates.length);
  let moved = 0;
  for (let group = 0; group < groups; group++) {
    const total = updates.reduce((sum, { weights }) => sum + weights[group]!, 0);
    if (total === 0) continue;
    moved++;
    for (const [at, { weights }] of updates.entries()) sums[at]! += weights[group]! / total;
  }
  if (updates.length === 0) return [];
  const shares = [...sums].map((sum) => (moved === 0 ? 1 / updates.length : sum / moved));
  const whole = shares.reduce((sum, share) => sum + share, 0);
  invariant(Math.abs(whole - 1) < 1e-9, () => `the weights of ${updates.length} counted updates sum to ${whole}`);
  return updates.map(({ participation, client }, at) => ({ participation, client, weight: shares[at]! }));
}
