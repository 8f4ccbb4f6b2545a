/** Any strategy behind a bound on what one client can change. */
import * as z from "zod";
import { parseSpec } from "../../base/problem.ts";
import type { About } from "../about.ts";
import type { Strategy } from "../strategy.ts";
import { clipUpdate } from "../update.ts";

export const aboutClipping: About = {
  adapts: "how much one client can change: the norm of its update",
  formula: `
    Δ_i ← Δ_i · min(1, C / ‖Δ_i‖₂)         one norm over all parameters
  `,
  sends: null,
  keeps: null,
  sources: [
    {
      by: "McMahan et al.",
      title: "Learning Differentially Private Recurrent Language Models",
      year: 2018,
      url: "https://arxiv.org/abs/1710.06963",
    },
  ],
  certainty: "as published",
  reduces: [{ options: { clipNorm: 1e9 }, gives: ["program", "bytes"] }],
};

export const clipNormField = z.number().positive().describe("C, in the unit of parameters");

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
