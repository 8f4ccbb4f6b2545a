/**
 * Any strategy behind a bound on what one client can change.
 *
 *   Δ_i ← Δ_i · min(1, C / ‖Δ_i‖₂)         one norm over all parameters
 *
 * McMahan et al., "Learning Differentially Private Recurrent Language Models", 2018. https://arxiv.org/abs/1710.06963
 */
import { z } from "zod";
import { parseSpec } from "../base/problem.ts";
import type { Strategy } from "./strategy.ts";
import { clipUpdate } from "./update.ts";

export const clipNormField = z.number().positive();

/** @param options `norm` is C > 0, in the unit of parameters */
export function clipped<Sum>(strategy: Strategy<Sum>, { norm }: { norm: number }): Strategy<Sum> {
  const clipNorm = parseSpec("strategy.clipNorm", clipNormField, norm);
  return {
    ...strategy,
    name: `${strategy.name}+clip(${clipNorm})`,
    spec: { ...strategy.spec, clipNorm },
    fold: (sum, update, setting, at) => strategy.fold(sum, clipUpdate(update, clipNorm), setting, at),
  };
}
