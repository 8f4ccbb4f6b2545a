/**
 * Power of choice: of d candidates drawn by their share of the data, invite those with the highest loss.
 *
 * The loss is that of a client's last counted update, so choosing costs no extra communication; a client that was never
 * counted goes first. A large d learns faster at first and ends further from the optimum of all clients.
 * Cho, Wang, Joshi, "Client Selection in Federated Learning", 2020. https://arxiv.org/abs/2010.01243
 */
import * as z from "zod";
import { defineSampler } from "../sampler.ts";
import { ascending, highest, sampleByExamples } from "./choose.ts";

export const powerOfChoice = defineSampler({
  type: "power-of-choice",
  is: "of clients drawn by their data, those with the highest loss",
  options: {
    candidates: z
      .int()
      .min(1)
      .describe("d, clients drawn by their data, of whom those with the highest loss are invited"),
  },
  name: ({ candidates }) => `power-of-choice(${candidates})`,
  make: ({ candidates: d }) => ({
    needsLosses: true,
    select(candidates, count, draws) {
      const drawn = sampleByExamples(candidates, Math.max(count, d), draws);
      const losses = Float64Array.from(drawn, (client) => {
        const loss = candidates.history.loss[client]!;
        return Number.isNaN(loss) ? Infinity : loss;
      });
      return ascending(highest(losses, count).map((index) => drawn[index]!));
    },
  }),
});
