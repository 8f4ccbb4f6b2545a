/** What a file says that no example holds: counted by reason, and told once with the place of the first. */
export class Reading {
  readonly #reasons = new Map<string, { count: number; readonly first: string }>();

  remark(reason: string, where: string): void {
    // Names of fields are the file's: their number has no bound.
    const isOne = this.#reasons.has(reason) || this.#reasons.size < MOST_REASONS;
    const told = isOne ? reason : "not read or passed over for more reasons than are listed";
    const known = this.#reasons.get(told);
    if (known !== undefined) known.count++;
    else this.#reasons.set(told, { count: 1, first: where });
  }

  get notes(): string[] {
    return Array.from(this.#reasons, ([reason, { count, first }]) =>
      count === 1 ? `${reason}: ${first}` : `${reason}: ${count} times, first in ${first}`,
    );
  }
}

const MOST_REASONS = 20;
