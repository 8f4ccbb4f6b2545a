/** Everything wrong with one input, said together. */
import { InputError } from "../base/errors.ts";

/** More than a person reads; a model with a wrong config can have thousands. */
const shown = 20;

export class Problems {
  readonly #where: string;
  readonly #lines: string[] = [];
  #count = 0;

  constructor(where: string) {
    this.#where = where;
  }

  add(problem: string): void {
    this.#count++;
    if (this.#lines.length < shown) this.#lines.push(problem);
  }

  get count(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** One problem stands on one line with its file; several become a list under it. */
  throwIfAny(): void {
    if (this.#count === 0) return;
    if (this.#count === 1) throw new InputError(`${this.#where}: ${this.#lines[0]}`);
    const rest = this.#count - this.#lines.length;
    const lines = rest > 0 ? [...this.#lines, `… and ${rest} more`] : this.#lines;
    throw new InputError(`${this.#where}: ${this.#count} problems\n${lines.map((line) => `  - ${line}`).join("\n")}`);
  }
}
