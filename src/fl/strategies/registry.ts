/** Aggregation strategies by name: from plain data to a strategy, and the schema of that data. */
import { registryOf, type Spec } from "../define.ts";
import * as all from "./all.ts";

export * from "./all.ts";

export const strategies = registryOf("strategy", all);
export const { schema: strategySpecSchema, fromSpec: strategyFromSpec } = strategies;

/** What a scenario that names no strategy gets. */
export const usualStrategySpec = { type: all.flame.type } satisfies Spec;
