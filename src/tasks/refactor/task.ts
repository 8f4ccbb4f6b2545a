/**
 * The refactoring task: a frozen dense model whose MLPs are cut into experts, and one router ahead of all layers.
 *
 *   y_l = Down·(act_l ⊙ m_l(t)),   m_l(t) = Σ over the chosen experts c of w_c·m_l^c
 *
 * with w = 1 and the sum cut off at 1 (`union`), or w = softmax of G over the chosen (`sum`); for one expert that is
 * the same. A budget is how many experts a device has slots for: those with the lowest numbers, among which the router
 * then chooses. `slots: 0` is the dense model. With `gains: 1` masks may be other numbers than 0 and 1, which a step learns
 * with `trains: "experts"`: a union then has the mean of the chosen experts that keep a channel. Parameters are the router and the masks, all ones at first: before it is
 * cut, the model is the dense one. Read-ME, Cai et al., 2024, https://arxiv.org/abs/2410.19123.
 */
import { invariant } from "../../base/errors.ts";
import { countParameters } from "../../model/accounting.ts";
import { baseWeightShapes } from "../../model/base-weights.ts";
import { isToken } from "../../model/beside.ts";
import type { ModelConfig } from "../../model/config.ts";
import { denseFlops, denseForward } from "../../model/dense.ts";
import type { FlatTensor } from "../../model/formats/flat-tensors.ts";
import { headAt } from "../../model/head.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { sizeOf } from "../../tensor/graph/shape.ts";
import { addScalar, cast, clip, div, mul, reduceSum, scale } from "../../tensor/ops/arithmetic.ts";
import { detach, integerDivide } from "../../tensor/ops/discrete.ts";
import { scatterColumns, topK } from "../../tensor/ops/index-ops.ts";
import { concat, reshape, split, transpose } from "../../tensor/ops/layout.ts";
import { matmul } from "../../tensor/ops/matrix.ts";
import { softmax } from "../../tensor/ops/nn.ts";
import { factsOf } from "../facts.ts";
import type { ParameterLayout } from "../layout.ts";
import { checkTokens } from "../llm/counts.ts";
import { tokenInputs } from "../llm/task.ts";
import type { BatchShape, Pass, Task, Variant } from "../task.ts";
import { gainsOf, keptIn, masksOf } from "./masks.ts";
import { coveredShare } from "./overlap.ts";
import {
  initialRouter,
  type RouterOptions,
  type RouterShape,
  routerFlops,
  routerLogits,
  routerShape,
} from "./router.ts";

export interface RefactorOptions {
  /** Of the dense model: one expert. */
  readonly config: ModelConfig;
  /** E */
  readonly experts: number;
  /** k, experts of a token. */
  readonly active: number;
  /** ρ, the share of channels that an expert keeps. */
  readonly share: number;
  readonly combine: "union" | "sum";
  readonly router: RouterOptions;
}

export interface RefactorTask extends Task {
  /** What the parameters are, by name: tensors of the router, `[layers, channels]` of each expert's mask. */
  readonly tensors: readonly FlatTensor[];
}

export function refactorTask(options: RefactorOptions): RefactorTask {
  const { config, experts, active, share, router } = options;
  const shape = routerShape(config, experts, router);
  const layout = refactorLayout(options, shape);
  let start = 0;
  const named = (name: string, dims: readonly number[]): FlatTensor => {
    start += sizeOf(dims);
    return { name, shape: dims, start: start - sizeOf(dims) };
  };
  return {
    layout,
    personal: 0,
    pass: (graph, { parameters }, variant, batch) =>
      refactorPass({ ...options, layout }, shape, graph, parameters, variant, batch),
    abilities: factsOf("refactor").abilities,
    budget: { full: experts, variant: (slots) => ({ slots, active: Math.min(active, slots) }) },
    padding: 1,
    initial(rng) {
      const values = new Float32Array(layout.size).fill(1);
      values.set(initialRouter(shape, rng));
      return values;
    },
    cost({ slots, active: chosen, trains }) {
      const { expertWidth } = config;
      const kept = slots === 0 ? expertWidth : Math.min(expertWidth, (chosen as number) * keptOf(config, share));
      const [model, choosing] = [denseFlops(config, kept), routerFlops(shape)];
      // The router learns from the dense model's channels: nothing goes back through the model.
      const learning = trains === "experts" ? choosing : 3 * choosing;
      return { training: (slots === 0 ? model : 2 * model) + learning, forward: model + choosing };
    },
    memory: (_variant, tokens) =>
      4 * (countParameters(config).total + 4 * layout.size + tokens * savedBy(config, shape)),
    evaluation: {
      outputs(pass) {
        const present = pass.tokens!();
        return { agreed: reduceSum(mul(pass.agreed!(), present), [0]), tokens: reduceSum(present, [0]) };
      },
      sums: ({ agreed, tokens }) => ({ agreed: Number(agreed![0]), tokens: Number(tokens![0]) }),
    },
    checkVariant({ slots, active: chosen }) {
      const isDense = slots === 0;
      const possible = isDense || (isWithin(slots, experts) && isWithin(chosen, Number(slots)));
      invariant(possible, () => `slots and active: expected at most ${experts} and slots, got ${slots} and ${chosen}`);
    },
    checkBatch: (batch) => checkTokens(batch, config),
    tensors: [
      ...shape.shapes.map(([name, dims]) => named(`router.${name}`, dims)),
      ...range(experts).map((expert) => named(`mask.${expert}`, [config.layers, config.expertWidth])),
    ],
  };
}

const isWithin = (value: number | string | undefined, most: number): boolean =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) <= most;

/** Numbers of a token that a training step keeps for the way back: those of the router's blocks. */
const savedBy = ({ width, vocabulary }: ModelConfig, { config: { layers, expertWidth } }: RouterShape): number =>
  layers * (12 * width + 3 * expertWidth) + 2 * width + vocabulary;

const keptOf = ({ expertWidth }: ModelConfig, share: number): number => Math.round(share * expertWidth);

function refactorLayout({ config, experts, share }: RefactorOptions, { size }: RouterShape): ParameterLayout {
  const { layers, expertWidth: channels } = config;
  const each = layers * channels;
  const all = range(experts);
  return {
    size: size + experts * each,
    groups: [
      ...all.map((expert) => ({
        name: `expert ${expert}`,
        ranges: [{ start: size + expert * each, end: size + (expert + 1) * each }],
      })),
      { name: "router", ranges: [{ start: 0, end: size }] },
    ],
    pairs: [],
    cut: { layers, channels, kept: keptOf(config, share), router: experts, experts: all },
  };
}

function refactorPass(
  { config, experts, combine, layout }: RefactorOptions & { readonly layout: ParameterLayout },
  shape: RouterShape,
  graph: Graph,
  parameters: Tensor,
  variant: Variant,
  { clients, rows, length }: BatchShape,
): Pass {
  const batch = tokenInputs(graph, clients * rows, length);
  const shapes = baseWeightShapes(config);
  const weight = (name: string) => graph.weight(name, shapes.get(name)!);
  const options = { config, rows: clients * rows, length, weight };
  const isDense = variant.slots === 0;
  const slots = isDense ? experts : (variant.slots as number);
  const own = eachOf(parameters, clients).map((one) => reshape(one, [layout.size]));
  const ids = eachOf(batch.ids, clients);
  const router = (one: Tensor) => split(one, 0, [shape.size, layout.size - shape.size])[0]!;
  const logits = joined(own.map((one, client) => routerLogits(shape, router(one), weight("embed"), ids[client]!)));
  const { weights, chosen } = choiceOf(logits, slots, isDense ? 1 : (variant.active as number), combine);
  const hasGains = variant.gains !== undefined;
  const gains = own.map((one) => (variant.trains === "experts" ? gainsOf : masksOf)(layout, one));
  const masks = hasGains ? gains.map((each) => each.map(keptIn)) : gains;
  const shares = eachOf(weights, clients);
  const kept = range(config.layers).map((layer) => {
    const sumOf = (all: typeof gains) =>
      joined(shares.map((share, client) => matmul(share, firstOf(all[client]![layer]!, 0, slots))));
    const sum = sumOf(gains);
    if (combine === "sum") return sum;
    return hasGains ? div(sum, clip(sumOf(masks), 1, experts)) : clip(sum, 0, 1);
  });
  const { hidden, channels } = denseForward(options, batch.ids, isDense ? undefined : kept);
  // Of experts, only when somebody asks what the dense model would have said.
  const dense = () => (isDense ? channels : denseForward(options, batch.ids).channels);
  const said = headAt(options, hidden, batch.positions, batch.targets);
  const present = isToken(batch.padding);
  const counted = (perToken: Tensor, columns: number) => {
    const sums = reduceSum(reshape(perToken, [clients, rows * length, columns]), [1]);
    return cast(reshape(transpose(sums, [1, 0]), [columns * clients]), "int64");
  };
  const counts = counted(mul(chosen, present), slots);
  const unused = (experts - slots) * clients;
  const idle = graph.constant(new Array<number>(unused).fill(0), [unused], "int64");
  const passed = counted(present, 1);
  return {
    batch,
    losses: said.losses(),
    client: () => integerDivide(batch.positions, rows * length),
    example: () => integerDivide(batch.positions, length),
    get logits() {
      return said.logits();
    },
    predicted: said.predicted,
    // A row that is an example has a token at its first place.
    present: () => reshape(firstOf(reshape(present, [clients * rows, length]), 1, 1), [clients * rows]),
    counts: concat(slots < experts ? [counts, idle, passed] : [counts, passed], 0),
    routers: [{ logits, probabilities: softmax(logits), counts }],
    channels: dense,
    agreed() {
      const covered = joined(
        own.map((_, client) =>
          coveredShare(
            dense().map((act) => eachOf(act, clients)[client]!),
            masks[client]!,
          ),
        ),
      );
      const first = choiceOf(logits, slots, 1, "union").chosen;
      return reduceSum(mul(first, choiceOf(covered, slots, 1, "union").chosen), [1], true);
    },
    tokens: () => present,
  };
}

/**
 * The most probable of the first `slots` experts for each token, ties to the lower.
 *
 * @param logits `[tokens, experts]`
 * @returns `[tokens, slots]`: 1 where an expert is chosen, and what its mask weighs
 */
function choiceOf(logits: Tensor, slots: number, active: number, combine: "union" | "sum") {
  const probabilities = softmax(firstOf(logits, 1, slots));
  const { values, indices } = topK(detach(probabilities), active);
  const chosen = scatterColumns(addScalar(scale(values, 0), 1), indices, slots);
  if (combine === "union" || active === 1) return { chosen, weights: chosen };
  const among = mul(probabilities, chosen);
  return { chosen, weights: div(among, reduceSum(among, [1], true)) };
}

/** The rows of each client. */
function eachOf(x: Tensor, clients: number): readonly Tensor[] {
  if (clients === 1) return [x];
  return split(x, 0, new Array<number>(clients).fill((x.shape[0] as number) / clients));
}

const joined = (parts: readonly Tensor[]): Tensor => (parts.length === 1 ? parts[0]! : concat(parts, 0));

/** Along an axis of a matrix. */
function firstOf(x: Tensor, axis: 0 | 1, count: number): Tensor {
  const size = x.shape[axis] as number;
  return size === count ? x : split(x, axis, [count, size - count])[0]!;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, at) => at);
