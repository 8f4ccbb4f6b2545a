/**
 * Adapters beside the experts: in each layer a pool of small two-layer experts with a router of its own, next to the
 * whole frozen mixture, in the place of LoRA on its experts.
 *
 *   E_m(x) = V_m·silu(U_m·x + u_m) + v_m          U_m [hidden, width], V_m [width, hidden], x what the mixture reads
 *   p = softmax(R·x),  T = the k largest of p,  g_m = p_m ÷ Σ_{j∈T} p_j, or p_m as it is
 *   h ← h + mixture(x) + Σ_{m∈T} g_m·E_m(x)
 *
 * V_m and v_m start at zero, so that the first round begins with the base model. All experts are computed and those
 * outside T weighted by 0: together they are narrower than one expert of the base, and two plain products are faster
 * than sorting rows.
 *
 * They are one flat `Float32Array`: layer after layer, and in each layer these blocks.
 *
 *   up        [experts, hidden, width]     U
 *   upBias    [experts, hidden]            u
 *   down      [experts, hidden, width]     V, transposed
 *   downBias  [experts, width]             v
 *   router    [experts, width]             R
 *
 * Hu et al., "FFT-MoE", 2025, https://arxiv.org/abs/2508.18663; the form of the experts is ours.
 */
import type { Rng } from "../base/random.ts";
import type { Tensor } from "../tensor/graph/ir.ts";
import { add, addScalar, cast, div, mul, reduceSum, scale, swiglu } from "../tensor/ops/arithmetic.ts";
import { detach, less } from "../tensor/ops/discrete.ts";
import { scatterColumns, topK } from "../tensor/ops/index-ops.ts";
import { reshape, split, transpose } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { softmax } from "../tensor/ops/nn.ts";
import { type ModelConfig, sparseLayers } from "./config.ts";

export interface BesideConfig {
  /** M, small experts of a layer. */
  readonly experts: number;
  /** h, hidden units of each. */
  readonly width: number;
}

/** A stretch of the flat vector: `[start, end)`. */
interface Range {
  readonly start: number;
  readonly end: number;
}

const blockNames = ["up", "upBias", "down", "downBias", "router"] as const;
type BlockName = (typeof blockNames)[number];

export interface BesideLayout {
  readonly beside: BesideConfig;
  readonly layers: number;
  /** Elements of the flat vector. */
  readonly size: number;
  /** All experts of a layer as one matrix, by block, in the order of the flat vector within a layer. */
  readonly blocks: readonly { readonly name: BlockName; readonly rows: number; readonly columns: number }[];
  /** Where expert number layer · experts + m lies in a block; in `router` its row. */
  range(name: BlockName, expert: number): Range;
}

export function besideLayout(model: ModelConfig, beside: BesideConfig): BesideLayout {
  const d = model.width;
  const layers = sparseLayers(model).length;
  const { experts, width: hidden } = beside;
  const blocks: BesideLayout["blocks"] = [
    { name: "up", rows: experts * hidden, columns: d },
    { name: "upBias", rows: 1, columns: experts * hidden },
    { name: "down", rows: experts * hidden, columns: d },
    { name: "downBias", rows: experts, columns: d },
    { name: "router", rows: experts, columns: d },
  ];
  const sizes = blocks.map(({ rows, columns }) => rows * columns);
  const perLayer = sizes.reduce((sum, size) => sum + size, 0);
  return {
    beside,
    layers,
    size: layers * perLayer,
    blocks,
    range(name, expert) {
      const block = blockNames.indexOf(name);
      const before = sizes.slice(0, block).reduce((sum, size) => sum + size, 0);
      const size = sizes[block]! / experts;
      const start = Math.floor(expert / experts) * perLayer + before + (expert % experts) * size;
      return { start, end: start + size };
    },
  };
}

/** U and R uniform in ±1/√width, all else zero. Each expert has a stream of its own. */
export function initialBeside(layout: BesideLayout, rng: Rng, member = 0): Float32Array {
  const { layers, beside, size, range, blocks } = layout;
  const parameters = new Float32Array(size);
  for (const name of ["up", "router"] as const) {
    const bound = 1 / Math.sqrt(blocks[0]!.columns);
    for (let expert = 0; expert < layers * beside.experts; expert++) {
      const draws = rng.at(`beside ${name}`, member).at(expert);
      const { start, end } = range(name, expert);
      for (let i = start; i < end; i++) parameters[i] = bound * (2 * draws.uniform() - 1);
    }
  }
  return parameters;
}

export interface BesideChoice {
  readonly layout: BesideLayout;
  readonly clients: number;
  /** k, small experts that a token keeps, 0 ≤ k ≤ M; with 0 the pool says nothing. */
  readonly kept: number;
  /** Whether the kept weights are divided by their sum. */
  readonly renormalise: boolean;
}

/** What a layer's pool makes of its tokens. */
export interface BesideOutput {
  /** `[tokens, width]`, to be added to what the mixture gives. */
  readonly output: Tensor;
  /** p of each token, `[tokens, experts]`. */
  readonly probabilities: Tensor;
  /** Tokens that kept each expert, padding left out: `[experts · clients]` int64. */
  readonly counts: Tensor;
}

/**
 * @param parameters `[size]`, or `[clients, size]`
 * @param padding `[tokens]` int32, 0 at a token
 * @returns the pool of each layer, as a function of what its mixture reads, `[tokens, width]`, client after client
 */
export function besideLayers(
  { layout, clients, kept, renormalise }: BesideChoice,
  parameters: Tensor,
  padding: Tensor,
): ((x: Tensor) => BesideOutput)[] {
  const { experts, width: hidden } = layout.beside;
  const lead = clients === 1 ? [] : [clients];
  const { blocks } = layout;
  const sizes = blocks.map(({ rows, columns }) => rows * columns);
  const parts = split(parameters, -1, Array.from({ length: layout.layers }, () => sizes).flat());
  return Array.from({ length: layout.layers }, (_, layer) => (all: Tensor) => {
    const [tokens, d] = all.shape as [number, number];
    const each = tokens / clients;
    const [up, upBias, down, downBias, router] = blocks.map(({ rows, columns }, block) =>
      reshape(parts[layer * blocks.length + block]!, [...lead, rows, columns]),
    ) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const x = reshape(all, [...lead, each, d]);
    const probabilities = softmax(matmul(x, router, { transposeB: true }));
    const isKept = keptOf(probabilities, kept);
    const raw = mul(probabilities, isKept);
    const gates = renormalise && kept > 0 ? div(raw, reduceSum(raw, [-1], true)) : raw;
    const units = add(matmul(x, up, { transposeB: true }), upBias);
    const activated = reshape(swiglu(units, onesLike(units)), [...lead, each, experts, hidden]);
    const weighted = reshape(mul(activated, reshape(gates, [...lead, each, experts, 1])), [
      ...lead,
      each,
      experts * hidden,
    ]);
    const output = add(matmul(weighted, down), matmul(gates, downBias));
    const present = reshape(isToken(padding), [...lead, each, 1]);
    const counts = reduceSum(mul(isKept, present), [-2]);
    const byExpert = clients === 1 ? counts : transpose(counts, [1, 0]);
    return {
      output: reshape(output, [tokens, d]),
      probabilities: reshape(probabilities, [tokens, experts]),
      counts: cast(reshape(byExpert, [experts * clients]), "int64"),
    };
  });
}

/** 1 for the `kept` most probable of each token. */
function keptOf(probabilities: Tensor, kept: number): Tensor {
  if (kept === 0) return scale(detach(probabilities), 0);
  const { values, indices } = topK(probabilities, kept);
  return detach(scatterColumns(onesLike(values), indices, probabilities.shape.at(-1) as number));
}

/** 1 at a token and 0 at padding, `[tokens, 1]`. */
export function isToken(padding: Tensor): Tensor {
  const column = reshape(cast(padding, "float32"), [padding.shape[0]!, 1]);
  return less(column, padding.node.graph.constant([0.5], [1]));
}

/** silu(x) = x·σ(x) is a gated unit whose other half is 1. */
const onesLike = (x: Tensor): Tensor => addScalar(scale(detach(x), 0), 1);
