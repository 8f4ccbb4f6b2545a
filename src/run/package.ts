/** What version of the program this is, and what it brings with it. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { codeRoot, packageRoot } from "../base/places.ts";

export function programVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as { version: string };
  return version;
}

/** The base model that comes with the program. */
export const embeddedModel = (): string => join(packageRoot(), "assets", "base");

/** Published models of which the program brings the configuration alone: name → folder. */
export function knownShapes(): ReadonlyMap<string, string> {
  const folder = join(packageRoot(), "assets", "shapes");
  const names = readdirSync(folder).filter((name) => existsSync(join(folder, name, "config.json")));
  return new Map(names.sort().map((name) => [name, join(folder, name)]));
}

/** The rooms that have a say in what a run comes to. */
const rooms = [
  ...["actors", "base", "data", "engine", "fl", "folder", "model", "records"],
  ...["run", "runtime", "scenario", "sim", "tasks", "tensor"],
];

/**
 * SHA-256 of the code that a run's results depend on, and of the versions of the libraries it uses: what a version number
 * says only once it has been raised. The same for the sources and for what is compiled from them.
 */
export function codeDigest(): string {
  if (digest !== null) return digest;
  const root = codeRoot();
  const noted = join(root, "sources.sha256");
  const code = existsSync(noted) ? readFileSync(noted, "utf8") : sourceDigest(root);
  const hash = createHash("sha256").update(code);
  for (const [name, version] of libraries()) hash.update(`${name}@${version}\0`);
  digest = hash.digest("hex");
  return digest;
}

/** @public Of the sources under `root`; whoever compiles them notes it in `sources.sha256` beside the output. */
export function sourceDigest(root: string): string {
  const hash = createHash("sha256");
  for (const room of rooms) {
    const folder = join(root, room === "actors" ? room : join("src", room));
    const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
    for (const name of names.filter((name) => name.endsWith(".ts")).sort()) {
      const path = join(folder, name);
      hash
        .update(`${relative(root, path)}\0`)
        .update(readFileSync(path))
        .update("\0");
    }
  }
  return hash.digest("hex");
}

/** The program does not change while it runs. */
let digest: string | null = null;

/** What is installed may be newer than what package.json asks for. */
function libraries(): [name: string, version: string][] {
  const manifest = (path: string) =>
    JSON.parse(readFileSync(path, "utf8")) as { version: string; dependencies?: Record<string, string> };
  const names = Object.keys(manifest(join(packageRoot(), "package.json")).dependencies ?? {});
  return [...names, "@tensorflow/tfjs-node", "@tensorflow/tfjs-node-gpu"].sort().flatMap((name) => {
    for (let folder = packageRoot(); ; folder = dirname(folder)) {
      const path = join(folder, "node_modules", name, "package.json");
      if (existsSync(path)) return [[name, manifest(path).version]];
      if (dirname(folder) === folder) return [];
    }
  });
}
