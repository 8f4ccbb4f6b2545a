/** Small updates and an aggregation in one call, for tests of strategies. */
import assert from "node:assert/strict";
import { clientId, participationId, round } from "../../src/base/ids.ts";
import type { ChargeOf } from "../../src/fl/charge.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import type { Update } from "../../src/fl/update.ts";
import { type AdapterLayout, adapterLayout } from "../../src/model/adapter.ts";
import { type ModelConfig, plainSettings } from "../../src/model/config.ts";
import { llmTask, parameterLayout } from "../../src/tasks/llm/task.ts";
import { drawsOf, settingOf, workHere } from "./quadratic.ts";

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
  ...plainSettings,
};

/** Two layers of three experts, nine adapter elements each. */
export const layout: AdapterLayout = adapterLayout(model, { rank: 1, alpha: 2 });
export const experts = layout.layers * layout.experts;
export const setting = settingOf(parameterLayout(layout), {
  clients: 8,
  budgets: [1, 2],
  variant: (topK) => ({ topK }),
  mixture: { topK: 2, expert: 12, rest: 40 },
});

const own = llmTask({ config: model, lora: layout.lora, form: "factored" });
/** What updates have to fit. */
export const task = {
  layout: setting.layout,
  members: 1,
  layers: layout.layers,
  experts: layout.experts,
  task: own,
};

/** For servers whose clients are charged nothing. */
export const free: ChargeOf = () => ({ download: 0, upload: 0, preliminary: null, training: 0, probing: 0 });

export interface UpdateSketch {
  client?: number;
  budget?: number;
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
  const { client = 0, budget = 2, examples = 1, tokens = 10, active = 5, delta = 1, discount = 1 } = sketch;
  const base = sketch.base ?? new Float32Array(layout.size);
  const counts = Float64Array.from({ length: experts }, (_, e) => (typeof active === "number" ? active : active[e]!));
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
    budget: budget,
    examples,
    plan: { kind: { variant: { topK: budget } } },
    values,
    base,
    steps: 1,
    trained: Uint8Array.from(counts, (count) => (count > 0 ? 1 : 0)),
    counts,
    units: tokens,
    personal: Float32Array.of(1, 1),
    sent: {},
    staleness: 0,
    firstLoss: 2,
    meanLoss: 1,
    discount,
    ...(sketch.clip === undefined ? {} : { clip: sketch.clip }),
  };
}

export const stateOf = (parameters: Float32Array, strategy?: Strategy): ServerState => ({
  parameters,
  ...(strategy?.init?.(setting) ?? { vectors: {}, notes: null }),
});
export const zeros = stateOf(new Float32Array(layout.size));

export function aggregate(strategy: Strategy, server: ServerState, updates: readonly Update[]): ServerState {
  const at = { round: round(1), draws: drawsOf(1), work: workHere };
  const sum = strategy.begin(server, setting);
  for (const update of updates) strategy.fold(sum, update, setting, at);
  const next = strategy.finish(sum, server, setting, at);
  assert.ok(!(next instanceof Promise), `${strategy.name} does not finish at once`);
  return next;
}

/** The first element of one expert. */
export const at = ({ parameters }: ServerState, expert: number): number => parameters[layout.ranges(expert)[0]!.start]!;

export const elementsOf = (values: Float32Array, expert: number): number[] =>
  layout.ranges(expert).flatMap(({ start, end }) => [...values.subarray(start, end)]);

/** Absolute tolerance; the default is a few float32 roundings of a number near 1. */
export function assertClose(actual: number, expected: number, tolerance = 3e-7, what = ""): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${what} ${actual} is not within ${tolerance} of ${expected}`);
}
