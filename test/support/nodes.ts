/** Other versions of Node on this machine. Tests download none. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

export interface OtherNode {
  readonly path: string;
  /** As in `v22.23.3`. */
  readonly version: string;
}

/** Where version managers, `npx -p node@22 -- node` and the environment variable FLAME_NODES (a list of paths) put them. */
function candidates(): string[] {
  const named = (process.env.FLAME_NODES ?? "").split(":").filter((path) => path !== "");
  const inside = (folder: string, rest: string) =>
    existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name, rest)) : [];
  const home = homedir();
  return [
    ...named,
    ...inside(join(home, ".nvm/versions/node"), "bin/node"),
    ...inside(join(home, ".local/share/fnm/node-versions"), "installation/bin/node"),
    ...inside(join(home, ".npm/_npx"), "node_modules/node/bin/node"),
    ...inside("/usr/local/n/versions/node", "bin/node"),
  ];
}

/** One of each major version from 20 on, other than the one that runs. */
export function otherNodes(): OtherNode[] {
  const found = new Map<string, OtherNode>();
  for (const path of candidates()) {
    if (!existsSync(path)) continue;
    const version = versionOf(path);
    const major = version?.split(".")[0];
    if (version === null || major === undefined || major === process.version.split(".")[0]) continue;
    if (Number(major.slice(1)) >= 20) found.set(major, { path, version });
  }
  return [...found.values()].sort((a, b) => (a.version < b.version ? -1 : 1));
}

function versionOf(path: string): string | null {
  try {
    return execFileSync(path, ["--version"], { encoding: "utf8" }).trim();
  } catch {
    return null;
  }
}
