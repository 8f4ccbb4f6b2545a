/** A client's parameters and moments between the steps of one training. */

import type { Executable, ResidentState, TensorData } from "../tensor/executors/executor.ts";
import { free } from "../tensor/executors/memory.ts";
import type { Compiled } from "./engine.ts";

export type StateVectors = Record<string, Float32Array>;

type Feeds = Readonly<Record<string, TensorData>>;

/**
 * The state lives on the device of an executable that can hold it, and otherwise in arrays that a step writes over; where its
 * program does not allow that, in two arrays that take turns.
 */
export class StepState {
  readonly #current: StateVectors;
  readonly #next: StateVectors = {};
  readonly #lent: ReadonlySet<Float32Array>;
  #held: { readonly executable: Executable; readonly state: ResidentState } | null = null;

  /**
   * @param vectors the state at the start; taken over, not copied
   * @param lent those of them that somebody will use again
   */
  constructor(vectors: StateVectors, lent: readonly Float32Array[] = []) {
    this.#current = vectors;
    this.#lent = new Set(lent);
  }

  /**
   * Steps from where the last one ended; returns their outputs that are not state.
   *
   * @param given what all steps are fed the same
   */
  async steps(
    compiled: Pick<Compiled, "executable" | "overwritable">,
    given: Feeds,
    steps: readonly Feeds[],
  ): Promise<readonly Record<string, TensorData>[]> {
    const { executable } = compiled;
    // What lets steps share a call makes one step alone take longer.
    if (executable.runAll && steps.length > 1) {
      const { state, outputs } = await executable.runAll(this.#current, given, steps);
      for (const vector of Object.values(this.#current)) if (!this.#lent.has(vector)) free(vector.buffer);
      Object.assign(this.#current, state);
      return outputs;
    }
    const outputs: Record<string, TensorData>[] = [];
    for (const feeds of steps) outputs.push(await this.#step(compiled, { ...given, ...feeds }));
    return outputs;
  }

  async #step(
    { executable, overwritable }: Pick<Compiled, "executable" | "overwritable">,
    feeds: Feeds,
  ): Promise<Record<string, TensorData>> {
    const names = Object.keys(this.#current);
    if (this.#held?.executable !== executable) {
      await this.read(names);
      this.#held = executable.hold ? { executable, state: executable.hold(this.#current) } : null;
    }
    if (this.#held) return this.#held.state.run(feeds);
    const turning = names.filter((name) => !overwritable.has(name));
    const into = { ...this.#current };
    for (const name of turning) into[name] = this.#next[name] ?? new Float32Array(into[name]!.length);
    const outputs = await executable.run({ ...this.#current, ...feeds }, into);
    for (const name of turning) [this.#current[name], this.#next[name]] = [into[name]!, this.#current[name]!];
    return outputs;
  }

  /** The state as it is now; vectors that are not named may be out of date. */
  async read(names: readonly string[]): Promise<StateVectors> {
    await this.#held?.state.read(Object.fromEntries(names.map((name) => [name, this.#current[name]!])));
    return this.#current;
  }
}
