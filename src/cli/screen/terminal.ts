/** Where the command line writes, and how wide that is. Tests put something else in its place. */
import { width } from "../../report/table.ts";

export interface Terminal {
  out: Output;
  err: Pick<Output, "write">;
}

interface Output {
  readonly isTTY: boolean;
  /** Characters of a line, on a terminal. */
  readonly columns?: number | undefined;
  write(text: string): boolean;
}

/** The styles that are used here; line feed and tab; whatever else moves a cursor, sets a title or turns text around. */
const control = /(\p{Cc}\[(?:[0-2]|22|3[1-79]|9[0-7])m)|([\n\t])|[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu;

/**
 * @internal The one way to a terminal, and what somebody else wrote goes it, too: control characters in it are shown and not
 * obeyed, in the form that they have in JSON, so that JSON stays what it is.
 */
export const visible = (text: string): string =>
  text.replace(control, (found, style?: string, space?: string) =>
    space !== undefined || style?.startsWith("\u001b") === true ? found : [...found].map(escaped).join(""),
  );

const escaped = (character: string): string =>
  /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u.test(character)
    ? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
    : character;

const to = (stream: NodeJS.WriteStream): Output => ({
  get isTTY() {
    return stream.isTTY === true;
  },
  get columns() {
    return stream.columns;
  },
  write: (text) => stream.write(visible(text)),
});

export const terminal: Terminal = { out: to(process.stdout), err: to(process.stderr) };

/** Characters of a line; where lines are not for a terminal, there is no limit. */
export const lineWidth = (): number => terminal.out.columns ?? Number.POSITIVE_INFINITY;

/**
 * Text in lines that fit, broken at blanks; a word that is longer stays whole.
 *
 * @param indent blanks before every line but the first
 */
export function wrapped(text: string, indent = 0, most = lineWidth()): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.match(/ *[^ ]+/g) ?? []) {
    if (line === "" || width(line + word) <= most) line += word;
    else {
      lines.push(line);
      line = " ".repeat(indent) + word.trimStart();
    }
  }
  return [...lines, line].join("\n");
}
