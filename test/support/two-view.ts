/** A small two-view task as strategies see it, with six clients. */
import { clientId, participationId, round as roundOf } from "../../src/base/ids.ts";
import { type Draws, Rng } from "../../src/base/random.ts";
import { emptyMemory, type Invited } from "../../src/fl/plan.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import type { Setting } from "../../src/tasks/task.ts";
import { twoViewTask } from "../../src/tasks/two-view/task.ts";
import { settingOf } from "./quadratic.ts";

export const shape = { inputs: [3, 4], hidden: 5, features: 2, classes: 3 } as const;
export const task = twoViewTask(shape);
export const { layout } = task;
export const [ofA, ofV, ofHead] = layout.groups.map(({ ranges }) => ranges[0]!) as [Range, Range, Range];
type Range = (typeof layout.groups)[number]["ranges"][number];
export const clients = 6;
export const setting: Setting = settingOf(layout, {
  clients,
  budgets: [1, 2, 3],
  examples: (client) => 10 + client,
  variant: task.budget.variant,
  epochs: 4,
});
export const drawsOf = (seed: number): Draws => new Rng(seed).at("bmsfed test").at(0);
export const normals = (seed: number, length: number) => {
  const draws = drawsOf(seed);
  return Float64Array.from({ length }, () => draws.normal());
};

export const parameters = normals(1, layout.size);
export const serverOf = (strategy: Strategy): ServerState => ({
  parameters: Float32Array.from(parameters),
  ...(strategy.init?.(setting) ?? { vectors: {}, notes: null }),
});
export const invited = (client: number, budget: number, given: Partial<Invited> = {}): Invited => ({
  client: clientId(client),
  participation: participationId(client),
  budget,
  examples: setting.examples(client),
  round: roundOf(1),
  memory: emptyMemory,
  draws: () => drawsOf(client),
  ...given,
});

export const part = (values: ArrayLike<number>, { start, end }: Range) => Array.from(values).slice(start, end);
