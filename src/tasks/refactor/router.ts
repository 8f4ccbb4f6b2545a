/**
 * The router ahead of all layers: a small causal transformer whose one answer for a token, G(x_≤t), every layer goes by.
 *
 *   G = RMS(blocks(embed + Δ)[t])·W            Δ starts at 0: its embeddings are the frozen model's at first
 *
 * Read-ME, Cai et al., 2024, https://arxiv.org/abs/2410.19123.
 */
import type { Rng } from "../../base/random.ts";
import { baseWeightShapes } from "../../model/base-weights.ts";
import { type ModelConfig, plainSettings } from "../../model/config.ts";
import { denseFlops, denseForward } from "../../model/dense.ts";
import type { Tensor } from "../../tensor/graph/ir.ts";
import { sizeOf } from "../../tensor/graph/shape.ts";
import { add } from "../../tensor/ops/arithmetic.ts";
import { reshape, split } from "../../tensor/ops/layout.ts";
import { matmul } from "../../tensor/ops/matrix.ts";
import { rmsNorm } from "../../tensor/ops/nn.ts";

export interface RouterOptions {
  /** Transformer blocks. */
  readonly blocks: number;
  readonly heads: number;
  /** Hidden units of each block's MLP. */
  readonly hidden: number;
}

export interface RouterShape {
  /** Its blocks as a dense model of the base's width. */
  readonly config: ModelConfig;
  readonly experts: number;
  /** Name and shape of what trains, in order. */
  readonly shapes: readonly (readonly [name: string, shape: readonly number[]])[];
  readonly size: number;
}

export function routerShape(base: ModelConfig, experts: number, { blocks, heads, hidden }: RouterOptions): RouterShape {
  const { vocabulary, width, maxTokens, ropeTheta, normEpsilon } = base;
  const config: ModelConfig = {
    ...plainSettings,
    ...{ vocabulary, width, maxTokens, ropeTheta, normEpsilon },
    layers: blocks,
    heads,
    keyValueHeads: heads,
    experts: 1,
    expertWidth: hidden,
    topK: 1,
  };
  const shapes = [...baseWeightShapes(config)]
    // Of a head in panels, the first stands for all.
    .filter(([name]) => !name.endsWith(".router") && !/^head\.[1-9]/.test(name))
    .map(([name, shape]): readonly [string, readonly number[]] =>
      name.startsWith("head") ? ["head", [base.width, experts]] : [name, shape],
    );
  return { config, experts, shapes, size: shapes.reduce((sum, [, shape]) => sum + sizeOf(shape), 0) };
}

/**
 * @param parameters `[size]`
 * @param embed of the frozen model, `[vocabulary, width]`
 * @returns G, `[rows · length, experts]`
 */
export function routerLogits({ config, shapes }: RouterShape, parameters: Tensor, embed: Tensor, ids: Tensor): Tensor {
  const [rows, length] = ids.shape as [number, number];
  const sizes = shapes.map(([, shape]) => sizeOf(shape));
  const parts = split(parameters, 0, sizes);
  const own = new Map(shapes.map(([name, shape], at) => [name, reshape(parts[at]!, shape)]));
  const weight = (name: string) => (name === "embed" ? add(embed, own.get(name)!) : own.get(name)!);
  const { hidden } = denseForward({ config, rows, length, weight }, ids);
  return matmul(rmsNorm(hidden, weight("norm"), config.normEpsilon), weight("head"));
}

/** Norms of 1, embeddings of the model; the rest normal with deviation 1 ÷ √inputs, so that it chooses at random. */
export function initialRouter({ shapes, size }: RouterShape, rng: Rng): Float32Array {
  const values = new Float32Array(size);
  let start = 0;
  for (const [index, [name, shape]] of shapes.entries()) {
    const part = values.subarray(start, start + sizeOf(shape));
    start += part.length;
    if (/norm$/i.test(name)) part.fill(1);
    if (name === "embed" || /norm$/i.test(name)) continue;
    const draws = rng.at("initial router", index).at(0);
    const deviation = 1 / Math.sqrt(shape.at(-2)!);
    for (let i = 0; i < part.length; i++) part[i] = deviation * draws.normal();
  }
  return values;
}

/** FLOP of a token's forward pass. */
export const routerFlops = ({ config, experts }: RouterShape): number =>
  denseFlops({ ...config, vocabulary: experts }, config.expertWidth);
