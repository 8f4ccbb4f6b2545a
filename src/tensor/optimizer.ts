/** Optimizer steps as programs over one flattened parameter vector. */
import type { Tensor } from "./graph/ir.ts";
import { add, addScalar, div, mul, reduceSum, scale, sqrt, square, sub } from "./ops/arithmetic.ts";
import { minimum } from "./ops/discrete.ts";

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

/** What changes from step to step; each a scalar `[1]` fed at run time. */
export interface AdamWStep {
  readonly learningRate: Tensor;
  /** learningRate · weightDecay. */
  readonly decay: Tensor;
  /** 1 ÷ (1 − β1ᵗ) and 1 ÷ (1 − β2ᵗ) with t counted from 1. */
  readonly correction1: Tensor;
  readonly correction2: Tensor;
}

export interface AdamWState {
  readonly parameters: Tensor;
  /** m ÷ (1 − β1): kept this way, a step scales neither the gradient nor its square. */
  readonly mean: Tensor;
  /** v ÷ (1 − β2). */
  readonly variance: Tensor;
}

/**
 * One AdamW step. Loshchilov and Hutter, "Decoupled Weight Decay Regularization", https://arxiv.org/abs/1711.05101
 *
 *   m ← β1·m + (1 − β1)·g          v ← β2·v + (1 − β2)·g²
 *   θ ← θ − lr·λ·θ − lr·m̂ ÷ (√v̂ + ε)
 *
 * @param decayed whether λ may differ from 0; without it the step is two passes over the parameters shorter
 */
export function adamW(
  state: AdamWState,
  gradient: Tensor,
  step: AdamWStep,
  options: AdamWOptions,
  decayed: boolean,
): AdamWState {
  const { parameters } = state;
  const { beta1, beta2, epsilon } = options;
  const mean = add(scale(state.mean, beta1), gradient);
  const variance = add(scale(state.variance, beta2), square(gradient));
  // m̂ ÷ (√v̂ + ε) with both corrections taken out of the pass: u·m ÷ (√v + w·ε) for w = 1 ÷ √((1 − β2)·c2).
  const w = div(parameters.node.graph.constant([1], [1]), sqrt(scale(step.correction2, 1 - beta2)));
  const rate = mul(mul(step.learningRate, w), scale(step.correction1, 1 - beta1));
  const moved = sub(parameters, mul(div(mean, add(sqrt(variance), scale(w, epsilon))), rate));
  return { parameters: decayed ? sub(moved, mul(parameters, step.decay)) : moved, mean, variance };
}

/** v ← μ·v + g,  θ ← θ − lr·v, as PyTorch's SGD has it. */
export function momentumStep(
  { parameters, velocity }: { readonly parameters: Tensor; readonly velocity: Tensor },
  gradient: Tensor,
  learningRate: Tensor,
  momentum: number,
): { readonly parameters: Tensor; readonly velocity: Tensor } {
  const next = add(scale(velocity, momentum), gradient);
  return { parameters: sub(parameters, mul(next, learningRate)), velocity: next };
}

/** θ ← θ − lr·g. */
export const sgd = (parameters: Tensor, gradient: Tensor, learningRate: Tensor): Tensor =>
  sub(parameters, mul(gradient, learningRate));

/**
 * The factor that brings the joint 2-norm of `gradients` down to `maximum`; 1 when it is smaller. The norm runs over the
 * last axis: `[1]` for vectors, `[clients, 1]` for the rows of matrices.
 */
export function clipFactor(gradients: readonly Tensor[], maximum: Tensor): Tensor {
  const squares = gradients.map((g) => reduceSum(square(g), [-1], true)).reduce((a, b) => add(a, b));
  const one = maximum.node.graph.constant([1], [1]);
  // The 1e-6 is PyTorch's clip_grad_norm_, so that a zero gradient divides by something.
  return minimum(one, div(maximum, addScalar(sqrt(squares), 1e-6)));
}
