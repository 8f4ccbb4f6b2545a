/** Small updates and an aggregation in one call, for tests of strategies. */
import assert from "node:assert/strict";
import { clientId, participationId, round } from "../../src/base/ids.ts";
import type { AggregationStrategy, GlobalState } from "../../src/fl/strategy.ts";
import type { Update } from "../../src/fl/update.ts";
import { type AdapterLayout, adapterLayout } from "../../src/model/adapter.ts";
import type { ModelConfig } from "../../src/model/config.ts";

const model: ModelConfig = {
  vocabulary: 16,
  layers: 2,
  width: 2,
  heads: 1,
  keyValueHeads: 1,
  experts: 3,
  expertWidth: 1,
  topK: 2,
  maxTokens: 8,
  ropeTheta: 10_000,
  normEpsilon: 1e-5,
  normTopK: false,
  tiedEmbeddings: false,
  attentionBias: false,
  clipQkv: null,
};

/** Two layers of three experts, nine adapter elements each. */
export const layout: AdapterLayout = adapterLayout(model, { rank: 1, alpha: 2 });
export const experts = layout.layers * layout.experts;

export interface UpdateSketch {
  client?: number;
  topK?: number;
  examples?: number;
  tokens?: number;
  /** Count of every expert, or one for all. */
  active?: number | readonly number[];
  base?: Float32Array;
  /** Trained values; or a delta for every element of an expert, one for all or one per expert. */
  values?: Float32Array;
  delta?: number | readonly number[];
  discount?: number;
  clip?: number;
}

export function makeUpdate(sketch: UpdateSketch = {}): Update {
  const { client = 0, topK = 2, examples = 1, tokens = 10, active = 5, delta = 1, discount = 1 } = sketch;
  const base = sketch.base ?? new Float32Array(layout.size);
  const activations = Uint32Array.from({ length: experts }, (_, e) =>
    typeof active === "number" ? active : active[e]!,
  );
  const values = sketch.values ?? base.slice();
  if (sketch.values === undefined) {
    for (let e = 0; e < experts; e++) {
      for (const { start, end } of layout.ranges(e)) {
        for (let i = start; i < end; i++) values[i]! += typeof delta === "number" ? delta : delta[e]!;
      }
    }
  }
  return {
    client: clientId(client),
    participation: participationId(client),
    round: round(1),
    topK,
    examples,
    values,
    base,
    rescaler: Float32Array.of(1, 1),
    activations,
    tokens,
    firstLoss: 2,
    meanLoss: 1,
    discount,
    ...(sketch.clip === undefined ? {} : { clip: sketch.clip }),
  };
}

export const zeros: GlobalState = { adapter: new Float32Array(layout.size), moments: {} };

export function aggregate(strategy: AggregationStrategy, state: GlobalState, updates: readonly Update[]): GlobalState {
  const sum = strategy.init(layout);
  for (const update of updates) strategy.accumulate(sum, update, layout);
  return strategy.finish(sum, state, layout);
}

/** The first element of one expert. */
export const at = ({ adapter }: GlobalState, expert: number): number => adapter[layout.ranges(expert)[0]!.start]!;

export const elementsOf = (values: Float32Array, expert: number): number[] =>
  layout.ranges(expert).flatMap(({ start, end }) => [...values.subarray(start, end)]);

/** Absolute tolerance; the default is a few float32 roundings of a number near 1. */
export function assertClose(actual: number, expected: number, tolerance = 3e-7, what = ""): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what} ${actual} is not within ${tolerance} of ${expected}`);
}
