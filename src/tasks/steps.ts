/** What a method adds to a client's local step, as pieces of the graph that the step becomes. */
import type { Graph } from "../tensor/graph/graph.ts";
import type { Tensor } from "../tensor/graph/ir.ts";
import type { Pass } from "./task.ts";

/** What graph pieces are written with. Everything flat runs over the last axis: a client axis may stand in front. */
export interface StepContext {
  readonly graph: Graph;
  readonly pass: Pass;
  /** Mean over the targets of a batch, `[targets]` to `[1]`. */
  mean(perTarget: Tensor): Tensor;
  /** `mean(pass.losses)`. */
  readonly loss: Tensor;
  readonly parameters: Tensor;
  /** The parameters as the client received them, and what those make of the batch. */
  readonly start: Tensor;
  received(): Pass;
  /** Extra inputs, by name. */
  readonly given: Readonly<Record<string, Tensor>>;
  /** What a probe that went before found under this name, as a vector of so many numbers. */
  found(name: string, size: number): Tensor;
}

/** A forward pass over all local examples, before the first step or after the last; outputs are summed over batches. */
export type Probe = (at: StepContext) => Readonly<Record<string, Tensor>>;

/** Graph pieces of one kind of plan. */
export interface Steps {
  readonly optimizer?: "adamw" | "sgd" | { readonly momentum: number };
  /** Extra inputs: a scalar `[1]`, a vector like the parameters, or one of so many numbers. */
  readonly given?: Readonly<Record<string, "scalar" | "parameters" | number>>;
  /** `loss` unless given. */
  objective?(at: StepContext): Tensor;
  /** The flat gradient, before it is clipped. */
  gradient?(gradient: Tensor, at: StepContext): Tensor;
  /**
   * 1 where this step may move a parameter, `[size]`. Elsewhere it has no gradient, and neither value, moments nor decay
   * move. `spread` makes it from one number a group.
   */
  moves?(at: StepContext): Tensor;
  /** Summed over all steps, in float64. With several clients in a call, client after client. */
  tallies?(at: StepContext): Readonly<Record<string, Tensor>>;
  /** Over the parameters as received, and as trained; of several each sees what those before it found. */
  readonly before?: Probe | readonly Probe[];
  readonly after?: Probe | readonly Probe[];
  /** How many of these differentiate: they cost what a training step costs, where others cost a forward pass. */
  readonly backward?: number;
  /** Over the examples that the plan keeps from training, and the parameters as trained. */
  readonly validate?: Probe;
  /** Whether steps ask for what the received parameters make of a batch, which costs each a forward pass. */
  readonly receives?: boolean;
  /** Whether several clients can share a call. True unless a piece reads `pass` other than through `loss`. */
  readonly merges?: boolean;
}

/** One pass after the other. */
export const inOrder = (probes: Probe | readonly Probe[] | undefined): readonly Probe[] =>
  probes === undefined ? [] : typeof probes === "function" ? [probes] : probes;
