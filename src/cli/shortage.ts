/**
 * What this process has too little of to begin. It is asked before anything else is loaded: what loads modules does not say
 * why it cannot open a file.
 */
import { closeSync, openSync } from "node:fs";
import { devNull } from "node:os";
import { addressesLeft } from "../base/processes.ts";
import { formatBytes } from "../base/units.ts";

/** While it loads with a file for each module, the program has about 230 files open at once. */
const files = 256;

/** Bytes of addresses that the program takes to load, and to play a small run without training. */
const addresses = 0.75e9;

/** Null where there is enough. */
export function shortage(): string | null {
  const found = filesToOpen();
  if (found < files) {
    return `this process may open ${found} more files, expected at least ${files}; ulimit -n 1024 raises the limit`;
  }
  const left = addressesLeft();
  if (left < addresses) {
    const [some, enough] = [left, addresses].map((bytes) => formatBytes(Math.max(0, bytes)));
    return `this process may use ${some} more of addresses, expected at least ${enough}; ulimit -v unlimited lifts the limit`;
  }
  return null;
}

/** As many as are needed, at most. */
function filesToOpen(): number {
  const open: number[] = [];
  try {
    while (open.length < files) open.push(openSync(devNull, "r"));
  } catch {
    // The number says it.
  }
  for (const file of open) closeSync(file);
  return open.length;
}
