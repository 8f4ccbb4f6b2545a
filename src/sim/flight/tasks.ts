/** What makes two tasks on one device differ. */
import * as z from "zod";
import type { Rng } from "../../base/random.ts";
import { drawFrom, lawSchema } from "../fleet/laws.ts";
import { type Flight, luckOf } from "./flight.ts";

export const computeSchema = z.strictObject({
  noise: lawSchema
    .exactOptional()
    .describe("factor on each task's duration: heat, other apps. A log-normal with mean 1 and cv 0.1 to 0.3 is usual"),
  duration: lawSchema
    .exactOptional()
    .describe(
      "seconds each task takes, instead of what the device would need: for models that know response times only",
    ),
});

export type ComputeSpec = Readonly<z.output<typeof computeSchema>>;

/** Sets what the task takes on its device today. */
export function setWork(flight: Flight, { noise, duration }: ComputeSpec, rng: Rng): void {
  if (noise === undefined && duration === undefined) return;
  if (duration !== undefined) flight.total = 1_000 * drawFrom(duration, luckOf(rng, "task duration", flight));
  if (noise !== undefined) flight.total *= drawFrom(noise, luckOf(rng, "task noise", flight));
  flight.stopAt = flight.total;
}
