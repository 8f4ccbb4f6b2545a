/** Where the program's own files are: the same code runs from `src/` under tsx, and compiled from another folder. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that holds package.json, assets/ and scenarios/. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error("package.json of flame-sim is missing: the installation is damaged");
    folder = parent;
  }
  return folder;
}
