/** A worker that answers from a table, after as long as a task is said to take: only what is around it counts. */
import { hostWorker } from "../src/runtime/pools/worker-host.ts";

/** Numbers of an update as small models have them: 80 kB. */
const values = new Float32Array(20_000).map((_, i) => i / 7);

export const answers = {
  wait: ({ milliseconds }: { readonly milliseconds: number }) =>
    milliseconds === 0 ? { values } : new Promise((resolve) => setTimeout(resolve, milliseconds, { values })),
};

export default hostWorker(answers);
