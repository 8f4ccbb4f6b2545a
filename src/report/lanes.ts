/** Events of the Chrome trace format, and which thread each goes to. */

export interface TraceEvent {
  readonly ph: "X" | "M" | "C" | "i";
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly cname?: string;
  readonly s?: "t";
  readonly args?: Readonly<Record<string, unknown>>;
}

/** Threads of one process. Slices of a thread must nest, so what overlaps (a late upload, the next invitation) moves to a second one. */
export class Lanes {
  readonly #byName = new Map<string, { tid: number; freeAt: number; title: string }[]>();
  #next = 1;

  open(name: string): void {
    this.#lane(name);
  }

  place(name: string, from: number, to: number): number {
    const lanes = this.#byName.get(name) ?? this.#lane(name);
    const free = lanes.find(({ freeAt }) => freeAt <= from) ?? this.#lane(name).at(-1)!;
    free.freeAt = to;
    return free.tid;
  }

  names(pid: number): TraceEvent[] {
    return [...this.#byName.values()].flatMap((lanes) =>
      lanes.flatMap(({ tid, title }): TraceEvent[] => [
        { ph: "M", name: "thread_name", pid, tid, args: { name: title } },
        { ph: "M", name: "thread_sort_index", pid, tid, args: { sort_index: tid } },
      ]),
    );
  }

  #lane(name: string): { tid: number; freeAt: number; title: string }[] {
    const lanes = this.#byName.get(name) ?? [];
    const title = lanes.length === 0 ? name : `${name} (${lanes.length + 1})`;
    lanes.push({ tid: this.#next++, freeAt: 0, title });
    this.#byName.set(name, lanes);
    return lanes;
  }
}

export const micros = (ms: number): number => Math.round(ms * 1_000);
export const span = (name: string, from: number, to: number, pid: number, tid: number): TraceEvent => ({
  ph: "X",
  name,
  pid,
  tid,
  ts: micros(from),
  dur: micros(to) - micros(from),
});
