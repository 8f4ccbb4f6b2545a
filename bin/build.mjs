/** `npm run build`: what the package publishes, in `dist` or the folder that is named. */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { compile } from "./compiled.mjs";

const [dist = resolve("dist")] = process.argv.slice(2);
rmSync(dist, { recursive: true, force: true });
const packages = await compile(dist);
writeFileSync(join(dist, "NOTICES"), packages.map(noticeOf).join("\n\n"));
const words = ["node_modules/typescript/bin/tsc", "--project", "tsconfig.build.json", "--outDir", dist];
process.exitCode = spawnSync(process.execPath, words, { stdio: "inherit" }).status ?? 1;

/** What the licence of a package asks to be told wherever its code goes. @param {string} name */
function noticeOf(name) {
  const folder = join("node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|notice)/i.test(file));
  const texts = files.map((file) => readFileSync(join(folder, file), "utf8").trim());
  return [`${name} ${version}: ${license}`, ...texts].join("\n\n");
}
