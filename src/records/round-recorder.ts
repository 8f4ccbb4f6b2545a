/**
 * Makes one row of metrics per round: counts participations as they end, takes what the server says when it closes a
 * round, and holds the row until its evaluation is there. Rows come out in order of rounds.
 *
 * When an evaluation is ready is a matter of real time, and no checkpoint may show it. So the row of an evaluated round is
 * told at once, but comes out after the next round has closed; until then a checkpoint has the row without its evaluation,
 * whether that is ready or not, and a resumed run asks for it again.
 */

import * as z from "zod";
import { InputError, InvariantError, invariant } from "../base/errors.ts";
import { notNegative, whole, wholeAs } from "../base/fields.ts";
import { given } from "../base/given.ts";
import { type ClientId, round as roundOf } from "../base/ids.ts";
import type { Snapshot } from "../base/snapshot.ts";
import { millis } from "../base/units.ts";
import { runFailure } from "../runtime/failure.ts";
import { type PledgeRef, pledgeSchema } from "../runtime/messages/refs.ts";
import type { Evaluation } from "../tasks/training-engine.ts";
import { type Counts, countFields, noCounts, type Outcome, sumOf } from "./counts.ts";
import { type BudgetMetrics, pendingMetricsSchema, type RoundRow } from "./metrics.ts";

/** One budget's evaluation: the shards that are being worked on. */
const pendingEvaluationSchema = z.strictObject({
  budget: whole,
  shards: z.array(pledgeSchema<Evaluation>()).readonly(),
});
type PendingEvaluation = Readonly<z.output<typeof pendingEvaluationSchema>>;

/** A client's own model and that of its budget, on what the client keeps from training. */
const pendingClientSchema = z.strictObject({
  client: wholeAs<ClientId>(),
  /** Absent where the method has none. */
  own: pledgeSchema<Evaluation>().exactOptional(),
  shared: pledgeSchema<Evaluation>(),
});
type PendingClient = Readonly<z.output<typeof pendingClientSchema>>;

/** A row whose evaluation is still going on. */
const pendingRowSchema = z.strictObject({
  row: pendingMetricsSchema,
  /** Null until the evaluator has begun. */
  evaluations: z.array(pendingEvaluationSchema).readonly().nullable(),
  clients: z.array(pendingClientSchema).readonly().exactOptional(),
});
type PendingRow = z.output<typeof pendingRowSchema>;

interface Evaluating {
  readonly round: number;
  readonly evaluations: readonly PendingEvaluation[];
  readonly clients?: readonly PendingClient[];
}

export const roundRecorderSchema = z.strictObject({
  counts: z.array(z.strictObject(countFields)),
  pending: z.array(pendingRowSchema),
  /** `[layers][experts]`; empty before the first counted update. */
  expertTokens: z.array(z.array(notNegative)),
});
type RoundRecorderState = Readonly<z.output<typeof roundRecorderSchema>>;

type ClosedRound = Omit<RoundRow, "evaluations" | "clients" | "tiers" | keyof Counts | "activation"> & {
  /** Tokens routed to each expert over counted updates, `[layers · experts]`; null without training. */
  readonly expertTokens: Float64Array | null;
};

export interface RoundRecorderOptions {
  readonly tiers: readonly string[];
  readonly layers: number;
  /** The results of finished work; waits for it, and holds on to what it was made from. */
  read(shards: readonly PledgeRef<Evaluation>[]): Promise<Evaluation[]>;
  /** Lets go of what was read. */
  release(shard: PledgeRef<Evaluation>): void;
  /** For those who want to see a row as soon as it is known; it comes out later, or again in a resumed run. */
  onMeasured?(row: RoundRow): void;
  onRow(row: RoundRow): void;
  /** The command line that shows a failure again. */
  readonly reproduce: string;
}

export class RoundRecorder implements Snapshot<RoundRecorderState> {
  readonly #options: RoundRecorderOptions;
  #counts: Counts[];
  #pending: PendingRow[] = [];
  /** The first of them, once it is measured. */
  #measured: RoundRow | null = null;
  #expertTokens: number[][] = [];
  /** No round follows. */
  #isOver = false;
  #isPuttingOut = false;
  #whenOut: (() => void)[] = [];
  #failure: unknown = null;

  constructor(options: RoundRecorderOptions) {
    this.#options = options;
    this.#counts = options.tiers.map(noCounts);
  }

  /** Rows that wait for their evaluation. */
  get pending(): number {
    return this.#pending.length - (this.#measured === null ? 0 : 1);
  }

  /** Tokens routed to each expert in counted updates, over the whole run. */
  get expertTokens(): readonly (readonly number[])[] {
    return this.#expertTokens;
  }

  invited(tier: number): void {
    this.#counts[tier]!.invited++;
  }

  ended(tier: number, outcome: Outcome): void {
    this.#counts[tier]![outcome]++;
  }

  /** The round is closed; its row comes out at once, or when its evaluation is done. */
  closed({ expertTokens, ...closed }: ClosedRound, isEvaluated: boolean): void {
    const counts = this.#counts;
    this.#counts = this.#options.tiers.map(noCounts);
    const { round, startedAt, closedAt, aggregated, trainLoss, counts: counted } = closed;
    const row: PendingRow["row"] = {
      round,
      startedAt,
      closedAt,
      ...sumOf(counts),
      aggregated,
      tiers: this.#options.tiers.map((tier, at) => ({ tier, ...counts[at]! })),
      trainLoss,
      ...given({ learningRate: closed.learningRate, method: closed.method }),
      downloadBytes: closed.downloadBytes,
      uploadBytes: closed.uploadBytes,
      distinctClients: closed.distinctClients,
      activation: expertTokens === null ? [] : shares(this.#perLayer(expertTokens)),
      counts: counted,
    };
    if (expertTokens !== null) this.#add(this.#perLayer(expertTokens));
    this.#pending.push({ row, evaluations: isEvaluated ? null : [] });
    void this.#putOut();
  }

  /** The evaluation of a closed round has begun. */
  evaluating({ round, evaluations, clients }: Evaluating): void {
    const pending = this.#pending.find(({ row }) => row.round === round);
    invariant(pending?.evaluations === null, () => `round ${round} is evaluated, but its row does not wait for that`);
    pending.evaluations = evaluations;
    if (clients !== undefined) pending.clients = clients;
    void this.#putOut();
  }

  /** Whether a round was closed whose evaluation has not begun. */
  get awaitsEvaluation(): boolean {
    return this.#pending.some(({ evaluations }) => evaluations === null);
  }

  /** What went wrong with an evaluation; null while all is well. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Resolves when all rows are out that come out before something else happens. */
  async upToDate(): Promise<void> {
    while (!this.#rests && this.#failure === null) {
      await new Promise<void>((resolve) => this.#whenOut.push(resolve));
    }
    if (this.#failure !== null) throw this.#failure;
  }

  /** Resolves when all rows are out; no round follows. */
  async allDone(): Promise<void> {
    this.#isOver = true;
    void this.#putOut();
    await this.upToDate();
    const [first] = this.#pending;
    invariant(first === undefined, () => `round ${first!.row.round} waits for an evaluation that never began`);
  }

  snapshot(): RoundRecorderState {
    return {
      counts: this.#counts.map((tier) => ({ ...tier })),
      pending: this.#pending,
      expertTokens: this.#expertTokens,
    };
  }

  /** Begins again to wait for the evaluations that were going on. @throws InputError for rows of another fleet or model */
  restore({ counts, pending, expertTokens }: RoundRecorderState): void {
    const { tiers, layers } = this.#options;
    const lengths = [
      ["counts", counts.length, [tiers.length]],
      ["expertTokens", expertTokens.length, [0, layers]],
    ] as const;
    for (const [name, length, expected] of lengths) {
      if (!expected.includes(length))
        throw new InputError(`rounds.${name} has ${length} rows, expected ${expected.at(-1)}`);
    }
    const uneven = expertTokens.findIndex((layer) => layer.length !== expertTokens[0]!.length);
    if (uneven >= 0) throw new InputError(`rounds.expertTokens[${uneven}] has other experts than the first layer`);
    this.#counts = counts.map((tier) => ({ ...tier }));
    this.#expertTokens = expertTokens.map((layer) => [...layer]);
    this.#pending = pending.map((entry) => ({ ...entry }));
    void this.#putOut();
  }

  /** Whether the first row that is pending waits for the evaluator, or for the next round. */
  get #rests(): boolean {
    const [first, next] = this.#pending;
    if (first === undefined || first.evaluations === null) return true;
    return next === undefined && !this.#isOver && shardsOf(first).length > 0;
  }

  async #putOut(): Promise<void> {
    if (this.#isPuttingOut) return;
    this.#isPuttingOut = true;
    try {
      for (let first = this.#pending[0]; first?.evaluations && this.#failure === null; first = this.#pending[0]) {
        if (this.#measured === null) {
          this.#measured = await this.#measure(first);
          this.#options.onMeasured?.(this.#measured);
        }
        if (this.#rests) break;
        this.#options.onRow(this.#measured);
        for (const shard of shardsOf(first)) this.#options.release(shard);
        this.#measured = null;
        this.#pending.shift();
      }
    } catch (cause) {
      const { round, closedAt } = this.#pending[0]!.row;
      const message = { type: "evaluate", round: roundOf(round) };
      const { reproduce } = this.#options;
      this.#failure = runFailure(cause, { at: millis(closedAt), actor: "evaluator", message, reproduce });
    }
    this.#isPuttingOut = false;
    for (const resolve of this.#whenOut.splice(0)) resolve();
  }

  async #measure(pending: PendingRow): Promise<RoundRow> {
    const { row, evaluations, clients } = pending;
    const results = (await this.#options.read(shardsOf(pending))).values();
    const next = () => results.next().value!;
    const measured = evaluations!.map(({ budget, shards }) => ({ budget, ...scoresOf(shards.map(next)) }));
    const served = clients?.map(({ client, own }) => {
      const shared = next();
      const { loss, accuracy } = scoresOf([own ? next() : shared]);
      const { examples } = shared;
      if (!own) return { client, examples, loss, accuracy };
      const other = scoresOf([shared]);
      return { client, examples, loss, accuracy, sharedLoss: other.loss, sharedAccuracy: other.accuracy };
    });
    return { ...row, evaluations: measured, ...given({ clients: served }) };
  }

  #perLayer(tokens: Float64Array): number[][] {
    const { layers } = this.#options;
    const experts = layers === 0 ? 0 : tokens.length / layers;
    return Array.from({ length: layers }, (_, layer) => [...tokens.subarray(layer * experts, (layer + 1) * experts)]);
  }

  #add(tokens: readonly (readonly number[])[]): void {
    if (this.#expertTokens.length === 0) this.#expertTokens = tokens.map((layer) => layer.map(() => 0));
    for (const [layer, row] of tokens.entries()) {
      for (const [expert, count] of row.entries()) this.#expertTokens[layer]![expert]! += count;
    }
  }
}

/** What an evaluation is put together from, in order. */
const shardsOf = ({ evaluations, clients = [] }: Pick<PendingRow, "evaluations" | "clients">) => [
  ...(evaluations ?? []).flatMap(({ shards }) => shards),
  ...clients.flatMap(({ own, shared }) => (own ? [shared, own] : [shared])),
];

/** Shards fold in their own order, so the sum does not depend on which was ready first. */
export function scoresOf(shards: readonly Evaluation[]): Omit<BudgetMetrics, "budget"> {
  const sum = (of: (shard: Evaluation) => number) => shards.reduce((total, shard) => total + of(shard), 0);
  const targets = sum((shard) => shard.targets);
  const examples = sum((shard) => shard.examples);
  if (targets === 0 || examples === 0) throw new InvariantError("an evaluation saw nothing to predict");
  const more = Object.keys(shards[0]!.more).map(
    (name) => [name, sum((shard) => shard.more[name]!) / examples] as const,
  );
  return {
    loss: sum(({ loss }) => loss) / targets,
    accuracy: sum(({ correct }) => correct) / targets,
    exactMatch: sum(({ exact }) => exact) / examples,
    ...(more.length > 0 && { more: Object.fromEntries(more) }),
  };
}

function shares(tokens: readonly (readonly number[])[]): number[][] {
  return tokens.map((layer) => {
    const total = layer.reduce((sum, count) => sum + count, 0);
    return layer.map((count) => (total === 0 ? 0 : count / total));
  });
}
