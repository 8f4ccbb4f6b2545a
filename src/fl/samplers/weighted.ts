/**
 * Clients in proportion to their number of examples, without replacement: each draw takes client i with probability
 * n_i ÷ the sum over those not yet drawn.
 *
 * Drawing a row uniformly and keeping it with probability n_i / max n does the same without a sum over the eligible;
 * when that misses too often, one scan finishes the choice exactly. A client without examples is never drawn.
 */
import { z } from "zod";
import { type ClientId, clientId } from "../../base/ids.ts";
import type { ClientSampler } from "../sampler.ts";
import { allEligible, ascending, sampleWeighted } from "./choose.ts";

export const weightedSpec = z.strictObject({ type: z.literal("weighted") });

export function weighted(): ClientSampler {
  return {
    name: "weighted",
    spec: { type: "weighted" },
    needsLosses: false,
    select(candidates, count, draws) {
      const { fleet } = candidates;
      let most = 0;
      for (let row = 0; row < fleet.size; row++) most = Math.max(most, fleet.examples[row]!);
      const chosen = new Set<ClientId>();
      for (let attempts = 0; attempts < fleet.size && chosen.size < count; attempts++) {
        const client = clientId(draws.below(fleet.size));
        const kept = draws.uniform() * most < fleet.examples[client]!;
        if (kept && !chosen.has(client) && candidates.isEligible(client)) chosen.add(client);
      }
      if (chosen.size < count) {
        const rest = allEligible(candidates).filter((client) => !chosen.has(client));
        const weights = rest.map((client) => fleet.examples[client]!);
        for (const client of sampleWeighted(rest, weights, count - chosen.size, draws)) chosen.add(client);
      }
      return ascending([...chosen]);
    },
  };
}
