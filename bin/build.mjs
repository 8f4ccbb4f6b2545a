/** `npm run build`: what the package publishes, in `dist`. */
import { rmSync } from "node:fs";
import { compile } from "./compiled.mjs";

rmSync("dist", { recursive: true, force: true });
await compile("dist");
