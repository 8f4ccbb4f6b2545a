/**
 * What a training step keeps in memory, and what follows: how many clients share a call, and whether layers are computed
 * again for the backward pass because the whole forward pass would be too much to keep. The numbers are the same to the bit.
 */
import { sum } from "simple-statistics";
import type { RowShape } from "../engine/engine.ts";
import type { MergeLimit } from "../engine/merge-limit.ts";
import { powerOfTwoBelow } from "../engine/merging.ts";
import type { WeightSource } from "../tensor/executors/executor.ts";
import { peakBytes } from "../tensor/graph/footprint.ts";
import type { Program } from "../tensor/graph/ir.ts";
import { overwritable } from "../tensor/graph/overwritable.ts";
import { sizeOf } from "../tensor/graph/shape.ts";
import { bytesOf, scalesShape } from "../tensor/stored/stored.ts";
import type { Steps } from "./steps.ts";
import type { BatchShape, Task, Variant } from "./task.ts";
import { type StepOptions, trainingStep } from "./training-step.ts";

/** Bytes alive at one time at most, base weights left out; sizes known only at run time are what can be expected. */
export function stepBytes(
  program: Program,
  task: Task,
  variant: Variant,
  shape: BatchShape,
  overwritten?: ReadonlySet<string>,
): number {
  const all = shape.clients * shape.rows * shape.length;
  return peakBytes(program, (dim) => task.expected?.(dim, variant, shape) ?? all, overwritten);
}

export interface FittingStep {
  readonly program: Program;
  /** Bytes of the step that keeps its forward pass, where that is too much and layers are computed again. */
  readonly tooLarge: number | null;
}

/** @param memory bytes that a step may take before it computes layers again */
export function fittingStep(
  task: Task,
  variant: Variant,
  shape: BatchShape,
  options: StepOptions,
  memory: number,
  steps: Steps = {},
): FittingStep {
  const program = trainingStep(task, variant, shape, options, steps);
  if (memory === Number.POSITIVE_INFINITY) return { program, tooLarge: null };
  const bytes = stepBytes(program, task, variant, shape);
  if (bytes <= memory) return { program, tooLarge: null };
  const again = trainingStep(task, variant, shape, { ...options, recomputes: true }, steps);
  // With few tokens the optimizer's vectors are most of it, and to compute anything again gains nothing.
  const gains = stepBytes(again, task, variant, shape) <= 0.9 * bytes;
  return gains ? { program: again, tooLarge: bytes } : { program, tooLarge: null };
}

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

/** Matrices that do not train, those of each expert for themselves: a program is about as large as they are many. */
export function frozenMatrices(weights: WeightSource | null): number {
  let matrices = 0;
  for (const { shape } of weights?.tensors.values() ?? []) matrices += shape.length === 3 ? shape[0]! : 1;
  return matrices;
}

/** What of a task does not train: bytes that are mapped once for all workers, and of the largest matrix that is widened. */
export function frozenBytes(weights: WeightSource | null): { readonly mapped: number; readonly widened: number } {
  const [sizes, widened] = [[0], [0]];
  for (const [name, { shape, type, scales }] of weights?.tensors ?? []) {
    sizes.push(bytesOf(type, sizeOf(shape)), scales === undefined ? 0 : 2 * sizeOf(scalesShape(shape)));
    // Rows of an embedding are widened as they are looked up.
    if (type !== undefined && name !== "embed") widened.push(4 * sizeOf(shape.slice(-2)));
  }
  return { mapped: sum(sizes), widened: Math.max(...widened) };
}

/**
 * Bytes that one client adds to a step that is shared, by two unless said otherwise: its state, and what lies between forward
 * and backward pass. Alone it has one state, which its steps write over where they can; devices that several share keep two.
 *
 * @param memory bytes that it may take before layers are computed again
 */
export function clientBytes(
  task: Task,
  variant: Variant,
  { clients = 2, rows, length }: RowShape & { readonly clients?: number },
  memory = Infinity,
): number {
  const shape = { clients, rows, length };
  const options = { beta1: 0, beta2: 0, epsilon: 1, clip: true, decay: true };
  const { program } = fittingStep(task, variant, shape, options, shape.clients * memory);
  const overwritten = clients === 1 ? overwritable(program) : undefined;
  return stepBytes(program, task, variant, shape, overwritten) / clients;
}
