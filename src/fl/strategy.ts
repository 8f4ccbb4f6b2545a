/**
 * How the server turns updates into the next global adapter.
 *
 * Updates are accumulated one at a time in ascending order of participation, in float64, so the result depends neither
 * on the number of workers nor on who arrived first.
 */
import { z } from "zod";
import { parseSpec } from "../base/problem.ts";
import type { AdapterLayout } from "../model/adapter.ts";
import { type Definition, define, type Factory, type Named } from "./define.ts";
import { clipUpdate, type Update } from "./update.ts";

/** What the server carries from round to round: the adapter, and the moments of server optimizers where there are any. */
export interface GlobalState {
  readonly adapter: Float32Array;
  readonly moments: Readonly<Record<string, Float64Array>>;
}

export interface StrategyBehaviour<Sum = unknown> {
  /** Unnormalised weight of the update for expert number `expert` (layer · experts + expert); ≥ 0. */
  weight(update: Update, expert: number): number;
  init(layout: AdapterLayout): Sum;
  accumulate(sum: Sum, update: Update, layout: AdapterLayout): void;
  /** The next state. An expert whose weights sum to zero keeps its values bit for bit. */
  finish(sum: Sum, state: GlobalState, layout: AdapterLayout): GlobalState;
}

export type AggregationStrategy<Sum = unknown> = Named & StrategyBehaviour<Sum>;

const clipNormField = z.number().positive();
/** Any strategy may have it: a bound on the norm of each client's delta. */
const clipping = { clipNorm: clipNormField.exactOptional() };

export const defineStrategy = <const Type extends string, Shape extends z.ZodRawShape, Sum>(
  definition: Definition<Type, Shape, StrategyBehaviour<Sum>>,
): Factory<Type, Shape & typeof clipping, AggregationStrategy<Sum>> =>
  define("strategy", definition, {
    fields: clipping,
    apply(strategy: AggregationStrategy<Sum>) {
      const { clipNorm } = strategy.spec;
      return typeof clipNorm === "number" ? clipped(strategy, { norm: clipNorm }) : strategy;
    },
  });

/**
 * Any strategy behind a bound on what one client can change.
 *
 *   Δ_i ← Δ_i · min(1, C / ‖Δ_i‖₂)         one norm over the whole adapter
 *
 * McMahan et al., "Learning Differentially Private Recurrent Language Models", 2018. https://arxiv.org/abs/1710.06963
 *
 * @param options `norm` is C > 0, in the unit of adapter values
 */
export function clipped<Sum>(strategy: AggregationStrategy<Sum>, { norm }: { norm: number }): AggregationStrategy<Sum> {
  const clipNorm = parseSpec("strategy.clipNorm", clipNormField, norm);
  return {
    name: `${strategy.name}+clip(${clipNorm})`,
    spec: { ...strategy.spec, clipNorm },
    weight: (update, expert) => strategy.weight(update, expert),
    init: (layout) => strategy.init(layout),
    accumulate: (sum, update, layout) => strategy.accumulate(sum, clipUpdate(update, clipNorm), layout),
    finish: (sum, state, layout) => strategy.finish(sum, state, layout),
  };
}
