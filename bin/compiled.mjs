/**
 * The sources as JavaScript, compiled when they are not yet.
 *
 * What was compiled lies in a folder of `.cache/compiled` that is named by the digest of all it was made from, and is never
 * written to again: no edit, checkout or deletion is missed, and a program that runs keeps its own code until it ends.
 */
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
/** Written last: a folder without it is not whole. */
const digestFile = "sources.sha256";

/** What nobody started for this long goes when something else is compiled; until then a run may still load files of it. */
const keptMs = 7 * 24 * 3_600_000;

/**
 * The folder with the sources as they are now. Several processes may ask at once.
 *
 * Types are left to `npm run check`: what is half done can be tried.
 *
 * @returns {Promise<string>}
 * @throws when they do not compile
 */
export async function compiled() {
  for (;;) {
    const digest = sourcesNow();
    const folder = join(builds, digest);
    if (!isWhole(folder)) {
      const draft = `${folder}.${process.pid}`;
      await compile(draft, { maps: true });
      // What was edited meanwhile may or may not be in it.
      if (sourcesNow() === digest) publish(draft, folder);
      rmSync(draft, { recursive: true, force: true });
      removeOld();
    }
    if (isWhole(folder)) {
      markUsed(folder);
      return folder;
    }
  }
}

/** @param {string} folder */
const isWhole = (folder) => existsSync(join(folder, digestFile));

/** @param {string} folder */
function markUsed(folder) {
  try {
    utimesSync(folder, new Date(), new Date());
  } catch (error) {
    // Where nobody may write, nobody removes what is old.
    if (!["EROFS", "EACCES", "EPERM"].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? "")) throw error;
  }
}

/** What starts as a process, and what users import; of the rest nobody asks by its place. */
const entries = ["src/cli/main", "src/index", "src/study/cell-worker"];

/** Threads, and what is loaded here, share nothing with them: from few files of its own a worker is there a sixth sooner. */
const alone = ["actors/worker", "src/cli/screen/signal-thread", "src/run/package", "src/study/scenario-imports"];

/** Packages with native code, with files of their own beside it, or that may be missing: they are loaded where they lie. */
const apart = ["@nats-io/*", "@tensorflow/*", "esbuild", "onnxruntime-node", "piscina", "tsx"];

/**
 * Puts the modules and most packages that the program consists of into a few files, in a third of the time a start takes with
 * one file for each. Types are not looked at.
 *
 * @param {string} folder is made; nothing is left of it if this fails
 * @param {{ more?: readonly string[], maps?: boolean }} [options] further modules that start on their own, and whether lines
 *   of the sources are to be found
 * @returns {Promise<string[]>} the packages that were put into it
 */
export async function compile(folder, { more = [], maps = false } = {}) {
  const { build } = await import("esbuild").catch(() => {
    throw new Error("esbuild, which compiles the sources, is not installed: npm ci");
  });
  const bundle = (/** @type {readonly string[]} */ names) =>
    build({
      absWorkingDir: root,
      entryPoints: names.map((name) => `${name}.ts`),
      outbase: root,
      outdir: folder,
      bundle: true,
      splitting: true,
      chunkNames: "chunks/[hash]",
      format: "esm",
      platform: "node",
      target: "es2023",
      external: apart,
      // Of packages that are still CommonJS.
      banner: {
        js: `import { createRequire as makeRequire } from "node:module"; const require = makeRequire(import.meta.url);`,
      },
      sourcemap: maps,
      sourcesContent: false,
      metafile: true,
      logLevel: "silent",
    });
  /** @type {string[]} */
  const inputs = [];
  try {
    for (const names of [[...entries, ...more], ...alone.map((name) => [name])]) {
      const { metafile } = await bundle(names);
      inputs.push(...Object.keys(metafile.inputs));
    }
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw new Error(`the sources do not compile:\n${/** @type {Error} */ (error).message}`);
  }
  const { sourceDigest } = await import(pathToFileURL(join(folder, "src/run/package.js")).href);
  writeFileSync(join(folder, digestFile), sourceDigest(root));
  const names = inputs.map((path) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
  return [...new Set(names)].filter((name) => name !== undefined).sort();
}

/** SHA-256 of everything that compiled output depends on. */
function sourcesNow() {
  const hash = createHash("sha256");
  const installed = join("node_modules", ".package-lock.json");
  const files = ["bin/compiled.mjs", "package.json", "tsconfig.json"];
  // npm's list of what is installed; other package managers have none.
  files.push(existsSync(join(root, installed)) ? installed : "package-lock.json");
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
  if (!isWhole(folder)) rmSync(folder, { recursive: true, force: true });
  try {
    renameSync(draft, folder);
  } catch (error) {
    // Another process was faster.
    if (!isWhole(folder)) throw error;
  }
}

function removeOld() {
  for (const name of readdirSync(builds)) {
    const path = join(builds, name);
    if (statSync(path).mtimeMs < Date.now() - keptMs) rmSync(path, { recursive: true, force: true });
  }
}
