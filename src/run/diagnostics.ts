/** `diagnostics.log`: wall-clock things, in the only file that may differ between two identical runs. */
import { closeSync, writeFileSync } from "node:fs";
import { sum } from "simple-statistics";
import { openToAppend } from "../base/open.ts";
import { formatTime } from "../base/units.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";

export interface Diagnostics {
  /** One line: seconds since the run began, a topic, and what there is to say. */
  note(topic: string, text: string): void;
  /** Adds to a counter or a stopwatch; `totals` writes them down. */
  count(name: string, by?: number): void;
  /** Real seconds since the run began. */
  elapsed(): number;
  totals(): Readonly<Record<string, number>>;
  close(): void;
}

export function openDiagnostics(path: string | null): Diagnostics {
  const begun = performance.now();
  const counters = new Map<string, number>();
  const elapsed = () => (performance.now() - begun) / 1_000;
  let lines: string[] = [];
  const flush = () => {
    try {
      if (path !== null && lines.length > 0) append(path, lines.join(""));
    } catch {
      // No run ends for these lines, and a full disk must not hide the error that does end it.
    }
    lines = [];
  };
  const note = (topic: string, text: string) => {
    lines.push(`${elapsed().toFixed(3).padStart(10)}  ${topic.padEnd(12)}  ${text}\n`);
    if (lines.length >= 64) flush();
  };
  return {
    note,
    count: (name, by = 1) => void counters.set(name, (counters.get(name) ?? 0) + by),
    elapsed,
    totals: () => Object.fromEntries([...counters].sort(([a], [b]) => (a < b ? -1 : 1))),
    close: () => {
      for (const [name, value] of counters) note("total", `${name} ${Number(value.toFixed(3))}`);
      flush();
    },
  };
}

/**
 * Notes at the end of each round which share of the time the workers had something to do.
 *
 * @returns to be called when a round has closed
 */
export function watchWorkers(
  pool: Pick<WorkPool, "workers" | "diagnostics">,
  diagnostics: Pick<Diagnostics, "elapsed" | "note">,
): (round: number) => void {
  let [seen, since] = [0, diagnostics.elapsed()];
  return (round) => {
    const { busy } = pool.diagnostics;
    if (busy === undefined) return;
    const [total, now] = [sum([0, ...Object.values(busy)]), diagnostics.elapsed()];
    const share = (total - seen) / (pool.workers * (now - since));
    diagnostics.note(
      "workers",
      `${(100 * share).toFixed(0)} % busy until round ${round} closed, ${(now - since).toFixed(2)} s`,
    );
    [seen, since] = [total, now];
  };
}

function append(path: string, text: string): void {
  const file = openToAppend(path);
  try {
    writeFileSync(file, text);
  } finally {
    closeSync(file);
  }
}

/** Milliseconds between two notes; a small model is converted before the first. */
const every = 5_000;

/** Says how far the conversion of base weights is, for those who wait. */
export function conversionNotes(say: (text: string) => void): (done: number, total: number) => void {
  const begun = performance.now();
  let said = begun;
  return (done, total) => {
    const now = performance.now();
    if (now - said < every) return;
    said = now;
    const perSecond = (1_000 * done) / (now - begun);
    const left = formatTime(Math.round((1_000 * (total - done)) / perSecond));
    say(
      `converting base weights, once: ${Math.floor((100 * done) / total)} %, ${millions(perSecond)} a second, ${left} left`,
    );
  };
}

const millions = (weights: number): string => `${(weights / 1e6).toFixed(0)} million weights`;
