/**
 * Names that occur twice in one object of a JSON text. `JSON.parse` keeps the last of them in silence, which would let
 * two readers of one file see two different models.
 */

/**
 * @param text valid JSON
 * @returns each repeated name once, in order; only the first two levels of objects are looked at
 */
export function duplicateNames(text: string): string[] {
  const duplicates = new Set<string>();
  /** Names seen so far in the open object of each of the first two levels. */
  const seen = [new Set<string>(), new Set<string>()];
  let depth = 0;
  let at = 0;
  while (at < text.length) {
    const character = text[at]!;
    if (character === '"') {
      const end = endOfString(text, at);
      const names = seen[depth - 1];
      if (names !== undefined && followedByColon(text, end)) {
        const name = JSON.parse(text.slice(at, end)) as string;
        if (names.has(name)) duplicates.add(name);
        names.add(name);
      }
      at = end;
      continue;
    }
    if (character === "{" || character === "[") {
      seen[depth]?.clear();
      depth++;
    } else if (character === "}" || character === "]") depth--;
    at++;
  }
  return [...duplicates];
}

/** The index behind the closing quote of the string that opens at `start`. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

function followedByColon(text: string, start: number): boolean {
  let at = start;
  while (text[at] === " " || text[at] === "\n" || text[at] === "\t" || text[at] === "\r") at++;
  return text[at] === ":";
}
