/** One definition gives a strategy's options, its constructor and its entry in the registry; any may be wrapped. */
import * as z from "zod";
import { invariant } from "../../base/errors.ts";
import type { About } from "../about.ts";
import { type Definition, define, type Factory } from "../define.ts";
import type { Method, Strategy } from "../strategy.ts";
import { aboutClipping, clipNormField, clipped } from "./clipped.ts";
import { aboutCompression, compressed, compressionFields } from "./compressed.ts";
import { aboutFlood, flooded, floodFields } from "./flooded.ts";
import { aboutOverTheAir, overTheAir, overTheAirFields } from "./over-the-air.ts";
import { aboutServerOptimizer, serverOptimized, serverOptimizerFields } from "./server-optimizer.ts";

/** What any strategy may have besides its own options; applied in this order. */
export const wrappers = {
  flood: { field: z.strictObject(floodFields).describe(aboutFlood.adapts), about: aboutFlood },
  compress: { field: z.strictObject(compressionFields).describe(aboutCompression.adapts), about: aboutCompression },
  clipNorm: { field: clipNormField, about: aboutClipping },
  overTheAir: { field: z.strictObject(overTheAirFields).describe(aboutOverTheAir.adapts), about: aboutOverTheAir },
  serverStep: {
    field: z.strictObject(serverOptimizerFields).describe(aboutServerOptimizer.adapts),
    about: aboutServerOptimizer,
  },
};

const wrapping = {
  flood: wrappers.flood.field.exactOptional(),
  compress: wrappers.compress.field.exactOptional(),
  clipNorm: wrappers.clipNorm.field.exactOptional(),
  overTheAir: wrappers.overTheAir.field.exactOptional(),
  serverStep: wrappers.serverStep.field.exactOptional(),
};

type StrategyFactory<Type extends string, Shape extends z.ZodRawShape> = Factory<
  Type,
  Shape & typeof wrapping,
  Strategy
> & {
  readonly about: About;
  /** Its own options, without those that any strategy may have. */
  readonly options: Shape;
};

export function defineStrategy<const Type extends string, Shape extends z.ZodRawShape, Sum>({
  about,
  ...definition
}: Definition<Type, Shape, Method<Sum>> & { readonly about: About }): StrategyFactory<Type, Shape> {
  const taken = Object.keys(wrapping).filter((name) => name in definition.options);
  invariant(taken.length === 0, () => `${definition.type}: ${taken.join(", ")} is an option of every strategy`);
  const described = { ...(definition as Definition<Type, Shape, Method>), is: about.adapts };
  const factory = define("strategy", described, {
    fields: wrapping,
    apply(strategy: Strategy) {
      const { flood, compress, clipNorm, overTheAir: air, serverStep } = z.object(wrapping).parse(strategy.spec);
      const weighed = flood === undefined ? strategy : flooded(strategy, flood);
      const sent = compress === undefined ? weighed : compressed(weighed, compress);
      const bounded = clipNorm === undefined ? sent : clipped(sent, { norm: clipNorm });
      const aired = air === undefined ? bounded : overTheAir(bounded, air);
      return serverStep === undefined ? aired : serverOptimized(aired, serverStep);
    },
  });
  return Object.assign(factory, { about, options: definition.options });
}
