/**
 * How the server turns updates into the next global adapter.
 *
 * Updates are accumulated one at a time in ascending order of participation, in float64, so the result depends neither
 * on the number of workers nor on who arrived first.
 */
import type { AdapterLayout } from "../model/adapter.ts";
import type { Update } from "./update.ts";

/** Plain data that names a strategy and its options; `strategyFromSpec` turns it back into one. */
export type StrategySpec = { readonly type: string } & Readonly<Record<string, number | string | boolean>>;

/** What the server carries from round to round: the adapter, and the moments of server optimizers where there are any. */
export interface GlobalState {
  readonly adapter: Float32Array;
  readonly moments: Readonly<Record<string, Float64Array>>;
}

export interface AggregationStrategy<Sum = unknown> {
  /** `flame(t=2)`: for tables and plots. */
  readonly name: string;
  readonly spec: StrategySpec;
  /** Unnormalised weight of the update for expert number `expert` (layer · experts + expert); ≥ 0. */
  weight(update: Update, expert: number): number;
  init(layout: AdapterLayout): Sum;
  accumulate(sum: Sum, update: Update, layout: AdapterLayout): void;
  /** The next state. An expert whose weights sum to zero keeps its values bit for bit. */
  finish(sum: Sum, state: GlobalState, layout: AdapterLayout): GlobalState;
}
