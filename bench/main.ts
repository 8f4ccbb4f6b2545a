/** `npm run bench -- <name> [options]`: one benchmark per file; each prints its own reference, measured in the same run. */
import { readdirSync } from "node:fs";
import { extname } from "node:path";
import { restartWithHugePages } from "../src/engine/huge-pages.ts";

restartWithHugePages();

/** `.ts`, or `.js` where they were compiled. */
const ending = `.bench${extname(import.meta.filename)}`;
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(ending))
  .map((file) => file.slice(0, -ending.length))
  .sort();
const [name, ...options] = process.argv.slice(2);

if (name === undefined || !names.includes(name)) {
  process.stderr.write(`expected a benchmark: ${names.join(", ")}${name === undefined ? "" : `; got ${name}`}\n`);
  process.exitCode = 2;
} else {
  const file = new URL(`${name}${ending}`, import.meta.url).href;
  const { default: run } = (await import(file)) as { default: (options: string[]) => Promise<void> };
  await run(options);
}
