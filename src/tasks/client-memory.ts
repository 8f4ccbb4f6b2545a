/** How many clients share a call, and what each adds to it. */
import type { RowShape } from "../engine/engine.ts";
import type { MergeLimit } from "../engine/merge-limit.ts";
import { powerOfTwoBelow } from "../engine/merging.ts";
import { peakBytes } from "../tensor/graph/footprint.ts";
import type { Task, Variant } from "./task.ts";
import { trainingStep } from "./training-step.ts";

/** No call is larger: beyond it, devices gain nothing and programs take long to build. */
const mostClients = 256;

/**
 * Clients of one call, by variant and batch: a power of two, so that a handful of programs serves cohorts of every size.
 *
 * @param task as it needs the least memory
 */
export function clientsPerCall(limit: MergeLimit, task: Task): (variant: Variant, shape: RowShape) => number {
  if ("clients" in limit) return () => powerOfTwoBelow(Math.min(mostClients, limit.clients));
  const known = new Map<string, number>();
  return (variant, { rows, length }) => {
    const key = JSON.stringify([variant, rows, length]);
    const most =
      known.get(key) ??
      powerOfTwoBelow(Math.min(mostClients, limit.bytes / clientBytes(task, variant, { rows, length })));
    known.set(key, most);
    return most;
  };
}

/** Bytes that one client adds to a step that is shared: its state, and what lies between forward and backward pass. */
export function clientBytes(task: Task, variant: Variant, { rows, length }: RowShape): number {
  const shape = { clients: 2, rows, length };
  const program = trainingStep(task, variant, shape, { beta1: 0, beta2: 0, epsilon: 1, clip: true, decay: true });
  const all = shape.clients * rows * length;
  return peakBytes(program, (dim) => task.expected?.(dim, variant, shape) ?? all) / shape.clients;
}
