/**
 * Are the base weights in memory once, however many workers train on them?
 *
 *   npm run bench -- memory
 *
 * A model of 200 MB is mapped by 1, 2 and 4 worker threads, each of which takes one training step. PSS is what the
 * kernel counts of the weights file for this process, every page once (Linux only).
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatBytes } from "../src/base/units.ts";
import { baseWeightPlan } from "../src/model/base-weights.ts";
import { formatTable } from "../src/report/table.ts";
import { everywhere, stepPool } from "./measure.ts";
import { largeConfig, randomWeights } from "./step.ts";

export default async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "flame-bench-"));
  try {
    const weights = await randomWeights(folder, largeConfig);
    const rows: string[][] = [];
    for (const count of [1, 2, 4]) {
      const pool = stepPool(count);
      await everywhere(pool, { folder, steps: 1 });
      const { pss, mappings } = mappingOf(weights.path);
      rows.push([String(count), formatBytes(pss), String(mappings), formatBytes(process.memoryUsage.rss())]);
      await pool.close();
    }
    const file = formatBytes(baseWeightPlan(largeConfig).bytes);
    process.stdout.write(`weights file: ${file}\n\n`);
    const columns = ["workers", "PSS of the file", "mappings", "RSS of the process"];
    process.stdout.write(`${formatTable(columns, rows)}\n`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function mappingOf(path: string): { pss: number; mappings: number } {
  let pss = 0;
  let mappings = 0;
  let inside = false;
  for (const line of readFileSync("/proc/self/smaps", "utf8").split("\n")) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) {
      inside = line.endsWith(path);
      if (inside) mappings++;
    } else if (inside && line.startsWith("Pss:")) pss += Number(line.split(/\s+/)[1]) * 1024;
  }
  return { pss, mappings };
}
