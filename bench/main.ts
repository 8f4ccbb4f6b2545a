/** `npm run bench -- <name> [options]`: one benchmark per file; each prints its own reference, measured in the same run. */
import { readdirSync } from "node:fs";
import { restartWithHugePages } from "../src/engine/huge-pages.ts";

restartWithHugePages();

const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith(".bench.ts"))
  .map((file) => file.replace(/\.bench\.ts$/, ""))
  .sort();
const [name, ...options] = process.argv.slice(2);

if (name === undefined || !names.includes(name)) {
  process.stderr.write(`expected a benchmark: ${names.join(", ")}${name === undefined ? "" : `; got ${name}`}\n`);
  process.exitCode = 2;
} else {
  const { default: run } = (await import(`./${name}.bench.ts`)) as { default: (options: string[]) => Promise<void> };
  await run(options);
}
