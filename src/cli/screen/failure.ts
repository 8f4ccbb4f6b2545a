/** How a failure looks to the user, and which exit code it has. */

import { InputError, MachineError, messageOf, ScenarioError } from "../../base/errors.ts";
import { colors } from "./colors.ts";
import { terminal, wrapped } from "./terminal.ts";

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  expectationsNotMet: 3,
  diverged: 4,
  interrupted: 130,
} as const;

/** Prints the error to stderr and returns the exit code. A bug keeps its stack; a user's mistake does not need one. */
export function reportFailure(error: unknown, { json, stack }: { json: boolean; stack: boolean }): number {
  const isUsers = error instanceof ScenarioError || error instanceof InputError;
  const isExpected = isUsers || error instanceof MachineError;
  const kind = error instanceof Error ? error.name : "Error";
  if (json) {
    terminal.err.write(`${JSON.stringify({ event: "error", kind, message: messageOf(error) })}\n`);
  } else {
    const lines = `${colors.red("error")} ${messageOf(error)}`.split("\n");
    terminal.err.write(`${lines.map((line) => wrapped(line, 2)).join("\n")}\n`);
    if ((stack || !isExpected) && error instanceof Error) {
      terminal.err.write(`${colors.dim(withoutFirstLine(error.stack ?? ""))}\n`);
      for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
        terminal.err.write(colors.dim(`caused by ${cause.stack ?? cause.message}\n`));
      }
    }
  }
  return isUsers ? exitCodes.usage : exitCodes.failed;
}

const withoutFirstLine = (stack: string): string => stack.slice(stack.indexOf("\n    at ") + 1);
