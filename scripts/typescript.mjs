/**
 * Lets Node run the TypeScript of a checkout: `node --import ./scripts/typescript.mjs <file>`, for tests above all.
 *
 * A file is compiled when its text is new, and kept in `.cache/typescript`. Next to tsx, which is for scenarios of the user, a
 * process that loads the whole program starts with 0.6 s of computing less: nothing is resolved that Node resolves by itself.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import module, { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const program = new URL("../src/index.ts", import.meta.url).href;
const kept = join(root, ".cache", "typescript");
const require = createRequire(import.meta.url);
/** @type {string} */
const compiler = require("esbuild/package.json").version;

/** @type {module.ResolveHook} as tsconfig.json says under `paths` */
export function resolve(name, context, next) {
  // What is named in full needs no looking for, a tenth of what it takes to load the program.
  if (/^\.\.?\/.*\.ts$/.test(name)) return { url: new URL(name, context.parentURL).href, shortCircuit: true };
  return next(name === "flame-sim" ? program : name, context);
}

/** @type {module.LoadHook} */
export function load(url, context, next) {
  if (!/^file:.*\.ts(\?|$)/.test(url) || url.includes("/node_modules/")) return next(url, context);
  return { format: "module", source: javascript(fileURLToPath(url)), shortCircuit: true };
}

/** @param {string} path */
function javascript(path) {
  const text = readFileSync(path, "utf8");
  const own = path.startsWith(root);
  const file = join(kept, `${path.slice(root.length).replaceAll(/[\\/]/g, "-")}.js`);
  const mark = `// ${createHash("sha256").update(compiler).update(path).update(text).digest("hex")}\n`;
  if (own) {
    const code = readIfThere(file);
    if (code?.startsWith(mark)) return code;
  }
  /** @type {typeof import("esbuild")} */
  const { transformSync } = require("esbuild");
  const { code } = transformSync(text, {
    loader: "ts",
    target: "es2023",
    sourcefile: path,
    sourcemap: "inline",
    sourcesContent: false,
    banner: mark.trimEnd(),
  });
  if (own) {
    mkdirSync(kept, { recursive: true });
    // Several processes may write it at once.
    writeFileSync(`${file}.${process.pid}`, code);
    renameSync(`${file}.${process.pid}`, file);
  }
  return code;
}

/** @param {string} file */
function readIfThere(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}

// Every thread asks for its hooks. They run on another one, which loads this file once more.
if (!import.meta.url.endsWith("?hooks")) {
  process.setSourceMapsEnabled(true);
  module.register(`${import.meta.url}?hooks`);
}
