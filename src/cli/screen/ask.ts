/** A question to the user, where there is one. */
import { createInterface } from "node:readline/promises";
import type { Consent } from "../../study/consent.ts";

/** Undefined when input or output is not a terminal: then nobody can answer. */
const ask = (): ((question: string) => Promise<boolean>) | undefined =>
  process.stdin.isTTY === true && process.stderr.isTTY === true ? askYes : undefined;

/** Anything but yes is no. */
async function askYes(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await lines.question(`${question} [y/N] `)).trim());
  } finally {
    lines.close();
  }
}

/** What a command line agrees to. */
export function consentOf(flags: {
  readonly scenario?: string;
  readonly trustCode?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}): Consent {
  const { scenario, trustCode, json = false, quiet = false } = flags;
  const question = json || quiet ? undefined : ask();
  return {
    ...(scenario === undefined ? {} : { scenario }),
    ...(trustCode === undefined ? {} : { trustCode }),
    ...(question === undefined ? {} : { ask: question }),
  };
}
