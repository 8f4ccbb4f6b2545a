/** What a worker has for a step. */
import { stepMemory } from "../../engine/create.ts";
import { frozenBytes } from "../../tasks/client-memory.ts";
import type { TaskSpec } from "../../tasks/kind.ts";

/**
 * Bytes that a worker's step may take before it computes layers again.
 *
 * @param workers as asked for: a device has one owner
 */
export const memoryPerStep = (
  { weights }: Pick<TaskSpec, "weights">,
  { gpu, workers }: { readonly gpu: boolean; readonly workers: number },
): number => stepMemory(gpu, frozenBytes(weights).mapped, gpu ? 1 : Math.max(1, workers));
