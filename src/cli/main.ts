#!/usr/bin/env node
/** Where the process of the `flame` command begins. */
import { restartWithHugePages } from "../engine/huge-pages.ts";
import { flame } from "./flame.ts";

process.exitCode = await flame(process.argv.slice(2), restartWithHugePages);
