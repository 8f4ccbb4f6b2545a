/**
 * Power of choice: of d candidates drawn by their share of the data, invite those with the highest loss.
 *
 * The loss is that of a client's last counted update, so choosing costs no extra communication; a client that was never
 * counted goes first. A large d learns faster at first and ends further from the optimum of all clients.
 * Cho, Wang, Joshi, "Client Selection in Federated Learning", 2020. https://arxiv.org/abs/2010.01243
 */
import { z } from "zod";
import { parseSpec } from "../problem.ts";
import type { ClientSampler } from "../sampler.ts";
import { ascending, highest } from "./choose.ts";
import { weighted } from "./weighted.ts";

export const powerOfChoiceSpec = z.strictObject({
  type: z.literal("power-of-choice"),
  /** d; at least the number of invitations is drawn. */
  candidates: z.int().min(1),
});

export type PowerOfChoiceOptions = Omit<z.input<typeof powerOfChoiceSpec>, "type">;

export function powerOfChoice(options: PowerOfChoiceOptions): ClientSampler {
  const spec = parseSpec("sampler", powerOfChoiceSpec, { type: "power-of-choice", ...options });
  const byData = weighted();
  return {
    name: `power-of-choice(${spec.candidates})`,
    spec,
    needsLosses: true,
    select(candidates, count, draws) {
      const drawn = byData.select(candidates, Math.max(count, spec.candidates), draws);
      const losses = Float64Array.from(drawn, (client) => {
        const loss = candidates.history.loss[client]!;
        return Number.isNaN(loss) ? Infinity : loss;
      });
      return ascending(highest(losses, count).map((index) => drawn[index]!));
    },
  };
}
