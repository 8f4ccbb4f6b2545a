/**
 * Pre-gating: a frozen mixture of experts, and one router ahead of all layers in the place of theirs.
 *
 *   h ← h + Σ_{j∈T_l} p_lj·E_lj(x),   p_l = softmax(G_l(x_≤t)),   T_l = the k largest of p_l
 *
 * G_l is a head of its own for each layer, or the same for all (`shared`), in which expert j of one layer has to stand for
 * expert j of every other. With `teacher: 1` the mixture goes by its own routers, whose probabilities are what G learns from.
 * A budget is how many experts a token activates. Read-ME, Cai et al., 2024, https://arxiv.org/abs/2410.19123; that a
 * mixture is the teacher is ours.
 */
import { invariant } from "../../base/errors.ts";
import { countParameters, forwardFlops } from "../../model/accounting.ts";
import { baseWeightShapes } from "../../model/base-weights.ts";
import { isToken } from "../../model/beside.ts";
import { type ModelConfig, sparseLayers } from "../../model/config.ts";
import type { FlatTensor } from "../../model/formats/flat-tensors.ts";
import { headAt } from "../../model/head.ts";
import { type ForwardOptions, forward } from "../../model/transformer.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { sizeOf } from "../../tensor/graph/shape.ts";
import { add, addScalar, cast, mul, reduceSum, scale } from "../../tensor/ops/arithmetic.ts";
import { integerDivide } from "../../tensor/ops/discrete.ts";
import { scatterColumns, topK } from "../../tensor/ops/index-ops.ts";
import { concat, reshape, split } from "../../tensor/ops/layout.ts";
import { softmax } from "../../tensor/ops/nn.ts";
import { factsOf } from "../facts.ts";
import { checkTokens } from "../llm/counts.ts";
import { tokenInputs } from "../llm/task.ts";
import {
  initialRouter,
  type RouterOptions,
  type RouterShape,
  routerFlops,
  routerLogits,
  routerShape,
} from "../refactor/router.ts";
import type { BatchShape, Pass, Task, Variant } from "../task.ts";

export interface PregatingOptions {
  readonly config: ModelConfig;
  readonly heads: "shared" | "perLayer";
  readonly router: RouterOptions;
}

export interface PregatingTask extends Task {
  readonly tensors: readonly FlatTensor[];
}

export function pregatingTask({ config, heads, router }: PregatingOptions): PregatingTask {
  const { experts, width, topK: full } = config;
  const layers = sparseLayers(config).length;
  const shape = routerShape(config, heads === "shared" ? experts : layers * experts, router);
  let start = 0;
  const tensors = shape.shapes.map(([name, dims]): FlatTensor => {
    start += sizeOf(dims);
    return { name: `router.${name}`, shape: dims, start: start - sizeOf(dims) };
  });
  const head = tensors.find(({ name }) => name === "router.head")!;
  const ofHeads = { start: head.start, end: head.start + sizeOf(head.shape) };
  const rest = [
    { start: 0, end: ofHeads.start },
    { start: ofHeads.end, end: shape.size },
  ].filter(({ start, end }) => end > start);
  const groups = [
    { name: "router, blocks", ranges: rest },
    { name: "router, heads", ranges: [ofHeads] },
  ];
  const layout = { size: shape.size, groups, pairs: [] };
  return {
    layout,
    tensors,
    abilities: factsOf("pregating").abilities,
    budget: { full, variant: (k) => ({ topK: k }) },
    padding: experts,
    personal: 0,
    initial: (rng) => initialRouter(shape, rng),
    cost({ topK: k, teacher }) {
      const choosing = routerFlops(shape);
      // Its own routers rest, unless they teach: nothing goes back through the model.
      const gated = forwardFlops(config, k as number) - 2 * layers * experts * width + choosing;
      return { training: forwardFlops(config, full) + 3 * choosing, forward: teacher === 1 ? gated + choosing : gated };
    },
    memory: (_variant, tokens) =>
      4 * (countParameters(config).total + 4 * shape.size + tokens * (12 * width * router.blocks + config.vocabulary)),
    evaluation: {
      outputs(pass) {
        const { losses, agreed } = pass.ownGates!();
        const present = pass.tokens!();
        return {
          own: reduceSum(losses, [0], true),
          agreed: reduceSum(mul(agreed, present), [0]),
          tokens: reduceSum(present, [0]),
        };
      },
      sums: ({ own, agreed, tokens }, { targets }) => ({
        own: Number(own![0]),
        targets: targets.length,
        agreed: Number(agreed![0]),
        tokens: Number(tokens![0]),
      }),
    },
    checkVariant({ topK: k }) {
      const isPossible = Number.isInteger(k) && Number(k) >= 1 && Number(k) <= experts;
      invariant(isPossible, () => `topK: expected 1 to ${experts}, got ${k}`);
    },
    checkBatch: (batch) => checkTokens(batch, config),
    pass: (graph, { parameters }, variant, batch) => passOf(config, shape, graph, parameters, variant, batch),
  };
}

function passOf(
  config: ModelConfig,
  shape: RouterShape,
  graph: Graph,
  parameters: Tensor,
  variant: Variant,
  { clients, rows, length }: BatchShape,
): Pass {
  const { experts } = config;
  const layers = sparseLayers(config).length;
  const batch = tokenInputs(graph, clients * rows, length);
  const shapes = baseWeightShapes(config);
  const weight = (name: string) => graph.weight(name, shapes.get(name)!);
  const owned = eachOf(parameters, clients).map((one) => reshape(one, [shape.size]));
  const ids = eachOf(batch.ids, clients);
  const said = owned.map((one, client) => routerLogits(shape, one, weight("embed"), ids[client]!));
  const all = said.length === 1 ? said[0]! : concat(said, 0);
  const gates = shape.experts === experts ? [all] : split(all, 1, new Array<number>(layers).fill(experts));
  const active = variant.topK as number;
  const options = { config, rows: clients * rows, length, topK: active, weight };
  const one = graph.constant([1], [1]);
  const gated: ForwardOptions = {
    ...options,
    adapted: {
      rescaler: Array.from({ length: layers }, () => one),
      logits: (layer) => (gates.length === 1 ? gates[0]! : gates[layer]!),
    },
  };
  /** The mixture by its own routers, with as many experts. */
  const own = () => forward(options, batch.ids, batch.padding);
  const { hidden } = variant.teacher === 1 ? own() : forward(gated, batch.ids, batch.padding);
  const head = headAt(options, hidden, batch.positions, batch.targets);
  const present = isToken(batch.padding);
  const ofClients = cast(reduceSum(reshape(present, [clients, rows * length]), [1]), "int64");
  const counts = concat([ofClients, ofClients], 0);
  return {
    batch,
    losses: head.losses(),
    client: () => integerDivide(batch.positions, rows * length),
    example: () => integerDivide(batch.positions, length),
    get logits() {
      return head.logits();
    },
    predicted: head.predicted,
    present: () => {
      const firsts = reshape(present, [clients * rows, length]);
      return reshape(length === 1 ? firsts : split(firsts, 1, [1, length - 1])[0]!, [clients * rows]);
    },
    counts,
    routers: gates.map((logits) => ({ logits, probabilities: softmax(logits), counts })),
    teachers: () => own().routers.map(({ probabilities }) => probabilities),
    ownGates() {
      const { hidden, routers } = own();
      const chosen = (probabilities: Tensor) => {
        const { values, indices } = topK(probabilities, active);
        return scatterColumns(addScalar(scale(values, 0), 1), indices, experts);
      };
      const both = routers.map(({ probabilities }, layer) => {
        const pre = softmax(gates.length === 1 ? gates[0]! : gates[layer]!);
        return reduceSum(mul(chosen(probabilities), chosen(pre)), [1], true);
      });
      return {
        losses: headAt(options, hidden, batch.positions, batch.targets).losses(),
        agreed: scale(both.reduce(add), 1 / (layers * active)),
      };
    },
    tokens: () => present,
  };
}

/** The rows of each client. */
function eachOf(x: Tensor, clients: number): readonly Tensor[] {
  if (clients === 1) return [x];
  return split(x, 0, new Array<number>(clients).fill((x.shape[0] as number) / clients));
}
