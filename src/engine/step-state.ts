/** A client's parameters and moments between the steps of one training. */
import type { Executable, ResidentState, TensorData } from "../tensor/executors/executor.ts";

export type StateVectors = Record<string, Float32Array>;

/**
 * The state lives on the device of an executable that can hold it, and otherwise in two sets of arrays that take turns:
 * a step reads one and writes the other.
 */
export class StepState {
  #current: StateVectors;
  #next: StateVectors;
  #held: { readonly executable: Executable; readonly state: ResidentState } | null = null;

  /** @param vectors the state at the start; taken over, not copied */
  constructor(vectors: StateVectors) {
    this.#current = vectors;
    const blank = ([name, { length }]: [string, Float32Array]) => [name, new Float32Array(length)];
    this.#next = Object.fromEntries(Object.entries(vectors).map(blank));
  }

  /** One step from where the last one ended; returns the outputs that are not state. */
  async step(executable: Executable, feeds: Readonly<Record<string, TensorData>>): Promise<Record<string, TensorData>> {
    if (this.#held?.executable !== executable) {
      await this.read(Object.keys(this.#current));
      this.#held = executable.hold ? { executable, state: executable.hold(this.#current) } : null;
    }
    if (this.#held) return this.#held.state.run(feeds);
    const outputs = await executable.run({ ...this.#current, ...feeds }, this.#next);
    [this.#current, this.#next] = [this.#next, this.#current];
    return outputs;
  }

  /** The state as it is now; vectors that are not named may be out of date. */
  async read(names: readonly string[]): Promise<StateVectors> {
    await this.#held?.state.read(Object.fromEntries(names.map((name) => [name, this.#current[name]!])));
    return this.#current;
  }
}
