/** `flame serve`: hits and latency of a device that serves a cut model from fewer slots than it has experts. */
import { mean, quantile } from "simple-statistics";
import { InputError } from "../../base/errors.ts";
import { Rng } from "../../base/random.ts";
import { formatShare } from "../../base/units.ts";
import { formatTable } from "../../report/table.ts";
import { evictions } from "../../sim/serving/expert-cache.ts";
import { type ServingSpec, serve } from "../../sim/serving/serving.ts";
import { terminal } from "../screen/terminal.ts";

interface Flags extends Omit<ServingSpec, "eviction" | "batching"> {
  readonly seed: number;
  readonly json?: boolean;
}

export function serveRequests({ seed, json, ...spec }: Flags): void {
  if (spec.active > spec.experts) {
    throw new InputError(`--active is ${spec.active}, expected at most ${spec.experts}, --experts`);
  }
  const rows = (["arrival", "experts"] as const).flatMap((batching) =>
    evictions.map((eviction) => {
      const served = serve({ ...spec, batching, eviction }, new Rng(seed));
      const latencies = [...served.latencies];
      return {
        batching,
        eviction,
        hits: served.hits / served.uses,
        expertsPerBatch: served.uses / served.batches,
        tokensPerBatch: served.tokens / served.batches,
        meanLatency: mean(latencies),
        p95Latency: quantile(latencies, 0.95),
      };
    }),
  );
  if (json === true) {
    terminal.out.write(`${JSON.stringify({ ...spec, seed, rows })}\n`);
    return;
  }
  const titles = ["batches by", "eviction", "hits", "experts/batch", "tokens/batch", "mean latency", "95 %"];
  const cells = rows.map((row) => [
    row.batching,
    row.eviction,
    formatShare(row.hits),
    row.expertsPerBatch.toFixed(2),
    row.tokensPerBatch.toFixed(2),
    `${row.meanLatency.toFixed(1)}ms`,
    `${row.p95Latency.toFixed(1)}ms`,
  ]);
  terminal.out.write(`${formatTable(titles, cells, 2)}\n`);
}
