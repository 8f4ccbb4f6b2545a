/** How many clients of the language model share a call, and what each adds to it. */
import type { MergeLimit } from "../../engine/merge-limit.ts";
import { powerOfTwoBelow } from "../../engine/merging.ts";
import type { LoraConfig } from "../../model/adapter.ts";
import type { ModelConfig } from "../../model/config.ts";
import { peakBytes } from "../../tensor/graph/footprint.ts";
import type { SymbolicDim } from "../../tensor/graph/shape.ts";
import { trainingStep } from "../training-step.ts";
import { llmTask } from "./task.ts";

export interface StepShape {
  readonly rows: number;
  readonly length: number;
  readonly topK: number;
}

/** No call is larger: beyond it, devices gain nothing and programs take long to build. */
const mostClients = 256;

/**
 * Clients of one call: a power of two, so that a handful of programs serves cohorts of every size.
 *
 * @param shape rows, length and budget of each client's step
 */
export function clientsPerCall(limit: MergeLimit, config: ModelConfig, lora: LoraConfig, shape: StepShape): number {
  if ("clients" in limit) return powerOfTwoBelow(Math.min(mostClients, limit.clients));
  return powerOfTwoBelow(Math.min(mostClients, limit.bytes / clientBytes(config, lora, shape)));
}

/** Bytes that one client adds to a step that is shared: its state, and what lies between forward and backward pass. */
export function clientBytes(config: ModelConfig, lora: LoraConfig, { rows, length, topK }: StepShape): number {
  const clients = 2;
  const options = { beta1: 0, beta2: 0, epsilon: 1, clip: true, decay: true };
  const task = llmTask({ config, lora, form: "factored" });
  const program = trainingStep(task, { topK }, { clients, rows, length }, options);
  return peakBytes(program, expectedSizes(config, { rows, length, topK }, clients)) / clients;
}

/** What the sizes known at run time can be expected to be: all loss, no padding. */
const expectedSizes =
  ({ experts }: ModelConfig, { rows, length, topK }: StepShape, clients: number) =>
  ({ symbol, groups }: SymbolicDim): number => {
    const tokens = rows * length;
    if (groups !== undefined) return clients * tokens * topK;
    // The fullest of 16 experts of 24 clients received 1.5, 2, 3 and 4.5 times its share with k = 8, 4, 2 and 1, and a token
    // never twice.
    if (symbol.startsWith("longest")) return Math.min(tokens, Math.ceil(((1 + 4 / topK) * tokens * topK) / experts));
    return clients * tokens;
  };
