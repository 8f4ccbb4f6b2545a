/**
 * Which clients train in one call, and how many: a function of the jobs and the limit alone, so that a cohort is cut the
 * same way on every machine and in every run.
 */
import { type AdapterLayout, adapterLayout, type LoraConfig } from "../model/adapter.ts";
import type { ModelConfig } from "../model/config.ts";
import { type StepShape, trainStep } from "../model/programs.ts";
import { peakBytes } from "../tensor/graph/footprint.ts";
import type { SymbolicDim } from "../tensor/graph/shape.ts";
import type { TrainJob } from "./engine.ts";
import type { MergeLimit } from "./merge-limit.ts";

/** No call is larger: beyond it, devices gain nothing and programs take long to build. */
const mostClients = 256;

/**
 * Clients of one call: a power of two, so that a handful of programs serves cohorts of every size.
 *
 * @param shape rows, length and budget of each client's step
 */
export function clientsPerCall(limit: MergeLimit, config: ModelConfig, lora: LoraConfig, shape: StepShape): number {
  if ("clients" in limit) return powerOfTwoBelow(Math.min(mostClients, limit.clients));
  return powerOfTwoBelow(Math.min(mostClients, limit.bytes / clientBytes(config, adapterLayout(config, lora), shape)));
}

/** Bytes that one client adds to a step that is shared: its state, and what lies between forward and backward pass. */
export function clientBytes(config: ModelConfig, layout: AdapterLayout, shape: StepShape): number {
  const clients = 2;
  const options = { beta1: 0, beta2: 0, epsilon: 1, clip: true, decay: true, form: "factored" } as const;
  const program = trainStep(config, layout, { ...shape, clients }, options);
  return peakBytes(program, expectedSizes(config, shape, clients)) / clients;
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

const powerOfTwoBelow = (count: number): number => (count < 2 ? 1 : 2 ** Math.floor(Math.log2(count)));

/**
 * Cuts a cohort into groups: indices of jobs that train in one call. Only jobs of one step shape and one optimizer share
 * a call; those with the most steps come first, so that few clients of a call wait for others.
 *
 * @param most clients of one call for jobs of that shape
 */
export function groupsOf(jobs: readonly TrainJob[], most: (shape: StepShape) => number): number[][] {
  const byKind = new Map<string, { readonly shape: StepShape; readonly members: number[] }>();
  const groups: number[][] = [];
  for (const [index, job] of jobs.entries()) {
    const shape = shapeOf(job);
    if (shape === null) {
      groups.push([index]);
      continue;
    }
    const kind = JSON.stringify([shape, job.optimizer]);
    const { members } = byKind.get(kind) ?? byKind.set(kind, { shape, members: [] }).get(kind)!;
    members.push(index);
  }
  const steps = (index: number) => jobs[index]!.batches.length;
  for (const { shape, members } of byKind.values()) {
    groups.push(
      ...cut(
        members.toSorted((a, b) => steps(b) - steps(a) || a - b),
        most(shape),
      ),
    );
  }
  return groups;
}

/** Stretches of at most `most`, their lengths powers of two, the longest first. */
export function cut<Item>(items: readonly Item[], most: number): Item[][] {
  const stretches: Item[][] = [];
  for (let from = 0; from < items.length; ) {
    const size = powerOfTwoBelow(Math.min(most, items.length - from));
    stretches.push(items.slice(from, from + size));
    from += size;
  }
  return stretches;
}

/** The shape of all steps of a job; null when they differ or there is none. */
export function shapeOf({ batches, topK }: TrainJob): StepShape | null {
  const [first] = batches;
  if (!first || !batches.every(({ rows, length }) => rows === first.rows && length === first.length)) return null;
  return { rows: first.rows, length: first.length, topK };
}

/**
 * Whether an executor failed for want of memory. The words are those of ONNX Runtime's allocators, of CUDA's libraries, of
 * TensorFlow, and of JavaScript's and C++'s own. WebGPU says that a buffer it could not make is invalid; a tensor that is
 * larger than one buffer may be, it binds as several, of which a shader takes few.
 */
export function isOutOfMemory(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return wantOfMemory.test(error.message) || isOutOfMemory(error.cause);
}

const wantOfMemory = new RegExp(
  [
    "out of memory|failed to allocate|bad_alloc|bad allocation|buffer allocation failed|Invalid typed array length",
    "ALLOC_FAILED|RESOURCE_?EXHAUSTED|\\bOOM\\b",
    "\\[Invalid Buffer|max buffer size|too many storage buffers",
  ].join("|"),
  "i",
);
