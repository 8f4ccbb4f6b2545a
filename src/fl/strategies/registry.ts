/** Every aggregation strategy by name: from plain data to a strategy, and the schema of that data. */
import { z } from "zod";
import { unreachable } from "../../base/errors.ts";
import { parseSpec } from "../problem.ts";
import type { AggregationStrategy, StrategySpec } from "../strategy.ts";
import { clipNormField, clipped } from "./clipped.ts";
import { coordinateMedian, coordinateMedianSpec } from "./coordinate-median.ts";
import { fedavg, fedavgSpec } from "./fedavg.ts";
import { fedavgm, fedavgmSpec } from "./fedavgm.ts";
import { fedadagrad, fedadagradSpec, fedadam, fedadamSpec, fedyogi, fedyogiSpec } from "./fedopt.ts";
import { flame, flameSpec } from "./flame.ts";
import { krum, krumSpec, multiKrum, multiKrumSpec } from "./krum.ts";
import { mix, mixSpec } from "./mix.ts";
import { trimmedMean, trimmedMeanSpec } from "./trimmed-mean.ts";

export {
  clipped,
  coordinateMedian,
  fedadagrad,
  fedadam,
  fedavg,
  fedavgm,
  fedyogi,
  flame,
  krum,
  mix,
  multiKrum,
  trimmedMean,
};

/** Any strategy may have `clipNorm`, a bound on the norm of each client's delta. */
const clipping = { clipNorm: clipNormField.exactOptional() };

export const strategySpecSchema = z.discriminatedUnion("type", [
  flameSpec.extend(clipping),
  fedavgSpec.extend(clipping),
  fedavgmSpec.extend(clipping),
  fedadamSpec.extend(clipping),
  fedyogiSpec.extend(clipping),
  fedadagradSpec.extend(clipping),
  mixSpec.extend(clipping),
  coordinateMedianSpec.extend(clipping),
  trimmedMeanSpec.extend(clipping),
  krumSpec.extend(clipping),
  multiKrumSpec.extend(clipping),
]);

/** The strategy a spec names. `strategyFromSpec(s.spec)` is `s` again. */
export function strategyFromSpec(spec: StrategySpec): AggregationStrategy {
  const parsed = parseSpec("strategy", strategySpecSchema, spec);
  const strategy = build(parsed);
  return parsed.clipNorm === undefined ? strategy : clipped(strategy, { norm: parsed.clipNorm });
}

function build({ clipNorm: _, ...spec }: z.output<typeof strategySpecSchema>): AggregationStrategy {
  switch (spec.type) {
    case "flame":
      return flame(spec);
    case "fedavg":
      return fedavg(spec);
    case "fedavgm":
      return fedavgm(spec);
    case "fedadam":
      return fedadam(spec);
    case "fedyogi":
      return fedyogi(spec);
    case "fedadagrad":
      return fedadagrad(spec);
    case "mix":
      return mix();
    case "coordinate-median":
      return coordinateMedian(spec);
    case "trimmed-mean":
      return trimmedMean(spec);
    case "krum":
      return krum(spec);
    case "multi-krum":
      return multiKrum(spec);
    default:
      return unreachable(spec);
  }
}
