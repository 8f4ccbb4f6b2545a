/**
 * The language-model task: per-expert LoRA on a frozen sparse mixture of experts. A budget is how many experts a token
 * activates; groups are experts, numbered through the layers that have some, and after them what all tokens pass; personal is
 * one rescaler s_l a layer. A variant `{ from: q }` trains layers q to the last, counted from 1, and no gradient goes below.
 */

import { invariant } from "../../base/errors.ts";
import { expected, type Problem } from "../../base/problem.ts";
import { trainingMemory } from "../../model/accounting.ts";
import { adaptedAttention } from "../../model/adapted-attention.ts";
import { adaptedExperts, type LayerAdapter, type LoraForm } from "../../model/adapted-experts.ts";
import { type AdapterLayout, adapterLayout, type LoraConfig } from "../../model/adapter.ts";
import { baseWeightShapes } from "../../model/base-weights.ts";
import { besideLayers, isToken } from "../../model/beside.ts";
import { type ModelConfig, sparseLayers } from "../../model/config.ts";
import { headAt } from "../../model/head.ts";
import { initialMember } from "../../model/initial-adapter.ts";
import { type ForwardOptions, forward } from "../../model/transformer.ts";
import type { Graph } from "../../tensor/graph/graph.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { add, cast, mul, reduceSum } from "../../tensor/ops/arithmetic.ts";
import { detach, integerDivide, less } from "../../tensor/ops/discrete.ts";
import { concat, reshape, split, transpose } from "../../tensor/ops/layout.ts";
import { matmul } from "../../tensor/ops/matrix.ts";
import { factsOf } from "../facts.ts";
import type { LowRankPair, ParameterLayout } from "../layout.ts";
import { membersOf } from "../members.ts";
import type { Ability, BatchShape, Pass, Task, TaskShape, Variant } from "../task.ts";
import { costOf, expectedSize } from "./cost.ts";
import { checkTokens, countProblem } from "./counts.ts";
import { deltaInput } from "./delta.ts";
import { choiceOf, poolCounts, poolLayout } from "./pools.ts";
import { candidatesAt, type SlicePass, sliceCountProblem, sliceCounts, slicePass, slicesLayout } from "./slices.ts";

export interface LlmOptions {
  readonly config: ModelConfig;
  readonly lora: LoraConfig;
  /** How LoRA is computed; a matter of speed. */
  readonly form: LoraForm;
  /** Its members train one by one: a task is one of them. */
  readonly shape?: TaskShape;
  /** One rescaler for all layers; one a layer unless given. */
  readonly sharedRescaler?: boolean;
}

export interface LlmTask extends Task {
  readonly config: ModelConfig;
  readonly adapter: AdapterLayout;
}

export function llmTask({ config, lora, form, shape, sharedRescaler = false }: LlmOptions): LlmTask {
  const adapter = adapterLayout(config, lora, shape);
  return {
    config,
    adapter,
    layout: memberLayout(adapter),
    abilities: abilitiesWith(lora),
    withheld: (ability) => withheldBy(lora, ability),
    budget: { full: config.topK, variant: (topK) => variantAt(config, lora, topK) },
    padding: config.experts,
    personal: sharedRescaler ? 1 : adapter.layers,
    initial: (rng, member) => initialMember(adapter, rng, member),
    cost: (variant, scope) => costOf({ config, adapter }, variant, scope),
    memory({ topK }, tokens) {
      const { total, weights } = trainingMemory(config, lora, { k: topK as number, tokens, bytesPerWeight: 4 });
      return total - weights;
    },
    expected: (dim, variant, shape) => expectedSize(config, dim, variant, shape),
    checkVariant({ topK }) {
      const possible = Number.isInteger(topK) && Number(topK) >= 1 && Number(topK) <= config.experts;
      invariant(possible, () => `topK: expected 1 to ${config.experts}, got ${topK}`);
    },
    checkBatch: (batch) => checkTokens(batch, config),
    countProblem: (counts, units, variant) =>
      lora.slices ? sliceCountProblem(counts, units) : countProblem(counts, units, variant, adapter),
    pass(graph, { parameters, personal }, variant, shape) {
      return llmPass({ config, adapter, form }, graph, parameters, personal!, variant, shape);
    },
  };
}

/** What asks for layers or experts and nothing else has no place for attention. */
function abilitiesWith({ slices, targets }: LoraConfig): readonly Ability[] {
  const without: readonly Ability[] = targets === "experts-and-attention" ? ["experts-only", "beside", "blocks"] : [];
  return factsOf("llm").abilities.filter(
    (ability) => (ability === "slices") === (slices !== undefined) && !without.includes(ability),
  );
}

function withheldBy({ slices, targets }: LoraConfig, ability: Ability): Problem {
  if (slices !== undefined) return { path: "lora.slices", text: "is given, expected none" };
  if (ability === "slices") return { path: "lora.slices", text: "is not given, expected ranks to choose from" };
  return expected("lora.targets", `"experts"`, targets);
}

/** What a budget runs: so many experts for a token, and where ranks are chosen so many candidates for a prompt. */
export const variantAt = (config: ModelConfig, { slices }: LoraConfig, topK: number): Variant => ({
  topK,
  ...(slices && { ranks: candidatesAt(slices, topK, config) }),
});

/** Of all members. */
export const parameterLayout = (adapter: AdapterLayout): ParameterLayout =>
  membersOf(memberLayout(adapter), adapter.members);

/**
 * A group an expert, each with three pairs: gate, up and down; then a group a router where routers train, and a group the
 * attention of a layer where LoRA lies there.
 */
function memberLayout(adapter: AdapterLayout): ParameterLayout {
  if (adapter.pool !== null) return poolLayout(adapter.pool);
  if (adapter.lora.slices !== undefined) return slicesLayout(adapter);
  const { layers, experts, size, routers, attention, lora } = adapter;
  const { rank } = lora;
  const columns = new Map(adapter.blocks.map((block) => [block.name, block.columns]));
  const rows = new Map(adapter.blocks.map((block) => [block.name, block.rows]));
  const numbers = sparseLayers(adapter.model);
  const groups = Array.from({ length: layers * experts }, (_, expert) => ({
    name: `layer ${numbers[Math.floor(expert / experts)]}, expert ${expert % experts}`,
    ranges: adapter.ranges(expert),
  }));
  const scale = lora.alpha / rank;
  const pairOf = (group: number, nameOfA: "gateUpA" | "downA", nameOfB: "gateB" | "upB" | "downB"): LowRankPair => {
    const inputs = columns.get(nameOfA)!;
    const a = adapter.matrix(nameOfA, group).start + (nameOfB === "upB" ? rank * inputs : 0);
    const b = adapter.matrix(nameOfB, group).start;
    return { group, rank, inputs, outputs: rows.get(nameOfB)!, scale, a, b };
  };
  const pairs = groups.flatMap((_, group) => [
    pairOf(group, "gateUpA", "gateB"),
    pairOf(group, "gateUpA", "upB"),
    pairOf(group, "downA", "downB"),
  ]);
  const ofRouters = routers.map((range, layer) => ({
    name: `layer ${numbers[layer]}, router`,
    ranges: [range],
    always: true as const,
  }));
  const ofAttention = attention.map(({ start, end }, layer) => ({
    name: `layer ${layer}, attention`,
    ranges: [{ start, end }],
    always: true as const,
  }));
  const attentionPairs = attention.flatMap((one, layer) =>
    one.pairs.map(({ inputs, outputs, a, b }): LowRankPair => {
      const group = groups.length + ofRouters.length + layer;
      return { group, rank, inputs, outputs, scale, a, b };
    }),
  );
  const mixtures = Array.from({ length: layers }, (_, layer) => ({
    experts: Array.from({ length: experts }, (_, expert) => layer * experts + expert),
    router: routers.length === 0 ? null : layers * experts + layer,
  }));
  return { size, groups: [...groups, ...ofRouters, ...ofAttention], pairs: [...pairs, ...attentionPairs], mixtures };
}

interface Parts {
  readonly config: ModelConfig;
  readonly adapter: AdapterLayout;
  readonly form: LoraForm;
}

function llmPass(
  { config, adapter, form }: Parts,
  graph: Graph,
  parameters: Tensor,
  personal: Tensor,
  variant: Variant,
  { clients, rows, length }: BatchShape,
): Pass {
  const batch = tokenInputs(graph, clients * rows, length);
  const { pool } = adapter;
  const from = ((variant.from as number | undefined) ?? 1) - 1;
  const {
    layers,
    routers: changes,
    attention,
    rankRouters,
  } = pool === null ? partsOf(parameters, adapter, clients, from) : noParts;
  const bias = variant.masked === undefined ? null : biasInput(graph, adapter, clients);
  const delta = variant.delta === undefined ? null : deltaInput(graph, adapter, clients);
  const each = Array.from({ length: adapter.layers }, () => 1);
  const own = personal.shape.at(-1) === each.length ? split(personal, -1, each) : each.map(() => personal);
  const scales = own.map((scale, layer) => (layer < from ? detach(scale) : scale));
  const forEachToken = (scale: Tensor) => {
    const ones = graph.constant(new Array<number>(rows * length).fill(1), [1, rows * length]);
    return reshape(mul(scale, ones), [clients * rows * length, 1]);
  };
  const weights = baseWeightShapes(config);
  const base: ForwardOptions = {
    config,
    rows: clients * rows,
    length,
    topK: variant.topK as number,
    weight(name) {
      const frozen = graph.weight(name, weights.get(name)!);
      return delta === null ? frozen : delta.onto(name, frozen);
    },
  };
  const sliced =
    adapter.lora.slices === undefined ? null : slicePass(base, adapter, batch, rankRouters, clients, variant);
  const options: ForwardOptions = {
    ...base,
    adapted: {
      rescaler: clients === 1 ? scales : scales.map(forEachToken),
      ...(pool === null
        ? { experts: adaptedExperts({ layout: adapter, clients, ...loraOf(form, sliced) }, layers) }
        : { beside: besideLayers(choiceOf(pool, clients, variant), parameters, batch.padding) }),
      ...(attention.length > 0 && { attention }),
      ...((changes.length > 0 || bias !== null) && {
        logits: (layer, logits, x) => routed(logits, x, changes[layer] ?? null, bias?.layers[layer] ?? null),
      }),
    },
  };
  const { hidden, activations, routers, beside } = forward(options, batch.ids, batch.padding);
  const said = headAt(options, hidden, batch.positions, batch.targets);
  const tokens = () => isToken(batch.padding);
  /** Of the routers that train and of all attention: every token passes each. */
  const passed = () => {
    const ofRouters = routers.map(({ counts }) => tokensOf(counts, config.experts, options.topK));
    return [...(changes.length > 0 ? ofRouters : []), ...attention.map(() => ofRouters[0]!)];
  };
  return {
    batch: { ...batch, ...(bias && { routerBias: bias.input }), ...(delta && { delta: delta.input }) },
    losses: said.losses(),
    client: () => integerDivide(batch.positions, rows * length),
    example: () => integerDivide(batch.positions, length),
    get logits() {
      return said.logits();
    },
    readout: said.logits,
    predicted: said.predicted,
    // A row that is an example has a token at its first place, where padding is 0.
    present: () =>
      less(cast(firstOfRows(batch.padding, clients * rows, length), "float32"), graph.constant([0.5], [1])),
    counts:
      pool !== null
        ? poolCounts(beside, tokens(), clients)
        : sliced !== null
          ? sliceCounts(adapter, routers, sliced, tokens(), clients, options.topK)
          : changes.length + attention.length === 0
            ? activations
            : concat([activations, ...passed()], 0),
    routers,
    ...(pool !== null && { pools: beside }),
    ...(sliced && { ranks: { products: sliced.routings, severity: sliced.severity } }),
    tokens,
  };
}

function firstOfRows(padding: Tensor, rows: number, length: number): Tensor {
  const grid = reshape(padding, [rows, length]);
  return reshape(length === 1 ? grid : split(grid, 1, [1, length - 1])[0]!, [rows]);
}

/** Tokens, padding (0 at a token, `experts` elsewhere), and where the loss lies. */
export function tokenInputs(graph: Graph, rows: number, length: number) {
  const responses = graph.symbol("responses");
  return {
    ids: graph.input("ids", "int32", [rows, length]),
    padding: graph.input("padding", "int32", [rows * length]),
    positions: graph.input("positions", "int32", [responses]),
    targets: graph.input("targets", "int32", [responses]),
  };
}

const noParts = { layers: [], routers: [], attention: [], rankRouters: [] };

/** Gates differ from row to row, so that nothing can be merged. */
const loraOf = (form: LoraForm, sliced: SlicePass | null) =>
  sliced === null ? { form } : { form: form === "merged" ? ("factored" as const) : form, gates: sliced.gates };

/**
 * The layers' factors as parts of the flat adapters, and what changes their routers, `[clients, experts, width]`. Those of
 * layers below `from` are constants.
 */
function partsOf(
  flat: Tensor,
  { layers, experts, blocks, routers, rankRouters, attention, lora: { rank, alpha } }: AdapterLayout,
  clients: number,
  from: number,
) {
  const resting = (part: Tensor, layer: number) => (layer < from ? detach(part) : part);
  const sizes = blocks.map(({ rows, columns }) => experts * rows * columns);
  const ofRest = [...routers, ...rankRouters, ...attention].map(({ start, end }) => end - start);
  const parts = split(flat, -1, [...Array.from({ length: layers }, () => sizes).flat(), ...ofRest]);
  const factors = Array.from({ length: layers }, (_, layer): LayerAdapter => {
    const [gateUpA, gateB, upB, downA, downB] = blocks.map(({ rows, columns }, index) =>
      reshape(resting(parts[layer * blocks.length + index]!, layer), [clients * experts, rows, columns]),
    ) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    if (rankRouters.length === 0) return { gateUpA, gateB, upB, downA, downB };
    const [gate, up, down] = [gateB, upB, downB].map((b) => transpose(b, [0, 2, 1])) as [Tensor, Tensor, Tensor];
    return { gateUpA, gateB: gate, upB: up, downA, downB: down };
  });
  const rest = parts.slice(layers * blocks.length);
  const changes = routers.map(({ start, end }, layer) =>
    reshape(resting(rest[layer]!, layer), [clients, experts, (end - start) / experts]),
  );
  const adapted = attention.map((layout, layer) =>
    adaptedAttention(layout, rest[routers.length + rankRouters.length + layer]!, {
      clients,
      rank,
      scale: alpha / rank,
    }),
  );
  return {
    layers: factors,
    routers: changes,
    attention: adapted,
    rankRouters: rest.slice(routers.length, routers.length + rankRouters.length),
  };
}

/** What is added to the logits of a variant that masks experts: 0, or so little that an expert is out of the question. */
function biasInput(graph: Graph, { layers, experts }: AdapterLayout, clients: number) {
  const input = graph.input("routerBias", "float32", clients === 1 ? [layers * experts] : [clients, layers * experts]);
  const each = split(input, -1, new Array<number>(layers).fill(experts));
  return { input, layers: each.map((bias) => reshape(bias, [clients, 1, experts])) };
}

/** @param x `[tokens, width]`, client after client, as are `change` and `bias` */
function routed(logits: Tensor, x: Tensor, change: Tensor | null, bias: Tensor | null): Tensor {
  const clients = (change ?? bias)!.shape[0] as number;
  const perClient = (t: Tensor) => reshape(t, [clients, (t.shape[0] as number) / clients, t.shape[1]!]);
  const changed =
    change === null ? perClient(logits) : add(perClient(logits), matmul(perClient(x), change, { transposeB: true }));
  return reshape(bias === null ? changed : add(changed, bias), logits.shape);
}

/** Tokens that passed a router, of each client, `[clients]` int64: every one of them went to `topK` experts. */
function tokensOf(counts: Tensor, experts: number, topK: number): Tensor {
  const clients = (counts.shape[0] as number) / experts;
  return integerDivide(reduceSum(reshape(counts, [experts, clients]), [0]), topK);
}
