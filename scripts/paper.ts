/**
 * Puts the tables that `flame compare paper/<name>` left in runs/ into docs/paper.md, between the marks of that name:
 *
 *   npm run paper
 *
 * What was run is told by the command under each table; a table that nobody ran here stays as it is.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const page = join(root, "docs", "paper.md");
let text = readFileSync(page, "utf8");
for (const [, name] of [...text.matchAll(/<!-- (\S+) -->/g)]) {
  // The newest study that is a whole one.
  const folder = readdirSync(join(root, "runs"))
    .filter((found) => new RegExp(`^compare-${name}(-\\d{8}T\\d{6}(-\\d+)?)?$`).test(found))
    .map((found) => join(root, "runs", found))
    .sort((a, b) => statSync(a).mtimeMs - statSync(b).mtimeMs)
    .at(-1);
  if (folder === undefined) continue;
  const found = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith("comparison.md"),
  );
  // Earlier versions had a folder for each condition.
  const files = found.includes("comparison.md") ? ["comparison.md"] : found.sort();
  if (files.length === 0) continue;
  const tables = files.map((file) => {
    const date = statSync(join(folder, file)).mtime.toISOString().slice(0, 10);
    return `${readFileSync(join(folder, file), "utf8").replaceAll(/^#/gm, "###")}\n${date}\n`;
  });
  const [begin, end] = [`<!-- ${name} -->`, `<!-- end of ${name} -->`];
  text = `${text.slice(0, text.indexOf(begin) + begin.length)}\n\n${tables.join("\n")}\n${text.slice(text.indexOf(end))}`;
}
writeFileSync(page, text);
