/**
 * Plants one fault after the other in a copy of the program, and lets the swarm look for it: each has to be found by some seed.
 *
 *   npm run mutants                              all of them, up to 300 seeds each; a quarter of an hour on two cores
 *   npm run mutants -- --only fsync --count 30   those with the word in their name
 */
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Mutant, mutants } from "../test/support/swarm/mutants.ts";

const { values } = parseArgs({
  options: { only: { type: "string", default: "" }, count: { type: "string", default: "300" } },
});
const root = join(import.meta.dirname, "..");
let missed = 0;
for (const mutant of mutants.filter(([name]) => name.includes(values.only))) {
  const found = hunt(mutant);
  if (found === null) missed++;
  console.log(`${mutant[0]}: ${found ?? "NOT FOUND"}`);
}
process.exitCode = missed === 0 ? 0 : 1;

/** The seed that found it, and the rule that it broke; null where nothing did. */
function hunt([name, kind, file, text, fault]: Mutant): string | null {
  const copy = mkdtempSync(join(tmpdir(), "flame-mutant-"));
  try {
    for (const part of [
      "src",
      "actors",
      "assets",
      "bin",
      "scripts",
      "test/support",
      "scenarios",
      "package.json",
      "tsconfig.json",
    ]) {
      cpSync(join(root, part), join(copy, part), { recursive: true });
    }
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    const sound = readFileSync(join(copy, file), "utf8");
    const draws = fault.includes("drawn") ? "let drawn = 0;\n" : "";
    writeFileSync(join(copy, file), `${draws}${sound.replace(text, () => fault)}`);
    const words = ["scripts/swarm.ts", "--kind", kind, "--count", values.count, "--first"];
    const { stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", ...words], {
      cwd: copy,
      encoding: "utf8",
    });
    const [, seed, rule] = /^seed (\d+) fails: (.*)/m.exec(stdout) ?? [];
    if (seed === undefined && !/ 0 failed/.test(stdout)) throw new Error(`${name}: ${stdout}${stderr}`);
    return seed === undefined ? null : `${kind} ${seed}, ${rule}`;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
