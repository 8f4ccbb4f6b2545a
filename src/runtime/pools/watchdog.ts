/**
 * Tells work that is slow from work that is stuck. A worker lets its pulse go on with every step it finishes, so a long
 * task on a slow machine is left alone; only one that finishes nothing within the limit is given up.
 */

/** A counter in shared memory, and the thread that counts. */
export type Pulse = Int32Array<SharedArrayBuffer>;

export const newPulse = (): Pulse => new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));

export interface WatchdogEvents {
  /** Half the limit has gone by without a beat; once for each such silence. */
  quiet(): void;
  /** The limit has gone by without a beat; looked at every half limit, so at most half as much again. Nothing follows. */
  stuck(): void;
}

/**
 * Begins to watch.
 *
 * @param limit real milliseconds without a beat that are taken for the end
 * @returns ends the watch; a second call does nothing
 */
export function watch(pulse: Pulse, limit: number, { quiet, stuck }: WatchdogEvents): () => void {
  let seen = Atomics.load(pulse, 0);
  let silences = 0;
  let timer = setTimeout(look, limit / 2);
  function look(): void {
    const beats = Atomics.load(pulse, 0);
    silences = beats === seen ? silences + 1 : 0;
    seen = beats;
    if (silences === 2) {
      stuck();
      return;
    }
    if (silences === 1) quiet();
    timer = setTimeout(look, limit / 2);
  }
  return () => clearTimeout(timer);
}

/** Steps of the task so far; its first beat says that it has begun. */
export const stepsOf = (pulse: Pulse): number => Math.max(0, Atomics.load(pulse, 0) - 1);
