/** What a batch says about experts, as graph pieces: how important each is, and how much it depends on the input. */
import type { ParameterLayout } from "../../tasks/layout.ts";
import { spread } from "../../tasks/spread.ts";
import type { StepContext } from "../../tasks/steps.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import {
  add,
  addScalar,
  cast,
  clip,
  div,
  log,
  mul,
  reduceMax,
  reduceSum,
  scale,
  sub,
} from "../../tensor/ops/arithmetic.ts";
import { detach, less } from "../../tensor/ops/discrete.ts";
import { scatterAddRows, topK } from "../../tensor/ops/index-ops.ts";
import { concat, reshape } from "../../tensor/ops/layout.ts";

export interface ExpertScores {
  /** s = λ·mean G + (1 − λ)·max G over the tokens of a batch, `[experts of all layers]`. */
  readonly importance: Tensor;
  /** KL = mean of G·log(G ÷ mean G): what an expert's choice says about the token; ≥ 0, in nats. */
  readonly redundancy: Tensor;
}

/** Of router probabilities `[tokens, experts]` where `present` `[tokens, 1]` is 1. Carries no gradient. */
export function expertScores(probabilities: Tensor, present: Tensor, lambda: number): ExpertScores {
  const g = detach(probabilities);
  const here = mul(g, present);
  const count = reduceSum(present, [0], true);
  const mean = div(reduceSum(here, [0], true), count);
  // 0·log 0 = 0: what is clipped is multiplied by less than the smallest float32 of full precision.
  const ofLog = (t: Tensor) => log(clip(t, 1.2e-38, 1));
  const row = (t: Tensor) => reshape(t, [probabilities.shape[1]!]);
  return {
    importance: row(add(scale(mean, lambda), scale(reduceMax(here, [0], true), 1 - lambda))),
    redundancy: row(div(reduceSum(mul(here, sub(ofLog(g), ofLog(mean))), [0], true), count)),
  };
}

/**
 * 1 at the `most` experts of the highest score among those that are used; ties go to the lower index.
 *
 * @param score `[experts of all layers]`
 * @param used how many tokens each received, the same shape
 */
export function bestOf(score: Tensor, used: Tensor, most: number): Tensor {
  const { graph } = score.node;
  const [experts] = score.shape as [number];
  if (most === 0) return graph.zeros([experts]);
  const candidate = less(graph.constant([0.5], [1]), used);
  // Far below any score there is.
  const ranked = sub(mul(score, candidate), scale(sub(addScalar(graph.zeros([1]), 1), candidate), 1e9));
  const { indices } = topK(reshape(ranked, [1, experts]), most);
  const ones = addScalar(graph.zeros([most, 1]), 1);
  return mul(reshape(scatterAddRows(ones, reshape(indices, [most]), experts), [experts]), candidate);
}

/** Of a language-model step: router probabilities of all layers side by side, through `of`. */
export const overLayers = ({ pass }: StepContext, of: (probabilities: Tensor, present: Tensor) => Tensor): Tensor =>
  concat(
    pass.routers!.map(({ probabilities }) => of(probabilities, pass.tokens!())),
    0,
  );

/** Tokens that each expert received, of all layers. */
export const usedIn = ({ pass }: StepContext): Tensor =>
  concat(
    pass.routers!.map(({ counts }) => cast(counts, "float32")),
    0,
  );

/** From one number an expert to all parameters; what is no expert's gets a one. */
export function spreadExperts(layout: ParameterLayout, perExpert: Tensor): Tensor {
  const others = layout.groups.length - (perExpert.shape[0] as number);
  const ones = addScalar(perExpert.node.graph.zeros([Math.max(1, others)]), 1);
  return spread(layout, others === 0 ? perExpert : concat([perExpert, ones], 0));
}
