/** How a run that met a bug ends: when, who, handling what, why, and the command that shows it again. */
import { InputError, InvariantError, MachineError, messageOf } from "../base/errors.ts";
import { formatTime, type Millis } from "../base/units.ts";
import type { Protocol } from "./messages/refs.ts";

export interface Circumstances {
  readonly at: Millis;
  readonly actor: string;
  readonly message: Protocol;
  /** A command line, or null when there is none. */
  readonly reproduce: string | null;
}

/** Keeps the kind of a failure of the machine or of the input; everything else that was thrown is a bug. */
export function runFailure(cause: unknown, { at, actor, message, reproduce }: Circumstances): Error {
  const Kind = [InputError, MachineError].find((kind) => cause instanceof kind) ?? InvariantError;
  const round = message.round === undefined ? "" : ` (round ${message.round})`;
  const hint = reproduce === null ? "" : `\n  reproduce: ${reproduce}`;
  return new Kind(
    `run failed at ${formatTime(at)}, ${actor} handling "${message.type}"${round}: ${messageOf(cause)}${hint}`,
    { cause },
  );
}
