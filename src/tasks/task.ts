/**
 * What a strategy needs to know of a task: what its budgets mean, what its forward pass offers to graph pieces, and what
 * a variant of it costs. The simulated world never looks inside.
 */
import * as z from "zod";
import type { Problem } from "../base/problem.ts";
import type { Draws, Rng } from "../base/random.ts";
import type { Batch } from "../data/batches.ts";
import type { TensorData } from "../tensor/executors/executor.ts";
import type { Graph } from "../tensor/graph/graph.ts";
import type { Tensor } from "../tensor/graph/ir.ts";
import type { SymbolicDim } from "../tensor/graph/shape.ts";
import type { ParameterLayout } from "./layout.ts";
import type { RankPass } from "./ranks.ts";
import type { Scope } from "./scope.ts";

/** A generator for a purpose, the same for whoever asks. */
export type KeyedDraws = (purpose: string) => Draws;

/** The task's own, plain: `{ topK: 2 }`, `{ from: 3 }`, `{ width: 0.5 }`. */
export const variantSchema = z.record(z.string(), z.union([z.string(), z.number()]));
export type Variant = Readonly<z.output<typeof variantSchema>>;

/** What is averaged where several models predict together. */
export const mixSchema = z.enum(["logits", "probabilities"]);
export type Mix = z.output<typeof mixSchema>;

/** What a strategy may need of a task. */
export type Ability =
  | "low-rank"
  | "experts"
  | "experts-only"
  | "routers"
  | "beside"
  | "members"
  | "blocks"
  | "heads"
  | "modalities"
  | "slices"
  | "readout"
  | "labels"
  | "cut"
  | "gates";

/** What a strategy has a task train besides its usual parameters, or in their place; and how many times. */
export interface TaskShape {
  readonly routers?: boolean;
  /** Models over one base, each with parameters of its own. */
  readonly members?: number;
  /** A pool of small experts beside each mixture, and nothing on the experts of the base. */
  readonly beside?: { readonly experts: number; readonly width: number };
  /** Kinds of inputs for which a network that normalises has gains of their own. */
  readonly norms?: 2;
  /** Of narrow members, whether what hidden matrices give is multiplied by how many there are; or their start divided, too. */
  readonly rescale?: "layer" | "both";
}

/** What personal numbers go by: the experts that a token activates, where a variant says so, else the client's budget. */
export const activeIn = (variant: Variant | undefined, budget: number): number =>
  (variant?.topK as number | undefined) ?? budget;

/** The batch of one step: `rows` for each of `clients`, whatever a row is. */
export interface BatchShape {
  readonly clients: number;
  readonly rows: number;
  /** Tokens of a row; 1 where a row is a vector. */
  readonly length: number;
}

/** What a task's forward pass offers to graph pieces. With several clients, everything lies client after client. */
export interface Pass {
  /** What a batch is fed as, by name. */
  readonly batch: Readonly<Record<string, Tensor>>;
  /** One loss for every target, `[targets]`, in nats. */
  readonly losses: Tensor;
  /** Which client each target belongs to, `[targets]`; only asked for when there are several. */
  client(): Tensor;
  /** Which row of the batch each target belongs to, `[targets]`. */
  example(): Tensor;
  /** `[targets, classes]` */
  readonly logits: Tensor;
  /** The logits, were what the head reads, `[rows, …]`, changed in this way. */
  readout?(change: (features: Tensor) => Tensor): Tensor;
  /** The likeliest class, `[targets]` int64, where that can be told without all logits at once. */
  predicted?(): Tensor;
  /** 1 for a row that is an example and 0 for one that fills up the batch, `[rows]`. */
  present(): Tensor;
  /** How often each group was used, `[groups · clients]` int64. */
  readonly counts: Tensor;
  /** What each layer's router said, where there are any. */
  readonly routers?: readonly RouterPass[];
  /** What each layer's pool of small experts said, where there are any. */
  readonly pools?: readonly Omit<RouterPass, "logits">[];
  /** Where ranks are routed: what the router of each product said, and how degraded each row is, s̄ in [0, 1), `[rows, 1]`. */
  readonly ranks?: { readonly products: readonly RankPass[]; readonly severity: Tensor };
  /** The logits for other inputs, like `batch.x`, by the gains of that norm, where inputs are numbers with a slope. */
  again?(x: Tensor, norm: number): Tensor;
  /** Where pictures are restored: `[rows, pixels]`, in [0, 1]. */
  readonly restored?: Tensor;
  /** What the channels of each layer's MLP say in the dense model, where one is cut, `[tokens, channels]`. */
  channels?(): readonly Tensor[];
  /** 1 where a router chose the expert that covers most of what these say, `[tokens, 1]`. */
  agreed?(): Tensor;
  /** Where a mixture's routers are to be replaced: what they say, `[tokens, experts]` of each layer. */
  teachers?(): readonly Tensor[];
  /** The losses of the mixture by its own routers, and which share of their choices the new one has made, `[tokens, 1]`. */
  ownGates?(): { readonly losses: Tensor; readonly agreed: Tensor };
  /** 1 at a token and 0 at padding, `[tokens, 1]`, where routers are. */
  tokens?(): Tensor;
  /** What the encoder of modality 0, 1 … makes of each target's example, `[targets, features]`, where there are several. */
  features?(modality: number): Tensor;
}

/** Of one layer. */
export interface RouterPass {
  /** Over all experts, `[tokens, experts]`, padding included. */
  readonly logits: Tensor;
  readonly probabilities: Tensor;
  /** Tokens that each expert received, `[experts · clients]` int64. */
  readonly counts: Tensor;
}

/** FLOP of one unit, a token or an image, by formula. */
export interface Cost {
  /** In a training step, and in a forward pass. */
  readonly training: number;
  readonly forward: number;
  /** In what a participation does once before it trains: layers that rest, whose output is kept. 0 unless given. */
  readonly once?: number;
}

/** What is trained, and how to run it. */
export interface Task {
  readonly layout: ParameterLayout;
  /** What strategies may ask of it. */
  readonly abilities: readonly Ability[];
  /** Which field is to change, and to what, for an ability that others of its kind have. */
  withheld?(ability: Ability): Problem;
  /** Budgets are whole numbers from 1 to `full`: experts per token, bases, layers. */
  readonly budget: { readonly full: number; variant(budget: number): Variant };
  /** What stands in the input `padding` where there is no unit. */
  readonly padding: number;
  /** Numbers of a client that never enter an average: FLAME's rescalers. 0 for none. */
  readonly personal: number;
  /** Parameters of round 0, of one member. */
  initial(rng: Rng, member: number): Float32Array;
  cost(variant: Variant, scope?: Scope): Cost;
  /** Bytes of a device while it trains on a batch of so many units, besides what of the task does not train. */
  memory(variant: Variant, units: number): number;
  /** More to evaluate than the loss and how many targets are right. */
  readonly evaluation?: {
    outputs(pass: Pass): Readonly<Record<string, Tensor>>;
    sums(outputs: Readonly<Record<string, TensorData>>, batch: Batch): Readonly<Record<string, number>>;
  };
  /** What a size that is only known at run time can be expected to be; all units of the batch unless given. */
  expected?(dim: SymbolicDim, variant: Variant, shape: BatchShape): number;
  /** @throws InvariantError for what would make native code read out of bounds */
  checkVariant?(variant: Variant): void;
  checkBatch?(batch: Batch): void;
  /** Why one member cannot have been used so often by so many units; null where it can. */
  countProblem?(counts: Float64Array, units: number, variant: Variant): string | null;
  /** Emits the forward pass of a variant. `parameters` is `[size]`, or `[clients, size]` for several. */
  pass(
    graph: Graph,
    trained: { readonly parameters: Tensor; readonly personal: Tensor | null },
    variant: Variant,
    shape: BatchShape,
  ): Pass;
}

/** What does not change in a run, as a strategy sees it. */
export interface Setting {
  readonly layout: ParameterLayout;
  readonly abilities: readonly Ability[];
  readonly clients: number;
  /** Those that occur, ascending; the last is the task's full one, whether it occurs or not. */
  readonly budgets: readonly number[];
  /** Local learning rate in this round: of an update, in the round in which its client was invited. */
  readonly rate: number;
  /** What a schedule makes of learning rates in this round, in (0, 1]; 1 without one. It is in `rate` already. */
  readonly rateFactor: number;
  /** Of local training in a round. */
  readonly epochs: number;
  /** The same in every round of a run. */
  readonly draws: KeyedDraws;
  /** |D_i| of every client; what weights over the whole population go by. */
  examples(client: number): number;
  variant(budget: number): Variant;
  /** Where a mixture of experts is trained. */
  readonly mixture?: {
    /** Experts of a token that the model was made for. */
    readonly topK: number;
    /** What a device holds, in numbers, base weights included: of one expert, and of all that is none. */
    readonly expert: number;
    readonly rest: number;
  };
}

/** What of a setting is known without a run as well: enough to say what a budget affords. */
export type Affordable = Pick<Setting, "layout" | "budgets" | "variant">;
