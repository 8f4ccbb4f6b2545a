/** What `--plot` asks for: one measure of a study against another. */
import { ScenarioError } from "../../base/errors.ts";
import { prepareRun } from "../../run/run.ts";
import type { ScenarioData } from "../../scenario/schema.ts";
import type { Target } from "../../study/cell.ts";
import type { CellPlan } from "../../study/matrix/plan.ts";
import { factsOf } from "../../tasks/facts.ts";
import { type Measure, type MeasureTable, measureTables } from "./measures.ts";

/**
 * Two measures each, of pairs such as `bytes:loss-mean`.
 *
 * @throws ScenarioError for what is no pair, or is not measured
 */
export function plotted(
  plots: readonly string[],
  tables: readonly MeasureTable[],
): (readonly [x: Measure, y: Measure])[] {
  const measures = tables.flatMap((table) => table.measures);
  const named = (id: string): Measure => {
    const found = measures.find((measure) => measure.id === id);
    if (found !== undefined) return found;
    throw new ScenarioError(`--plot: there is no ${id}, expected ${measures.map((measure) => measure.id).join(", ")}`);
  };
  return plots.map((plot) => {
    const [x, y, ...more] = plot.split(":");
    if (x === undefined || y === undefined || more.length > 0) {
      throw new ScenarioError(
        `--plot is ${plot}, expected one column of the tables against another, as in bytes:loss-mean`,
      );
    }
    return [named(x), named(y)] as const;
  });
}

/** The same before anything is run. @throws ScenarioError for a plot of what no cell will measure */
export async function checkPlots(
  plots: readonly string[],
  cells: readonly CellPlan[],
  { engine, target }: { readonly engine: string; readonly target: Target | null },
): Promise<void> {
  if (plots.length === 0) return;
  const training = cells.flatMap(({ scenario }) => (scenario.data.timingOnly ? [] : [scenario]));
  // Cells of one model whose clients have the same budgets are evaluated at the same budgets.
  const models = new Map(training.map((scenario) => [modelAndBudgets(scenario.data), scenario]));
  const budgets = new Set<number>();
  for (const scenario of models.values()) {
    const { evaluateAt, fleet } = scenario.data;
    // Which of the allowed ones a device gets may differ from cell to cell.
    const allowed = fleet.flatMap(({ budget }) => (typeof budget === "number" ? [] : budget.allowed));
    const evaluated = (await prepareRun(scenario, { engine })).budgets;
    for (const budget of [...evaluated, ...(evaluateAt === undefined ? allowed : [])]) budgets.add(budget);
  }
  const tables = measureTables({
    runs: [],
    budgets: [...budgets].sort((a, b) => b - a),
    tiers: [...new Set(training.flatMap(({ data }) => data.fleet.map(({ name }) => name)))],
    // Without one it is what every run comes to.
    target: target ?? { budget: null, loss: 0 },
    task: factsOf(cells[0]!.scenario.data.task.type),
  });
  plotted(plots, tables);
}

const modelAndBudgets = ({ task, base, fleet, evaluateAt }: ScenarioData): string =>
  JSON.stringify([task, base, evaluateAt ?? fleet.map(({ budget }) => budget)]);
