/**
 * Restoration: a picture of twice the resolution from one that is blurred and noisy. A frozen restorer that knows mild
 * degradation, and ranks that change its products, some of them chosen by how degraded a picture is. A budget is how many
 * candidates a picture may be given; nothing is personal.
 *
 *   loss = ½·mean (restored − true)² ÷ σ²,  σ = 0.1: nats a pixel of a Gaussian, but for its constant
 */
import { invariant } from "../../base/errors.ts";
import { expected } from "../../base/problem.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add, cast, clip, mul, reduceMean, reduceSum, scale, square, sub } from "../../tensor/ops/arithmetic.ts";
import { integerDivide, less } from "../../tensor/ops/discrete.ts";
import { gatherRows, scatterAddRows } from "../../tensor/ops/index-ops.ts";
import { concat, reshape, transpose } from "../../tensor/ops/layout.ts";
import { factsOf } from "../facts.ts";
import {
  initialRanks,
  type Product,
  type RankChoice,
  type RankPass,
  type Ranks,
  rankedChanges,
  ranksLayout,
  realOf,
} from "../ranks.ts";
import type { BatchShape, Pass, Task, Variant } from "../task.ts";
import { decibels } from "./decibels.ts";
import { scores } from "./degrade.ts";
import { products, restored } from "./restorer.ts";

export interface RestoreShape {
  readonly ranks: Ranks;
  /** k: candidates that a picture is given at the full budget. */
  readonly topK: number;
  /** What changes are multiplied by. */
  readonly scale: number;
  /** Pixels of a side, of the low picture. */
  readonly side: number;
  /** Weights of the frozen restorer. */
  readonly base: Float32Array;
}

const sigma = 0.1;

export function restoreTask(shape: RestoreShape): Task {
  const { ranks, topK, side } = shape;
  const layout = ranksLayout(products, ranks, scores, shape.scale);
  return {
    layout,
    abilities: ranks.routed === 0 ? [] : factsOf("restore").abilities,
    withheld: () => expected("task.routed", "at least 1", ranks.routed),
    budget: { full: topK, variant: (budget) => ({ ranks: budget }) },
    padding: 1,
    personal: 0,
    initial: (rng) => initialRanks(products, ranks, scores, (product) => rng.at("ranks").at(product)),
    cost({ ranks: most }) {
      const frozen = flopsOf(side, ({ inputs, outputs }) => inputs * outputs);
      const added = flopsOf(side, ({ inputs, outputs }) => active(ranks, most as number) * (inputs + outputs));
      // What is frozen has no gradient of its own, only one that passes through.
      return { training: 2 * frozen + 3 * added, forward: frozen + added };
    },
    memory({ ranks: most }, pictures) {
      // What each product reads and gives, and what its ranks see, forward and back; parameters, gradient, moments.
      const numbers = products.reduce(
        (sum, { inputs, outputs }) => sum + inputs + outputs + active(ranks, most as number),
        0,
      );
      return 4 * (2 * pictures * side ** 2 * numbers + 4 * layout.size + shape.base.length);
    },
    evaluation: {
      outputs: ({ restored, ranks: routed, present }) => ({
        restored: restored!,
        ...(routed && { chosen: rankCount(routed.products, present()) }),
      }),
      sums({ restored, chosen }, { inputs: { high }, lossPositions }) {
        const pixels = 4 * side ** 2;
        const of = (values: unknown, row: number) =>
          (values as Float32Array).subarray(row * pixels, (row + 1) * pixels);
        const psnr = lossPositions.reduce((sum, row) => sum + decibels(of(restored, row), of(high, row)), 0);
        return { psnr, ...(chosen && { ranks: (chosen as Float32Array)[0]! / products.length }) };
      },
    },
    checkVariant({ ranks: most }) {
      const isPossible = Number.isInteger(most) && Number(most) >= 1;
      invariant(isPossible, () => `ranks: expected 1 or more, got ${most}`);
    },
    countProblem(counts, pictures) {
      const most = counts.reduce((a, b) => Math.max(a, b), 0);
      return most <= pictures ? null : `a group was used ${most} times by ${pictures} pictures`;
    },
    pass: (graph, { parameters }, variant, batch) => passOf(shape, graph, parameters, variant, batch),
  };
}

/** Ranks that a picture uses of each product, zero slots left aside. */
const active = ({ shared, routed }: Ranks, most: number): number => shared + Math.min(most, routed);

const flopsOf = (side: number, each: (product: Product) => number): number =>
  products.reduce((sum, product) => sum + 2 * side ** 2 * each(product), 0);

function passOf(
  { ranks, scale: factor, side, base }: RestoreShape,
  graph: Graph,
  parameters: Tensor,
  variant: Variant,
  { clients, rows: each }: BatchShape,
): Pass {
  const rows = clients * each;
  const pixels = 4 * side ** 2;
  const pictures = graph.symbol("pictures");
  const batch = {
    low: graph.input("low", "float32", [(rows * pixels) / 4]),
    high: graph.input("high", "float32", [rows, pixels]),
    degradation: graph.input("degradation", "float32", [rows * scores]),
    positions: graph.input("positions", "int32", [pictures]),
  };
  const degradation = reshape(batch.degradation, [rows, scores]);
  const choice: RankChoice = {
    ranks,
    scale: factor,
    most: variant.ranks as number,
    gateNorm: variant.gates === "none" ? "none" : "topk",
    clients,
  };
  const changes = rankedChanges(choice, products, parameters, degradation);
  const output = restored(
    graph.constant([...base], [base.length]),
    reshape(batch.low, [rows, side ** 2, 1]),
    side,
    changes.map(({ of }) => of),
  );
  const ofPictures = (t: Tensor) => gatherRows(t, batch.positions);
  const errors = reduceMean(square(sub(output, batch.high)), [1], true);
  const losses = reshape(ofPictures(scale(errors, 0.5 / sigma ** 2)), [pictures]);
  const ones = less(graph.constant([-1], [1]), cast(batch.positions, "float32"));
  const present = () => scatterAddRows(ones, batch.positions, rows);
  const routings = changes.flatMap(({ routing }) => (routing === null ? [] : [routing]));
  return {
    batch,
    losses,
    client: () => integerDivide(batch.positions, each),
    example: () => batch.positions,
    // The one class there is, as likely as the loss says.
    logits: reshape(scale(losses, -1), [pictures, 1]),
    present,
    counts: countsOf(ranks, routings, present(), clients),
    ...(routings.length > 0 && { ranks: { products: routings, severity: reduceMean(degradation, [1], true) } }),
    restored: clip(output, 0, 1),
  };
}

/** Of each routed rank the pictures that chose it, of shared ranks and routers all: `[groups · clients]` int64. */
function countsOf(ranks: Ranks, routings: readonly RankPass[], present: Tensor, clients: number): Tensor {
  const [rows] = present.shape as [number];
  const column = reshape(present, [rows, 1]);
  const all = (has: boolean): Tensor[] => (has ? products.map(() => column) : []);
  const chosen = routings.map((routing) => mul(realOf(routing), column));
  const used = concat([...chosen, ...all(ranks.shared > 0), ...all(ranks.routed > 0)], 1);
  const groups = used.shape[1] as number;
  const ofClients = reduceSum(reshape(used, [clients, rows / clients, groups]), [1]);
  return cast(reshape(transpose(ofClients, [1, 0]), [groups * clients]), "int64");
}

/** How many routed ranks all rows chose, over all products, `[1]`. */
function rankCount(routings: readonly RankPass[], present: Tensor): Tensor {
  const [rows] = present.shape as [number];
  const chosen = routings.map((routing) => reduceSum(realOf(routing), [1], true)).reduce(add);
  return reduceSum(mul(reshape(chosen, [rows]), present), [0], true);
}
