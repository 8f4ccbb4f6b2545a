/** What a file says that no example holds: counted by reason, and told once with the place of the first. */
export class Reading {
  readonly #reasons = new Map<string, { count: number; readonly first: string }>();

  remark(reason: string, where: string): void {
    const known = this.#reasons.get(reason);
    if (known !== undefined) known.count++;
    // Names of fields are the file's: their number has no bound.
    else if (this.#reasons.size < MOST_REASONS) this.#reasons.set(reason, { count: 1, first: where });
  }

  get notes(): string[] {
    return Array.from(this.#reasons, ([reason, { count, first }]) =>
      count === 1 ? `${reason}: ${first}` : `${reason}: ${count} times, first in ${first}`,
    );
  }
}

const MOST_REASONS = 20;
