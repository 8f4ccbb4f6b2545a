/**
 * Which clients train in one call, and how many: a function of the jobs and the limit alone, so that a cohort is cut the
 * same way on every machine and in every run.
 */
import type { StepJob } from "./engine.ts";

export const powerOfTwoBelow = (count: number): number => (count < 2 ? 1 : 2 ** Math.floor(Math.log2(count)));

/**
 * Cuts a cohort into groups: indices of jobs that train in one call. Only jobs of one program, one shape of batch and one
 * optimizer share a call; those with the most steps come first, so that few clients of a call wait for others.
 *
 * @param most clients of one call for jobs like this one
 */
export function groupsOf(jobs: readonly StepJob[], most: (job: StepJob) => number): number[][] {
  const byKind = new Map<string, number[]>();
  const groups: number[][] = [];
  for (const [index, job] of jobs.entries()) {
    const shape = shapeOf(job);
    if (shape === null) {
      groups.push([index]);
      continue;
    }
    const probes = [job.before, job.after].map((passes = []) => passes.map(({ digest }) => digest));
    const kind = JSON.stringify([job.program(1, job.batches[0]!).digest, probes, shape, job.optimizer]);
    const members = byKind.get(kind) ?? [];
    members.push(index);
    byKind.set(kind, members);
  }
  const steps = (index: number) => jobs[index]!.batches.length;
  for (const members of byKind.values()) {
    const ordered = members.toSorted((a, b) => steps(b) - steps(a) || a - b);
    groups.push(...cut(ordered, most(jobs[members[0]!]!)));
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

/** Rows and length of all batches of a job; null when they differ or there is none. */
function shapeOf({ batches }: StepJob): readonly [rows: number, length: number] | null {
  const [first] = batches;
  if (!first || !batches.every(({ rows, length }) => rows === first.rows && length === first.length)) return null;
  return [first.rows, first.length];
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
