/** Work for the tests of pools: some of it well-behaved, some of it not. */
import { appendFileSync, statSync } from "node:fs";
import type { BlobReader } from "../../src/runtime/messages/blobs.ts";
import type { BlobRef } from "../../src/runtime/messages/refs.ts";
import type { LastUse } from "../../src/runtime/pools/pool.ts";
import { beat, hostWorker } from "../../src/runtime/pools/worker-host.ts";

interface Attempts {
  /** A file that has a byte for every time that the task was begun: all kinds of workers see it. */
  readonly begun: string;
  /** Attempts that go wrong. */
  readonly failing: number;
}

/** @returns how often it was begun before */
function begin(begun: string): number {
  appendFileSync(begun, ".");
  return statSync(begun).size - 1;
}

export const handlers = {
  square: ({ n }: { n: number }) => ({ n: n * n }),
  sum: ({ values }: { values: BlobRef }, blobs: BlobReader) =>
    blobs.floats(values).reduce((sum, value) => sum + value, 0),
  /** A step of a toy training: depends on the blob and the seed, and on nothing else. */
  mix: ({ base, seed }: { base: BlobRef; seed: number }, blobs: BlobReader) => ({
    values: blobs.floats(base).map((value, i) => Math.fround(value * 0.5 + Math.sin(seed + i))),
  }),
  ramp: ({ length }: { length: number }) => ({ values: Float32Array.from({ length }, (_, i) => i) }),
  /** Says of what it returns that it is not used again, twice of one array and of one that is a part of it. */
  last: ({ length }: { length: number }, _blobs: BlobReader, lastUse?: LastUse) => {
    const values = Float32Array.from({ length }, (_, i) => i - 1);
    const part = values.subarray(1, 3);
    for (const array of [part, values, values]) lastUse?.(array);
    return { part, values, list: [values, -0], length };
  },
  ones: ({ length }: { length: number }) => new Uint8Array(length).fill(1),
  /** Takes a while, and says no more than it was told. */
  wait: ({ n, milliseconds }: { n: number; milliseconds: number }) =>
    new Promise((resolve) => setTimeout(resolve, milliseconds, { n })),
  scribble: ({ values }: { values: Float32Array }) => values.fill(7).length,
  steps: ({ count }: { count: number }) => {
    for (let step = 0; step < count; step++) beat();
    return count;
  },
  count: ({ begun }: { begun: string }) => begin(begun),
  unwieldy: () => new Map(),
  fail: ({ message }: { message: string }) => {
    throw new TypeError(message);
  },
  die: ({ begun, failing }: Attempts) => {
    if (begin(begun) < failing) process.exit(3);
    return "survived";
  },
  hang: ({ begun, failing }: Attempts) => {
    if (begin(begun) < failing) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    return "came back";
  },
};

export default hostWorker(handlers);
