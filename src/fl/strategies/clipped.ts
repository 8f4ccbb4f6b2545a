/**
 * Any strategy behind a bound on what one client can change.
 *
 *   Δ_i ← Δ_i · min(1, C / ‖Δ_i‖₂)         one norm over the whole adapter
 *
 * McMahan et al., "Learning Differentially Private Recurrent Language Models", 2018. https://arxiv.org/abs/1710.06963
 */
import { z } from "zod";
import { parseSpec } from "../problem.ts";
import type { AggregationStrategy } from "../strategy.ts";
import type { Update } from "../update.ts";

export const clipNormField = z.number().positive();

/** `norm` is C > 0, in the unit of adapter values. */
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

/** The same update with the factor that brings its delta's norm down to at most `norm`. */
export function clipUpdate(update: Update, norm: number): Update {
  const length = deltaNorm(update);
  return length <= norm ? update : { ...update, clip: (update.clip ?? 1) * (norm / length) };
}

/** ‖Δ‖₂ of what is left of the delta after clips so far. */
export function deltaNorm({ values, base, clip = 1 }: Update): number {
  let square = 0;
  for (let i = 0; i < values.length; i++) {
    const delta = values[i]! - base[i]!;
    square += delta * delta;
  }
  return clip * Math.sqrt(square);
}
