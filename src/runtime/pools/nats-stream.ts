/** The stream of a run on a NATS server: how it is made, and how it goes when the run was killed. */
import type { JetStreamManager } from "@nats-io/jetstream";
import { streamOf, subjects, workersStream } from "./nats-wire.ts";

const day = 86_400e9;

/**
 * Two queues, of tasks for workers and of results for the run.
 *
 * @param silence real milliseconds after which what nobody has acknowledged is given to somebody else
 */
export async function makeStream(
  { streams, consumers }: JetStreamManager,
  run: string,
  silence: number,
): Promise<void> {
  const stream = streamOf(run);
  const queue = (part: "task" | "done", name: string, more: object = {}) =>
    consumers.add(stream, {
      durable_name: name,
      filter_subject: subjects.of(run, part),
      ack_policy: "explicit",
      ack_wait: silence * 1e6,
      max_waiting: 2 ** 14,
      max_ack_pending: 2 ** 16,
      ...more,
    });
  await streams.add({
    name: stream,
    subjects: [subjects.of(run, "task"), subjects.of(run, "done")],
    retention: "workqueue",
    storage: "file",
  });
  // With it goes the sign that the run is alive.
  await queue("done", "run", { inactive_threshold: day });
  await queue("task", "workers");
}

/** Whether a task or a result of the run is in its queue, or with somebody. */
export async function isBusy({ consumers }: JetStreamManager, run: string): Promise<boolean> {
  const queues = await Promise.all(["workers", "run"].map((name) => consumers.info(streamOf(run), name)));
  return queues.some(({ num_pending, num_ack_pending }) => num_pending + num_ack_pending > 0);
}

/** Whether a stream, or the consumer that was asked for, is not there. */
export const isMissing = (error: unknown): boolean => [10014, 10059].includes((error as { code?: number }).code ?? 0);

/**
 * Removes the streams of runs whose own queue nobody has read for a day: then the server has forgotten their consumer.
 * Looks twice, because a run that is just being made has none yet.
 *
 * @param wait real milliseconds between the two looks
 */
export async function removeAbandoned(
  { streams, consumers }: JetStreamManager,
  { wait, isOver }: { readonly wait: number; readonly isOver: () => boolean },
): Promise<void> {
  const isAbandoned = (stream: string) => consumers.info(stream, "run").then(() => false, isMissing);
  try {
    const found = new Set<string>();
    for await (const { config } of streams.list()) {
      const [, stream] = /^(?:OBJ_)?(FLAME_\w+)$/.exec(config.name) ?? [];
      if (stream !== undefined && stream !== workersStream && (await isAbandoned(stream))) found.add(stream);
    }
    if (found.size === 0) return;
    await new Promise((resolve) => setTimeout(resolve, wait).unref());
    for (const stream of found) {
      if (isOver() || !(await isAbandoned(stream))) continue;
      for (const name of [stream, `OBJ_${stream}`]) await streams.delete(name).catch(() => undefined);
    }
  } catch {
    // Not everybody may look at what others have there.
  }
}
