/** Each task but the language model's, as small as shows anything: what a scenario says of it, and the methods made for it. */
import { digits, pictures } from "../../src/data/images/source.ts";
import { byCategory, iid } from "../../src/data/partition.ts";
import { instructions } from "../../src/data/source.ts";
import { table } from "../../src/data/tables/source.ts";
import type { Spec } from "../../src/fl/define.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";

export interface SmallTask {
  /** Most that a budget can be. */
  readonly budgets: number;
  readonly strategies: readonly Spec[];
  /** @param clients of the whole fleet */
  fields(clients: number): Pick<ScenarioInput, "task" | "data">;
}

const byHand = { partition: iid(), heldOut: 0.2 };

export const smallTasks: Readonly<Record<string, SmallTask>> = {
  vision: {
    budgets: 2,
    strategies: [
      { type: "embracingfl" },
      { type: "scaffold" },
      { type: "shefl", members: 2 },
      { type: "split-mix", bases: 2, minOne: true, order: "best", robust: { steps: 1, use: 0.3 } },
    ],
    fields: () => ({
      task: { type: "vision", network: { type: "cnn", channels: [4] } },
      data: { ...byHand, source: digits() },
    }),
  },
  coloured: {
    budgets: 1,
    strategies: [
      { type: "fl-games" },
      { type: "fl-games", opponents: 1, smooth: "off", optimizer: "sgd", stop: { after: 2, accuracy: 0.3 } },
      { type: "fl-games", smooth: "off", fast: false, play: "sequential", optimizer: "sgd", clipNorm: 1 },
    ],
    fields: (clients) => ({
      task: { type: "coloured", heads: clients, representation: [4], hidden: 2 },
      data: { source: digits(), partition: byCategory() },
    }),
  },
  "two-view": {
    budgets: 3,
    strategies: [{ type: "bmsfed" }, { type: "bmsfed", momentum: 0.9, threshold: 2 }],
    fields: () => ({
      task: { type: "two-view", hidden: 4, features: 3 },
      data: { ...byHand, source: digits() },
    }),
  },
  restore: {
    budgets: 2,
    strategies: [{ type: "mixture-of-ranks" }, { type: "mixture-of-ranks", merge: "products", zeroPenalty: "input" }],
    fields: () => ({
      task: { type: "restore" },
      data: { ...byHand, source: pictures({ examples: 160, side: 16 }) },
    }),
  },
  refactor: {
    budgets: 4,
    strategies: [{ type: "read-me" }, { type: "read-me", alternate: { router: 1, experts: 1 } }],
    fields: () => ({
      task: { type: "refactor", experts: 4, router: { heads: 1, hidden: 8 } },
      data: { ...byHand, source: instructions({ examples: 240 }), maxTokens: 48 },
    }),
  },
  pregating: {
    budgets: 4,
    strategies: [{ type: "read-me-gates" }],
    fields: () => ({
      task: { type: "pregating", heads: "shared", router: { heads: 1, hidden: 8 } },
      data: { ...byHand, source: instructions({ examples: 240 }), maxTokens: 48 },
    }),
  },
  tabular: {
    budgets: 1,
    strategies: [{ type: "fedavg" }, { type: "fedvra", unlabelled: 0.5 }, { type: "fedadam", compress: { keep: 0.5 } }],
    fields: () => ({ task: { type: "tabular" }, data: { ...byHand, source: table("iris") } }),
  },
};
