/**
 * The worker's side of the pool, the same for every pool: finds the handler, keeps what it throws apart from the death
 * of a worker, and moves the result's arrays instead of copying them.
 *
 * A worker module is three lines, without a top-level await:
 *
 *   import { hostWorker } from "../src/runtime/pools/worker-host.ts";
 *   export default hostWorker({ train, evaluate });
 */
import { move } from "piscina";
import { InvariantError } from "../../base/errors.ts";
import { blobReader } from "../messages/blobs.ts";
import type { Handlers, Reply, Task } from "./pool.ts";
import type { Pulse } from "./watchdog.ts";

/** A task as a pool with a watchdog sends it. */
export interface WatchedTask extends Task {
  readonly pulse?: Pulse;
}

/** The pulse of the task this thread is at; it has one at a time. */
let current: Pulse | null = null;

/** A handler that takes long says so, step by step, that it is not stuck. */
export function beat(): void {
  if (current !== null) Atomics.add(current, 0, 1);
}

export function hostWorker(handlers: Handlers): (task: WatchedTask) => Promise<unknown> {
  return async (task) => {
    current = task.pulse ?? null;
    beat();
    const reply = await answer(handlers, task);
    const buffers = reply.ok ? ownBuffers(reply.value) : [];
    return buffers.length === 0 ? reply : move(new Moved(reply, buffers) as never);
  };
}

export async function answer(handlers: Handlers, { work, job, blobs }: Task): Promise<Reply> {
  try {
    const handler = Object.hasOwn(handlers, work) ? handlers[work] : undefined;
    if (handler === undefined) {
      throw new InvariantError(`no handler for "${work}"; this worker has ${Object.keys(handlers).join(", ")}`);
    }
    return { ok: true, value: await handler(job as never, blobReader(blobs)) };
  } catch (error) {
    const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
    return { ok: false, name, message, stack };
  }
}

/**
 * The buffers that a result owns: each typed array or buffer that spans its memory. Smaller views, shared memory and
 * Node's pooled buffers are left to be copied or shared.
 */
export function ownBuffers(value: unknown): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>();
  const visit = (part: unknown): void => {
    if (typeof part !== "object" || part === null) return;
    if (ArrayBuffer.isView(part)) {
      const { buffer, byteLength } = part;
      if (buffer instanceof ArrayBuffer && byteLength === buffer.byteLength && !Buffer.isBuffer(part)) {
        buffers.add(buffer);
      }
    } else if (part instanceof ArrayBuffer) buffers.add(part);
    else for (const inner of Array.isArray(part) ? part : Object.values(part)) visit(inner);
  };
  visit(value);
  return [...buffers];
}

const transferable = Symbol.for("Piscina.transferable");
const content = Symbol.for("Piscina.valueOf");

/** Piscina's protocol for a result with a transfer list. */
class Moved {
  readonly [content]: Reply;
  readonly [transferable]: ArrayBuffer[];

  constructor(reply: Reply, buffers: ArrayBuffer[]) {
    this[content] = reply;
    this[transferable] = buffers;
  }
}
