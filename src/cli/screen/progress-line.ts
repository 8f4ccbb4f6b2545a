/** Progress of long work: one living line with rate and time left on a terminal, a line now and then elsewhere. */
import { createLogUpdate } from "log-update";
import { formatTime } from "../../base/units.ts";
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

  /** @param first units that were done before, so that they do not count for the rate */
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
    // Slow work is told by the minute.
    const pace = rate >= 0.1 ? `${rate.toFixed(1)} ${this.#unit}s/s` : `${(60 * rate).toFixed(1)} ${this.#unit}s/min`;
    const line = `${this.#unit} ${done}/${this.#total}  ${detail}  ${pace}  ${left}`;
    if (this.#live) this.#live(line);
    else if (now - this.#lastLine >= quietMs || done === this.#total) {
      terminal.err.write(`${line}\n`);
      this.#lastLine = now;
    }
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
