/**
 * The sources as JavaScript, compiled when they are not yet.
 *
 * What was compiled lies in a folder of `.cache/compiled` that is named by the digest of all it was made from, and is never
 * written to again: no edit, checkout or deletion is missed, and a program that runs keeps its own code until it ends.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const builds = join(root, ".cache", "compiled");

/** What nobody started for this long goes when something else is compiled; until then a run may still load files of it. */
const keptMs = 7 * 24 * 3_600_000;

/**
 * The folder with the sources as they are now. Several processes may ask at once.
 *
 * Types are left to `npm run check`: without them compiling takes a third of the time, and what is half done can be tried.
 *
 * @returns {Promise<string>}
 * @throws when they do not compile
 */
export async function compiled() {
  for (;;) {
    const digest = sourcesNow();
    const folder = join(builds, digest);
    if (!existsSync(folder)) {
      const draft = `${folder}.${process.pid}`;
      await compile(draft, ["--noCheck", "--declaration", "false", "--sourceMap"]);
      // What was edited meanwhile may or may not be in it.
      if (sourcesNow() === digest) publish(draft, folder);
      rmSync(draft, { recursive: true, force: true });
      removeOld();
    }
    if (existsSync(folder)) {
      utimesSync(folder, new Date(), new Date());
      return folder;
    }
  }
}

/**
 * Compiles the sources as tsconfig.build.json says, and notes their digest beside them: a run that is continued asks for it.
 *
 * @param {string} folder
 * @param {string[]} options of the compiler
 */
export async function compile(folder, options = []) {
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  if (!existsSync(compiler)) throw new Error("typescript, which compiles the sources, is not installed: npm ci");
  const words = [compiler, "--project", "tsconfig.build.json", "--outDir", folder, ...options];
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { cwd: root, encoding: "utf8" });
  if (status !== 0) {
    rmSync(folder, { recursive: true, force: true });
    throw new Error(`the sources do not compile:\n${stdout}${stderr}`);
  }
  const { sourceDigest } = await import(pathToFileURL(join(folder, "src/run/package.js")).href);
  writeFileSync(join(folder, "sources.sha256"), sourceDigest(root));
}

/** SHA-256 of everything that compiled output depends on. */
function sourcesNow() {
  const hash = createHash("sha256");
  const files = ["bin/compiled.mjs", "package.json", "package-lock.json", "tsconfig.json", "tsconfig.build.json"];
  for (const folder of ["actors", "src"]) {
    const names = readdirSync(join(root, folder), { recursive: true, encoding: "utf8" });
    files.push(...names.filter((name) => name.endsWith(".ts")).map((name) => join(folder, name)));
  }
  for (const file of files.sort()) {
    const bytes = readFileSync(join(root, file));
    hash.update(`${file}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest("hex").slice(0, 32);
}

/** @param {string} draft @param {string} folder */
function publish(draft, folder) {
  try {
    renameSync(draft, folder);
  } catch (error) {
    // Another process was faster.
    if (!existsSync(folder)) throw error;
  }
}

function removeOld() {
  for (const name of readdirSync(builds)) {
    const path = join(builds, name);
    if (statSync(path).mtimeMs < Date.now() - keptMs) rmSync(path, { recursive: true, force: true });
  }
}
