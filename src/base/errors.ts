/**
 * Errors a user meets. Each names what was expected, what came instead, and where.
 *
 * A simulated failure (dropout, crash, late update) is an event of the simulation and never one of these.
 */

/** A mistake in a scenario or on the command line, found before anything runs. */
export class ScenarioError extends Error {
  override readonly name = "ScenarioError";
}

/** A file that is not what it claims to be: data, safetensors, a trace, a checkpoint. */
export class InputError extends Error {
  override readonly name = "InputError";
}

/** The machine failed: a full disk, a missing library, a worker that cannot start. */
export class MachineError extends Error {
  override readonly name = "MachineError";
}

/** A bug: something the program promised is not so. Nothing catches it; the run ends with where and when. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Throws {@link InvariantError} unless `condition` holds. */
export function invariant(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new InvariantError(typeof message === "string" ? message : message());
}

/** The `default` branch of a switch over a union: the compiler proves that nothing reaches it. */
export function unreachable(value: never): never {
  throw new InvariantError(`unexpected value ${JSON.stringify(value)}`);
}

/** The text of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
