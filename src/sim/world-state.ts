/** The world as plain data, each part as the file says that writes it. */
import * as z from "zod";
import { InputError } from "../base/errors.ts";
import { batteryStateSchema } from "./availability/battery.ts";
import { flightTableSchema } from "./flight/flight.ts";
import type { Kernel } from "./kernel/kernel.ts";
import { meterSchema } from "./network/meter.ts";
import { repeatsSchema } from "./network/repeats.ts";
import { serverLinksSchema } from "./network/server-links.ts";
import { conditionsSchema } from "./script/conditions.ts";
import { directorSchema } from "./script/director.ts";

export const worldSchema = z.strictObject({
  flights: flightTableSchema,
  links: serverLinksSchema,
  conditions: conditionsSchema,
  director: directorSchema,
  repeats: repeatsSchema,
  meter: meterSchema,
  batteries: batteryStateSchema.nullable(),
});
export type WorldState = Readonly<z.output<typeof worldSchema>>;

/**
 * @throws InputError unless each flight is of a client of the fleet and waits for no event of another, and what they carry
 *   is what the meter misses
 */
export function checkFlights({ flights: { slots }, meter }: WorldState, kernel: Kernel, clients: number): void {
  const events = new Map(kernel.scheduled("flight").map(({ sequence, data }) => [sequence, data]));
  for (const [slot, flight] of slots.entries()) {
    if (flight === null) continue;
    const { client, event } = flight;
    const place = `flights.slots[${slot}]`;
    if (client >= clients) throw new InputError(`${place}.client is ${client}, expected one in [0, ${clients})`);
    // Where a shared link sets the pace it may be past.
    if (events.has(event) && events.get(event) !== slot) {
      throw new InputError(`${place}.event is ${event}, which is scheduled for slot ${events.get(event)}`);
    }
  }
  const { downloadSent, downloadReceived, downloadLost, uploadSent, uploadReceived, uploadLost } = meter.traffic;
  const underWay = {
    down: downloadSent - downloadReceived - downloadLost,
    up: uploadSent - uploadReceived - uploadLost,
  };
  for (const way of ["down", "up"] as const) {
    const copies = slots.filter((flight) => flight?.is === way && flight.isMetered && flight.step !== "copy");
    const carried = copies.reduce((sum, flight) => sum + flight!.total, 0);
    if (carried === underWay[way]) continue;
    throw new InputError(`meter.traffic has ${underWay[way]} bytes under way (${way}), but flights carry ${carried}`);
  }
}
