/**
 * LoRA on the projections q, k, v and o of attention, ΔW = (alpha ÷ rank) · B·A, in every layer, with experts or without.
 * Of each layer the flat vector has, one after the other, where query = heads · hd and keyValue = keyValueHeads · hd:
 *
 *   A of q, k, v   [3·rank, width]
 *   B of q         [query, rank]
 *   B of k         [keyValue, rank]
 *   B of v         [keyValue, rank]
 *   A of o         [rank, query]
 *   B of o         [width, rank]
 */
import type { Tensor } from "../tensor/graph/ir.ts";
import { concat, reshape, split } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { attentionWidths } from "./base-weights.ts";
import type { ModelConfig } from "./config.ts";

interface AttentionPair {
  readonly projection: "q" | "k" | "v" | "o";
  readonly inputs: number;
  readonly outputs: number;
  /** Where A begins in the flat vector, `[rank, inputs]`. */
  readonly a: number;
  /** Where B begins, `[outputs, rank]`. */
  readonly b: number;
}

/** One layer's stretch of the flat vector: `[start, end)`. */
export interface AttentionLayout {
  readonly start: number;
  readonly end: number;
  /** Of q, k, v and o. */
  readonly pairs: readonly [AttentionPair, AttentionPair, AttentionPair, AttentionPair];
}

export function attentionLayout(config: ModelConfig, rank: number, start: number): AttentionLayout {
  const { width } = config;
  const { query, keyValue } = attentionWidths(config);
  const b = start + 3 * rank * width;
  const o = b + rank * (query + 2 * keyValue);
  return {
    start,
    end: o + rank * (query + width),
    pairs: [
      { projection: "q", inputs: width, outputs: query, a: start, b },
      { projection: "k", inputs: width, outputs: keyValue, a: start + rank * width, b: b + rank * query },
      { projection: "v", inputs: width, outputs: keyValue, a: start + 2 * rank * width, b: o - rank * keyValue },
      { projection: "o", inputs: query, outputs: width, a: o, b: o + rank * query },
    ],
  };
}

/** What LoRA adds to the projections of a layer. */
export interface AdaptedAttention {
  /** `[tokens, width]` → `[tokens, query + 2·keyValue]` */
  qkv(x: Tensor): Tensor;
  /** `[tokens, query]` → `[tokens, width]` */
  o(x: Tensor): Tensor;
}

/**
 * @param factors the layer's stretch of the vectors of all clients, whose tokens lie client after client
 * @param scale alpha ÷ rank
 */
export function adaptedAttention(
  { pairs: [q, k, v, o] }: AttentionLayout,
  factors: Tensor,
  { clients, rank, scale }: { readonly clients: number; readonly rank: number; readonly scale: number },
): AdaptedAttention {
  const shapes = [
    [3 * rank, q.inputs],
    ...[q, k, v].map(({ outputs }) => [outputs, rank] as const),
    [rank, o.inputs],
    [o.outputs, rank],
  ] as const;
  const parts = split(
    factors,
    -1,
    shapes.map(([rows, columns]) => rows * columns),
  );
  const [inA, qB, kB, vB, outA, outB] = parts.map((part, at) => reshape(part, [clients, ...shapes[at]!])) as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
  const times = (a: Tensor, b: Tensor, alpha = 1) => matmul(a, b, { transposeB: true, alpha });
  const low = (x: Tensor, a: Tensor) => {
    const [tokens, inputs] = x.shape as [number, number];
    return times(reshape(x, [clients, tokens / clients, inputs]), a);
  };
  const added = (y: Tensor, x: Tensor) => reshape(y, [x.shape[0]!, y.shape[2]!]);
  return {
    qkv(x) {
      const lows = split(low(x, inA), 2, [rank, rank, rank]);
      const products = [qB, kB, vB].map((b, at) => times(lows[at]!, b, scale));
      return added(concat(products, 2), x);
    },
    o: (x) => added(times(low(x, outA), outB, scale), x),
  };
}
