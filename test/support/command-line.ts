/** The `flame` command in tests, on this thread with its output caught. As a process of its own: `command-process.ts`. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { flame } from "../../src/cli/flame.ts";
import { terminal } from "../../src/cli/screen/terminal.ts";

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** What tests run is not what their user trusts. */
const state = mkdtempSync(join(tmpdir(), "flame-test-state-"));
process.env.XDG_STATE_HOME = state;
process.on("exit", () => rmSync(state, { recursive: true, force: true }));

/** Runs one command line. Not for several at a time. */
export async function runFlame(...words: string[]): Promise<Said> {
  const { out, err } = terminal;
  const printed: string[] = [];
  const complained: string[] = [];
  terminal.out = { isTTY: false, write: (text: string) => printed.push(text) > 0 };
  terminal.err = { write: (text: string) => complained.push(text) > 0 };
  try {
    const code = await flame(words);
    return {
      code,
      out: stripVTControlCharacters(printed.join("")),
      err: stripVTControlCharacters(complained.join("")),
    };
  } finally {
    terminal.out = out;
    terminal.err = err;
  }
}
