/** What one closed round leaves in `metrics.jsonl`: one row a round, virtual time only. */
import * as z from "zod";
import { anyNumber, whole, wholeAs } from "../base/fields.ts";
import { given } from "../base/given.ts";
import { type ClientId, clientName } from "../base/ids.ts";
import { type Fleet, tierOf } from "../sim/fleet/fleet.ts";
import { count, countFields, instant, measured } from "./counts.ts";

export const budgetMetricsSchema = z.object({
  budget: count,
  /** Held-out cross-entropy per target, in nats: per response token, per image. */
  loss: measured,
  /** Share of held-out targets predicted right, in [0, 1]. */
  accuracy: measured,
  /** Share of held-out examples all of whose targets are predicted, in [0, 1]. */
  exactMatch: measured,
  /** Means over held-out examples of what the task measures besides. */
  more: z.record(z.string(), measured).exactOptional(),
});
export type BudgetMetrics = Readonly<z.output<typeof budgetMetricsSchema>>;

const clientMetricsSchema = z.object({
  client: z.string(),
  tier: z.string(),
  /** Examples that it keeps from training. */
  examples: count,
  /** Of its own model on them, or of its budget's where the method has no others: cross-entropy per target, in nats, and share of targets predicted right. */
  loss: measured,
  accuracy: measured,
  /** Of the model of its budget on the same, beside its own. */
  sharedLoss: measured.exactOptional(),
  sharedAccuracy: measured.exactOptional(),
});
type ClientMetrics = Readonly<z.output<typeof clientMetricsSchema>>;

const tierMetricsSchema = z.object({ tier: z.string(), ...countFields });
export type TierMetrics = Readonly<z.output<typeof tierMetricsSchema>>;

export const roundMetricsSchema = z.object({
  /** 0 is the base model before the first round, and says of a prelude who took part. */
  round: count,
  /** When the round began and closed, in milliseconds of virtual time. */
  startedAt: instant,
  closedAt: instant,
  ...countFields,
  /** False when too few updates came: the adapter is then untouched. */
  aggregated: z.boolean(),
  tiers: z.array(tierMetricsSchema).readonly(),
  /** Mean training loss per response token over counted updates, in nats; null without training or without updates. */
  trainLoss: z.number().nullable(),
  /** The clients' in this round, where a schedule changes it. */
  learningRate: z.number().exactOptional(),
  /** What the strategy reports of the round besides: its page says what. */
  method: z.record(z.string(), z.number()).exactOptional(),
  /** Bytes sent since the run began. */
  downloadBytes: z.number().min(0),
  uploadBytes: z.number().min(0),
  /** Distinct clients counted since the run began. */
  distinctClients: count,
  /** Held-out results at every budget, largest first; empty in rounds that are not evaluated. */
  evaluations: z.array(budgetMetricsSchema).readonly(),
  /** Of clients that keep examples from training, after the last round. */
  clients: z.array(clientMetricsSchema).readonly().exactOptional(),
  /** Share of routed tokens that went to each expert over counted updates, `[layers][experts]`; empty without training. */
  activation: z.array(z.array(z.number()).readonly()).readonly(),
  /** Mean aggregation weight of each counted client over experts; sums to 1. */
  weights: z.array(z.object({ client: z.string(), tier: z.string(), weight: z.number() })).readonly(),
});
export type RoundMetrics = Readonly<z.output<typeof roundMetricsSchema>>;

/** A row before its evaluation, and before it is written: those who were counted are numbers still. */
export const pendingMetricsSchema = z.strictObject({
  ...roundMetricsSchema.omit({ weights: true, evaluations: true, clients: true }).shape,
  tiers: z.array(z.strictObject({ tier: z.string(), ...countFields })).readonly(),
  downloadBytes: whole,
  uploadBytes: whole,
  trainLoss: anyNumber.nullable(),
  activation: z.array(z.array(anyNumber).readonly()).readonly(),
  counts: z
    .array(z.strictObject({ client: wholeAs<ClientId>(), participation: whole.exactOptional(), weight: anyNumber }))
    .readonly(),
});

type Evaluated = Pick<RoundMetrics, "round" | "evaluations">;

/** Whether a model has diverged: after which round, and what was found. */
interface Divergence {
  readonly round: number;
  readonly found: string;
}

/** Times the held-out loss that a budget began with, or 1 nat where that is less. No model that learns comes near it. */
const boundOfLoss = 10;

/** The first round after which a held-out loss is no finite number, or has passed all bounds; null if there is none. */
export function divergenceOf(rows: readonly Evaluated[]): Divergence | null {
  const first = rows.find(({ evaluations }) => evaluations.length > 0)?.evaluations ?? [];
  const bounds = new Map(first.map(({ budget, loss }) => [budget, boundOfLoss * Math.max(1, loss)]));
  for (const { round, evaluations } of rows) {
    for (const { budget, loss } of evaluations) {
      if (!Number.isFinite(loss)) return { round, found: "its held-out loss is no finite number" };
      const bound = bounds.get(budget) ?? Number.POSITIVE_INFINITY;
      if (loss > bound)
        return { round, found: `its held-out loss is ${loss.toPrecision(3)}, over ${bound.toPrecision(3)}` };
    }
  }
  return null;
}

/** What a long run keeps of its rows in memory. */
export const withoutDetail = (row: RoundMetrics): RoundMetrics => ({ ...row, weights: [], activation: [] });

/** A row before it is written: those who were counted are numbers still. */
export interface RoundRow extends Omit<RoundMetrics, "weights" | "clients"> {
  readonly clients?: readonly (Omit<ClientMetrics, "client" | "tier"> & { readonly client: ClientId })[];
  readonly counts: readonly { readonly client: ClientId; readonly weight: number }[];
}

export function metricsOf({ counts, evaluations, clients, ...row }: RoundRow, fleet: Fleet): RoundMetrics {
  const named = clients?.map(({ client, ...found }) => ({
    client: clientName(client),
    tier: tierOf(fleet, client),
    ...found,
  }));
  const weights = counts.map(({ client, weight }) => ({
    client: clientName(client),
    tier: tierOf(fleet, client),
    weight,
  }));
  return { ...row, weights, evaluations, ...given({ clients: named }) };
}
