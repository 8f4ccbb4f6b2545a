/**
 * Classes told by how near their prototypes are, within a program and at the server.
 *
 *   c_y mean feature of class y,   p(y | x) = softmax(−‖φ(x) − c_·‖₂)_y
 */
import type { StepContext } from "../../../tasks/steps.ts";
import type { Tensor } from "../../../tensor/graph/ir.ts";
import {
  add,
  addScalar,
  argMax,
  cast,
  clip,
  div,
  exp,
  mul,
  neg,
  reduceSum,
  scale,
  sqrt,
  square,
  sub,
} from "../../../tensor/ops/arithmetic.ts";
import { less } from "../../../tensor/ops/discrete.ts";
import { gatherRows, scatterAddRows } from "../../../tensor/ops/index-ops.ts";
import { reshape } from "../../../tensor/ops/layout.ts";
import { crossEntropy } from "../../../tensor/ops/nn.ts";
import { onesOf } from "../../probes.ts";

/** Within a program. */
export interface Prototypes {
  /** `[classes, width]`; anything for a class that has none. */
  readonly means: Tensor;
  /** 1 for a class that has one, `[classes]`. */
  readonly known: Tensor;
}

/** From sums of features, `[classes · width]`, and how many examples each class has, `[classes]`. */
export function prototypesOf(sums: Tensor, counts: Tensor): Prototypes {
  const classes = counts.shape[0] as number;
  const width = (sums.shape[0] as number) / classes;
  const least = reshape(clip(counts, 1, 3e38), [classes, 1]);
  const means = div(reshape(sums, [classes, width]), least);
  return { means, known: less(sums.node.graph.constant([0.5], [1]), counts) };
}

/**
 * −distance of each feature to each prototype, `[targets, classes]`; a class without one is out of the question.
 *
 * @param features `[targets, width]`
 */
function nearness(features: Tensor, { means, known }: Prototypes): Tensor {
  const [classes, width] = means.shape as [number, number];
  const each = reshape(features, [features.shape[0]!, 1, width]);
  const apart = reduceSum(square(sub(each, reshape(means, [1, classes, width]))), [2]);
  // A root has no slope at 0.
  const distances = sqrt(addScalar(apart, 1e-12));
  return add(neg(distances), scale(addScalar(known, -1), 1e9));
}

/**
 * Cross-entropy of each target by its distances, in nats, and the probability of its class: both 0 where its class has no
 * prototype, `[targets]`.
 */
export function byPrototypes(features: Tensor, prototypes: Prototypes, targets: Tensor) {
  const { known } = prototypes;
  const isKnown = reshape(gatherRows(reshape(known, [known.shape[0]!, 1]), targets), targets.shape);
  const losses = crossEntropy(nearness(features, prototypes), targets);
  return { losses: mul(losses, isKnown), probabilities: mul(exp(neg(losses)), isKnown) };
}

/** How many examples are nearest to the prototype of their class in a modality, `[1]`. */
export function rightOf({ graph, pass }: StepContext, modality: number, prototypes: Prototypes): Tensor {
  const nearest = cast(argMax(nearness(pass.features!(modality), prototypes)), "float32");
  const apart = square(sub(nearest, cast(pass.batch.targets!, "float32")));
  return reduceSum(less(apart, graph.constant([0.25], [1])), [0], true);
}

/** Summed features of each class, `[classes, width]`. */
export const classSums = ({ pass }: StepContext, modality: number, classes: number): Tensor =>
  scatterAddRows(pass.features!(modality), pass.batch.targets!, classes);

/** Examples of each class, `[classes]`. */
export const classCounts = ({ pass }: StepContext, classes: number): Tensor =>
  scatterAddRows(onesOf(pass.losses), pass.batch.targets!, classes);

/** What is known of the classes of one modality, at the server. */
export interface ClassMeans {
  /** `[classes · width]` */
  readonly means: Float64Array;
  /** Examples behind each, `[classes]`; of a class without any, nothing is known. */
  readonly counts: Float64Array;
}

/** Means over all examples behind them; where there is none in `parts`, `before` stays. */
export function merged(before: ClassMeans, parts: readonly ClassMeans[]): ClassMeans {
  const means = before.means.slice();
  const counts = before.counts.slice();
  const width = means.length / counts.length;
  for (let y = 0; y < counts.length; y++) {
    const total = parts.reduce((sum, part) => sum + part.counts[y]!, 0);
    if (total === 0) continue;
    counts[y] = total;
    for (let i = y * width; i < (y + 1) * width; i++) {
      means[i] = parts.reduce((sum, part) => sum + (part.counts[y]! / total) * part.means[i]!, 0);
    }
  }
  return { means, counts };
}
