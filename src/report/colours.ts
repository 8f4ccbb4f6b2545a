/**
 * Colours by meaning. Plots refer to CSS variables, so one drawing serves light and dark pages, screen and paper. A
 * budget keeps its colour through the whole report; a tier wears its budget's colour where the two are one to one.
 */
import type { Outcome } from "../records/counts.ts";
import type { RunRecord } from "./run-folder.ts";

/** How a line or an area is drawn, and what the legend calls it. */
export interface Style {
  readonly label: string;
  readonly colour: string;
  /** Set when the colours start over, so that no two series look the same. */
  readonly dash: string | null;
}

const SERIES = 8;

export function seriesStyle(index: number, label: string): Style {
  return {
    label,
    colour: `var(--s${index % SERIES})`,
    dash: index < SERIES ? null : index < 2 * SERIES ? "6 3" : "2 3",
  };
}

export const outcomeStyle = (outcome: Outcome): Style => ({ label: outcome, colour: `var(--${outcome})`, dash: null });

export interface Palette {
  /** Largest budget first. */
  readonly budgets: ReadonlyMap<number, Style>;
  /** In the scenario's order. */
  readonly tiers: ReadonlyMap<string, Style>;
}

export function paletteOf({ rounds, tiers, task }: Pick<RunRecord, "rounds" | "tiers" | "task">): Palette {
  const { symbol } = task.budget;
  const evaluated = rounds.flatMap(({ evaluations }) => evaluations.map(({ budget }) => budget));
  const ks = [...new Set(evaluated)].sort((a, b) => b - a);
  const budgets = new Map(ks.map((k, i) => [k, seriesStyle(i, `${symbol} = ${k}`)]));
  const own = tiers.map(({ budget }) => budget);
  const oneToOne =
    new Set(own).size === own.length && own.every((k) => k !== null && (ks.length === 0 || budgets.has(k)));
  const byBudget = [...own].sort((a, b) => (b ?? 0) - (a ?? 0));
  const styled = tiers.map(({ name, budget }, i) => {
    const index = oneToOne ? (ks.length === 0 ? byBudget.indexOf(budget) : ks.indexOf(budget!)) : i;
    return [name, seriesStyle(index, budget === null ? name : `${name} (${symbol} = ${budget})`)] as const;
  });
  return { budgets, tiers: new Map(styled) };
}
