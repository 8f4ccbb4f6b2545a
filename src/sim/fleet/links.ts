/**
 * What a device's own network link can carry. Links are asymmetric, and a good downlink tends to come with a good
 * uplink: ln down and ln up are correlated normals.
 */
import * as z from "zod";
import { unreachable } from "../../base/errors.ts";
import { notNegative, ownFunction, positive } from "../../base/fields.ts";
import type { ClientId } from "../../base/ids.ts";
import type { Draws, Rng } from "../../base/random.ts";
import { drawFrom, lawSchema } from "./laws.ts";

export interface LinkRates {
  readonly down: number;
  readonly up: number;
}

const spread = z.strictObject({
  median: positive.describe("bytes per second; half of all links are slower"),
  sigma: notNegative.describe("standard deviation of the logarithm"),
});
const inside = "a correlation in [-1, 1]";

/** All rates in bytes per second; drawn once per device. */
export const linkSchema = z.discriminatedUnion("type", [
  z
    .strictObject({
      type: z.literal("rates"),
      down: lawSchema.describe("bytes per second to the client"),
      up: lawSchema.describe("bytes per second from the client"),
    })
    .describe("a number or a law for each way"),
  z
    .strictObject({
      type: z.literal("log-normal"),
      down: spread.describe("of the rate to the client"),
      up: spread.describe("of the rate from the client"),
      correlation: z
        .number()
        .min(-1, inside)
        .max(1, inside)
        .describe("of the logarithms of both rates: above 0, good downlinks tend to have good uplinks"),
    })
    .describe("both ways drawn together"),
  z
    .strictObject({ type: z.literal("trace") })
    .describe("`downlink` and `uplink` of the client's record in the tier's device trace; one of them serves for both"),
  z
    .strictObject({
      type: z.literal("function"),
      of: ownFunction<(client: ClientId, draws: Draws) => LinkRates>("a function (client, draws) => rates").describe(
        "(client, draws) => { down, up } in bytes per second",
      ),
    })
    .describe("a law of your own. It must draw all its chance from `draws`"),
]);

export type LinkLaw = Readonly<z.output<typeof linkSchema>>;

/**
 * FLASH's 19 measured WiFi profiles: medians and spread of ln, correlation 0.45.
 * `share` scales both medians, e.g. 1/4 for phones on worse networks.
 */
export const flashLink = (share = 1): LinkLaw => ({
  type: "log-normal",
  down: { median: share * 4.318e6, sigma: 0.471 },
  up: { median: share * 3.286e6, sigma: 0.682 },
  correlation: 0.45,
});

/** A function that writes a client's rates into `into`. */
export function linkOf(
  law: LinkLaw,
  rng: Rng,
  traced: (client: number) => { readonly downlink?: number; readonly uplink?: number },
): (client: number, into: { down: number; up: number }) => void {
  const lane = rng.at("device link");
  switch (law.type) {
    case "rates": {
      const { down, up } = law;
      if (typeof down === "number" && typeof up === "number") {
        return (_, into) => {
          into.down = down;
          into.up = up;
        };
      }
      return (client, into) => {
        const draws = lane.at(client);
        into.down = drawFrom(down, draws);
        into.up = drawFrom(up, draws);
      };
    }
    case "log-normal": {
      const { down, up, correlation } = law;
      const rest = Math.sqrt(1 - correlation ** 2);
      return (client, into) => {
        const draws = lane.at(client);
        const x = draws.normal();
        const y = correlation * x + rest * draws.normal();
        into.down = down.median * Math.exp(down.sigma * x);
        into.up = up.median * Math.exp(up.sigma * y);
      };
    }
    case "trace":
      return (client, into) => {
        const { downlink, uplink } = traced(client);
        into.down = downlink ?? uplink ?? NaN;
        into.up = uplink ?? downlink ?? NaN;
      };
    case "function":
      return (client, into) => {
        // What the function of an author returns is checked where the fleet is built.
        const rates = law.of(client as ClientId, lane.at(client)) as Partial<LinkRates> | undefined;
        into.down = rates?.down ?? NaN;
        into.up = rates?.up ?? NaN;
      };
    default:
      return unreachable(law);
  }
}
