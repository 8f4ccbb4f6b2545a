/** Progress of long work: one living line with rate and time left on a terminal, a line now and then elsewhere. */
import { createLogUpdate } from "log-update";
import { formatBytes, formatTime } from "../../base/units.ts";
import { terminal } from "./terminal.ts";

/** Without a terminal, a line at most this often. */
const quietMs = 15_000;

export class ProgressLine {
  readonly #unit: string;
  readonly #total: number;
  readonly #first: number;
  readonly #startedAt = performance.now();
  readonly #live: ReturnType<typeof createLogUpdate> | null;
  #lastLine = 0;

  /**
   * @param unit `step`, `cell`, …; `byte` is shown as kB, MB, …
   * @param first units that were done before, so that they do not count for the rate
   */
  constructor(unit: string, total: number, first = 0) {
    this.#unit = unit;
    this.#total = total;
    this.#first = first;
    this.#live = process.stderr.isTTY ? createLogUpdate(process.stderr) : null;
  }

  update(done: number, detail: string): void {
    const now = performance.now();
    const elapsed = now - this.#startedAt;
    const rate = (done - this.#first) / (elapsed / 1_000);
    const left = rate > 0 ? `${formatTime((1_000 * (this.#total - done)) / rate)} left` : "";
    const line = `${this.#amount(done)}  ${detail}  ${this.#pace(rate)}  ${left}`;
    if (this.#live) this.#live(line);
    else if (now - this.#lastLine >= quietMs || done === this.#total) {
      terminal.err.write(`${line}\n`);
      this.#lastLine = now;
    }
  }

  #amount(done: number): string {
    if (this.#unit === "byte") return `${formatBytes(done)} of ${formatBytes(this.#total)}`;
    return `${this.#unit} ${done}/${this.#total}`;
  }

  #pace(rate: number): string {
    if (this.#unit === "byte") return `${formatBytes(rate)}/s`;
    // Slow work is told by the minute.
    return rate >= 0.1 ? `${rate.toFixed(1)} ${this.#unit}s/s` : `${(60 * rate).toFixed(1)} ${this.#unit}s/min`;
  }

  /** A line that stays. */
  note(text: string): void {
    this.#live?.clear();
    terminal.err.write(`${text}\n`);
  }

  close(): void {
    this.#live?.done();
  }
}
