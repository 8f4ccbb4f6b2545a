/** How a client's rank follows from its budget, and what a client of a rank is asked to do. */
import * as z from "zod";
import type { Problem } from "../../../base/problem.ts";
import type { ParameterLayout } from "../../../tasks/layout.ts";
import type { Scope } from "../../../tasks/scope.ts";
import type { Affordable, Setting, Variant } from "../../../tasks/task.ts";
import type { ClientView, Plan } from "../../plan.ts";
import type { Method } from "../../strategy.ts";

const positive = z.number().int().min(1);

/** A value for some budgets, { 8: 16, 4: 8 }. */
export const byBudgetField = <Value extends z.ZodType>(value: Value) =>
  z
    .record(z.string().regex(/^[1-9]\d*$/), value)
    .refine((values) => Object.keys(values).length > 0, { error: "the value of a budget at least" });

/** Of a budget that is not named the value of the next smaller one, and below all the smallest. */
export function valueFor<Value>(values: Readonly<Record<string, Value>>, budget: number): Value {
  const named = Object.keys(values).map(Number);
  const below = named.filter((other) => other <= budget);
  return values[below.length > 0 ? Math.max(...below) : Math.min(...named)]!;
}

export const rankFields = {
  ranks: z
    .union([z.literal("share"), byBudgetField(positive)])
    .default("share")
    .describe(
      "r_k by budget, { 8: 16, 4: 8 }, where one that is not named has that of the next smaller; share: ⌈r·k ÷ K⌉",
    ),
  experts: z
    .enum(["own", "all"])
    .default("own")
    .describe("how many experts a client's tokens activate: its own budget, compute-matched with FLAME, or all K"),
};

export const scaleField = {
  scale: z
    .enum(["constant", "classic"])
    .default("constant")
    .describe("what B·A is multiplied by: the scenario's alpha ÷ r for every rank, or alpha ÷ r_k"),
};

export type RankOptions = z.output<z.ZodObject<typeof rankFields>>;

/** The rank of the layout's pairs. */
export const fullRank = ({ pairs }: Pick<ParameterLayout, "pairs">): number =>
  pairs.reduce((most, { rank }) => Math.max(most, rank), 0);

/** r_k */
export function rankFor(budget: number, { ranks }: RankOptions, { layout, budgets }: Affordable): number {
  const full = fullRank(layout);
  if (ranks === "share") return Math.ceil((full * budget) / budgets.at(-1)!);
  return valueFor(ranks, budget);
}

/** Ranks that the pairs do not have. */
export function rankProblems({ ranks }: RankOptions, { layout }: Setting): Problem[] {
  const full = fullRank(layout);
  return Object.entries(ranks === "share" ? {} : ranks)
    .filter(([, rank]) => rank > full)
    .map(([budget, rank]) => ({ path: `ranks[${budget}]`, text: `is ${rank}, expected at most lora.rank, ${full}` }));
}

/** The smallest rank of all budgets that occur. */
export const smallestRank = (options: RankOptions, setting: Setting): number =>
  Math.min(...setting.budgets.map((budget) => rankFor(budget, options, setting)));

export const variantFor = (budget: number, { experts }: RankOptions, { variant, budgets }: Affordable): Variant =>
  variant(experts === "own" ? budget : budgets.at(-1)!);

/** The first components. All of them are no scope: the plain program, and what it costs. */
export function prefix(
  rank: number,
  { layout }: Affordable,
  scale: "constant" | "classic" = "constant",
): { scope?: Scope } {
  const full = fullRank(layout);
  if (rank === full) return {};
  return { scope: { components: { first: rank, ...(scale === "classic" && { scale: full / rank }) } } };
}

/** Training of the first `rank` components. */
export const planOfRank = (
  { budget }: ClientView,
  rank: number,
  options: RankOptions & { readonly scale?: "constant" | "classic" },
  setting: Setting,
): Plan => ({
  kind: { variant: variantFor(budget, options, setting) },
  ...prefix(rank, setting, options.scale),
});

/** How many of the first components a client had. */
export function rankOfPlan({ scope }: Plan, layout: ParameterLayout): number {
  const components = scope?.components;
  return components !== undefined && "first" in components ? components.first : fullRank(layout);
}

/** What B·A of a plan is multiplied by besides the pair's own scale. */
export const scaleOfPlan = ({ scope }: Plan): number => scope?.components?.scale ?? 1;

/** The global model, activating as many experts as its clients do. */
export const deployingGlobally = (options: RankOptions): Pick<Method, "deploy"> => ({
  deploy: (budget, { parameters }, setting) => ({
    models: [{ parameters, variant: variantFor(budget, options, setting) }],
  }),
});
