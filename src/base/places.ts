/** Where the program's own files are, and those it keeps for its user. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, extname, isAbsolute, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { MachineError } from "./errors.ts";

const here = fileURLToPath(import.meta.url);
const isCompiled = extname(here) === ".js";

/** The folder that holds package.json, assets/ and scenarios/: the code runs from `src/`, and compiled from another folder. */
export const packageRoot = (): string => above("package.json");

/** The folder of `src` and `actors`, as they are written or compiled. */
export const codeRoot = (): string => above(isCompiled ? "sources.sha256" : "package.json");

/** A module that starts on its own or is asked for by its place: `actors/worker`. */
export const moduleUrl = (path: string): URL => pathToFileURL(join(codeRoot(), `${path}${isCompiled ? ".js" : ".ts"}`));

function above(name: string): string {
  let folder = dirname(here);
  while (!existsSync(join(folder, name))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`${name} of flame-sim is missing: the installation is damaged`);
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
