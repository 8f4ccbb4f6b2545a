/** Puts a federation into the state of a checkpoint. */
import { InputError, MachineError, messageOf } from "../base/errors.ts";
import type { Checkpoint } from "../folder/saved-state.ts";
import type { Federation } from "./federation.ts";

/**
 * The checkpoint's digest says that nothing damaged its bytes; it does not say who wrote them.
 *
 * @throws InputError when it does not fit
 */
export function restore(federation: Federation, checkpoint: Checkpoint): void {
  try {
    federation.restore(checkpoint.parts);
  } catch (cause) {
    if (cause instanceof InputError || cause instanceof MachineError) throw cause;
    const what = `the checkpoint after event ${checkpoint.events} is not one of this scenario`;
    throw new InputError(`${what}: ${messageOf(cause)}`, { cause });
  }
}
