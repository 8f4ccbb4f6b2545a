/** Where the program's own files are, and those it keeps for its user. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { MachineError } from "./errors.ts";

/** The folder that holds package.json, assets/ and scenarios/: the code runs from `src/`, and compiled from another folder. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error("package.json of flame-sim is missing: the installation is damaged");
    folder = parent;
  }
  return folder;
}

const places = {
  cache: { variable: "XDG_CACHE_HOME", usual: ".cache" },
  state: { variable: "XDG_STATE_HOME", usual: ".local/state" },
} as const;

/**
 * A folder that is this user's alone, where the XDG base directory standard puts it: a relative path there does not count.
 *
 * @param home how the system tells the home folder
 * @throws MachineError where this user has none, as an arbitrary user of a container
 */
export function userFolder(
  kind: keyof typeof places,
  environment: Readonly<Record<string, string | undefined>> = process.env,
  home = homedir,
): string {
  const { variable, usual } = places[kind];
  const given = environment[variable] ?? "";
  if (isAbsolute(given)) return join(given, "flame-sim");
  const place = homeOrNone(home);
  if (isAbsolute(place)) return join(place, usual, "flame-sim");
  throw new MachineError(`this user has no home folder: expected one in HOME, or a folder in ${variable}`);
}

function homeOrNone(home: () => string): string {
  try {
    return home();
  } catch {
    return "";
  }
}
