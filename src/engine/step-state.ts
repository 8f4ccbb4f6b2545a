/** A client's parameters and moments between the steps of one training. */

import type { Executable, ResidentState, TensorData } from "../tensor/executors/executor.ts";
import type { Compiled } from "./engine.ts";

export type StateVectors = Record<string, Float32Array>;

/**
 * The state lives on the device of an executable that can hold it, and otherwise in arrays that a step writes over; where its
 * program does not allow that, in two arrays that take turns.
 */
export class StepState {
  readonly #current: StateVectors;
  readonly #next: StateVectors = {};
  #held: { readonly executable: Executable; readonly state: ResidentState } | null = null;

  /** @param vectors the state at the start; taken over, not copied */
  constructor(vectors: StateVectors) {
    this.#current = vectors;
  }

  /** One step from where the last one ended; returns the outputs that are not state. */
  async step(
    { executable, overwritable }: Pick<Compiled, "executable" | "overwritable">,
    feeds: Readonly<Record<string, TensorData>>,
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
