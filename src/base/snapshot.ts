/**
 * Something whose whole state can be written down as plain data (msgpack: numbers, strings, booleans, null, arrays,
 * objects, typed arrays) and taken up again. Checkpoints are made of these.
 */
export interface Snapshot<State = unknown> {
  snapshot(): State;
  /** Replaces the present state. `restore(snapshot())` changes nothing observable. */
  restore(state: State): void;
}
