#!/usr/bin/env node
/** Where the process of the `flame` command begins. */
import { restartWithHugePages } from "../engine/huge-pages.ts";
import { flame } from "./flame.ts";

// Whoever reads may stop reading, as head does after a line: the work goes on without an audience.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

process.exitCode = await flame(process.argv.slice(2), restartWithHugePages);
