/**
 * What the head makes of hidden states: losses, logits and predictions. Where the head is in panels, so are the logits, and
 * losses and predictions come from what little is said of each panel c, before the next one is begun:
 *
 *   loss = log Σ_c exp(z_c) − logit of the target,   z_c = log Σ over the panel's tokens of exp(logit)
 */
import type { Tensor } from "../tensor/graph/ir.ts";
import { add, addScalar, argMax, cast, exp, log, mul, reduceMax, reduceSum, sub } from "../tensor/ops/arithmetic.ts";
import { after, less } from "../tensor/ops/discrete.ts";
import { gatherColumns } from "../tensor/ops/index-ops.ts";
import { concat, reshape } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { crossEntropy } from "../tensor/ops/nn.ts";
import { headPanels } from "./base-weights.ts";
import { type ForwardOptions, headInput } from "./transformer.ts";

export interface Said {
  /** −log p(target) in nats, `[positions]`. */
  losses(): Tensor;
  /** The likeliest token, `[positions]` int64; ties go to the lower one. */
  predicted(): Tensor;
  /** All of them side by side, `[positions, vocabulary]`; of hidden states that are changed in this way, if given. */
  logits(change?: (x: Tensor) => Tensor): Tensor;
}

/** What is said at chosen positions only. */
export function headAt(
  { config, weight }: Pick<ForwardOptions, "config" | "weight">,
  hidden: Tensor,
  positions: Tensor,
  targets: Tensor,
): Said {
  const x = headInput({ config, weight }, hidden, positions);
  const panels = headPanels(config).map(weight);
  if (panels.length > 1) return saidInPanels(x, panels, targets);
  const logits = matmul(x, panels[0]!);
  return {
    losses: () => crossEntropy(logits, targets),
    predicted: () => argMax(logits),
    logits: (change = same) => matmul(change(x), panels[0]!),
  };
}

const same = (x: Tensor): Tensor => x;

/** Of one panel, `[positions, 1]` each. */
interface Panel {
  readonly logits: Tensor;
  readonly largest: Tensor;
  /** The token of the largest, int64. */
  readonly likeliest: Tensor;
  /** log Σ exp(logit). */
  readonly all: Tensor;
  /** The target's logit, and 0 where it is of another panel. */
  readonly own: Tensor;
}

/**
 * @internal What is said panel by panel.
 *
 * @param x `[positions, width]`
 * @param weights `[width, columns]` each
 */
export function saidInPanels(x: Tensor, weights: readonly Tensor[], targets: Tensor): Said {
  const { graph } = x.node;
  const panels: Panel[] = [];
  for (const [at, weight] of weights.entries()) {
    const before = panels.at(-1);
    const own = before === undefined ? x : after(x, [before.likeliest, before.all, before.own]);
    panels.push(graph.segment(() => panelOf(matmul(own, weight), at * (weight.shape[1] as number), targets)));
  }
  const beside = (name: Exclude<keyof Panel, "logits">) =>
    concat(
      panels.map((panel) => panel[name]),
      1,
    );
  return {
    losses: () => reshape(sub(logSumExp(beside("all")).all, panels.map(({ own }) => own).reduce(add)), targets.shape),
    predicted() {
      const best = reshape(argMax(beside("largest")), [targets.shape[0]!, 1]);
      return reshape(gatherColumns(beside("likeliest"), best), targets.shape);
    },
    logits: (change) =>
      concat(
        change === undefined ? panels.map(({ logits }) => logits) : weights.map((weight) => matmul(change(x), weight)),
        1,
      ),
  };
}

/** @param first the panel's first token */
function panelOf(logits: Tensor, first: number, targets: Tensor): Panel {
  const likeliest = reshape(addScalar(argMax(logits), first), [targets.shape[0]!, 1]);
  return { logits, likeliest, own: entryAt(logits, addScalar(targets, -first)), ...logSumExp(logits) };
}

/** log Σ exp(x) over the last axis, which stays as one of size 1. */
function logSumExp(x: Tensor): { largest: Tensor; all: Tensor } {
  // Shifted by the largest, which has no slope: the sum is the same whatever the shift.
  const largest = reduceMax(x, [-1], true);
  return { largest, all: add(largest, log(reduceSum(exp(sub(x, largest)), [-1], true))) };
}

/** Of each row the entry in a column, and 0 where there is no such column: `[rows, 1]`. */
function entryAt(x: Tensor, column: Tensor): Tensor {
  const { graph } = x.node;
  const [rows] = column.shape;
  const number = (value: number) => graph.constant([value], [1], "int32");
  const inside = mul(less(number(-1), column), less(column, number(x.shape[1] as number)));
  const chosen = reshape(mul(column, cast(inside, "int32")), [rows!, 1]);
  return mul(gatherColumns(x, chosen), reshape(inside, [rows!, 1]));
}
