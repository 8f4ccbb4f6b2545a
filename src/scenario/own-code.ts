/** The code of a scenario's author, by its digest: the scenario's file and the files beside it that it imports. */
import { statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { sha256 } from "../base/digest.ts";
import { onDisk } from "../base/disk.ts";
import { InputError } from "../base/errors.ts";
import { readBytes } from "../base/open.ts";

const largestFile = 2 ** 24;
const mostFiles = 1_000;

/**
 * SHA-256 of the file's bytes when it imports nothing from beside it, else of a list of all those files. Packages are not
 * in it, nor what a file imports by a name that it works out.
 *
 * @throws InputError when the file, or one that it imports, is no file or too large; MachineError when it cannot be read
 */
export function ownCodeDigest(file: string): string {
  const digests = new Map<string, string>();
  const waiting = [file];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (digests.has(path)) continue;
    if (digests.size === mostFiles) throw new InputError(`${file} imports more than ${mostFiles} files`);
    const from = path;
    const bytes = onDisk(`cannot read ${from}`, () => readBytes(from, largestFile));
    digests.set(from, sha256(bytes));
    for (const [, , name] of bytes.toString("utf8").matchAll(relativeImport)) {
      const found = fileOf(join(dirname(from), name!));
      if (found !== undefined) waiting.push(found);
    }
  }
  if (digests.size === 1) return digests.get(file)!;
  const lines = [...digests].map(([path, digest]) => `${relative(dirname(file), path)}\0${digest}\n`);
  return sha256(lines.sort().join(""));
}

/** Written in a comment it does no harm: the digest is then of a file more. */
const relativeImport = /\b(?:from|import|require)\s*\(?\s*(["'`])(\.{1,2}\/[^"'`\n]+)\1/g;

const endings = ["", ".ts", ".js", ".mts", ".mjs", ".cts", ".cjs", ".json", "/index.ts", "/index.js"];

/** TypeScript's `./part.js` may be `part.ts`, and the ending may be left out. */
function fileOf(path: string): string | undefined {
  const typescript = path.replace(/\.([mc]?)js$/, ".$1ts");
  return [typescript, ...endings.map((ending) => path + ending)].find(
    (candidate) => statSync(candidate, { throwIfNoEntry: false })?.isFile() === true,
  );
}
