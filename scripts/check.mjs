/**
 * Checks types, style and that nothing is dead, side by side: `npm run check`. What finds something is printed, whole.
 *
 * tsc and knip keep what they found out in `.cache`.
 */
import { exec } from "node:child_process";
import { promisify } from "node:util";

const knip = "knip --cache --cache-location .cache/knip";
// Each checker of tsc looks up for itself what several need, and Go collects garbage as if memory were scarce.
const checks = ["tsc --checkers 1", "biome check .", knip, `${knip}-production --production`];

/** @param {string} command */
async function findings(command) {
  try {
    await promisify(exec)(command, { env: { GOGC: "400", ...process.env }, maxBuffer: 2 ** 26 });
    return "";
  } catch (error) {
    const { stdout, stderr } = /** @type {import("node:child_process").ExecException} */ (error);
    return `${command}\n${stdout}${stderr}`;
  }
}

for (const found of await Promise.all(checks.map(findings))) {
  if (found === "") continue;
  process.stdout.write(found);
  process.exitCode = 1;
}
