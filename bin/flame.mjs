/** The `flame` command of a checkout: `npm run flame -- <command>`. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { compiled } from "./compiled.mjs";

const program = await compiled().catch((error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
// Stacks name lines of the sources.
process.setSourceMapsEnabled(true);
await import(pathToFileURL(join(program, "src", "cli", "main.js")).href);
