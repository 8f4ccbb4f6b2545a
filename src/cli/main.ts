#!/usr/bin/env node
/** Where the process of the `flame` command begins: with the question whether it can. */
import { writeSync } from "node:fs";
import { shortage } from "./shortage.ts";

const lack = shortage();
if (lack === null) void (await import("./process.ts")).begin();
else {
  writeSync(2, `error ${lack}\n`);
  process.exitCode = 1;
}
