/** One definition gives a strategy's options, its constructor and its entry in the registry; any may be wrapped. */
import { z } from "zod";
import { clipNormField, clipped } from "./clipped.ts";
import { compressed, compressionFields } from "./compressed.ts";
import { type Definition, define, type Factory } from "./define.ts";
import { flooded, floodFields } from "./flooded.ts";
import type { Method, Strategy } from "./strategy.ts";

/** What any strategy may have besides its own options; applied in this order. */
const wrapping = {
  /** Each example and each client weighs by how much it looks like what the model knows; see `flooded.ts`. */
  flood: z.strictObject(floodFields).exactOptional(),
  /** Clients send the largest entries of their update, rounded; see `compressed.ts`. */
  compress: z.strictObject(compressionFields).exactOptional(),
  /** Bound on the norm of each client's delta; see `clipped.ts`. */
  clipNorm: clipNormField.exactOptional(),
};

export const defineStrategy = <const Type extends string, Shape extends z.ZodRawShape, Sum>(
  definition: Definition<Type, Shape, Method<Sum>>,
): Factory<Type, Shape & typeof wrapping, Strategy> =>
  define("strategy", definition as Definition<Type, Shape, Method>, {
    fields: wrapping,
    apply(strategy: Strategy) {
      const { flood, compress, clipNorm } = z.object(wrapping).parse(strategy.spec);
      const weighed = flood === undefined ? strategy : flooded(strategy, flood);
      const sent = compress === undefined ? weighed : compressed(weighed, compress);
      return clipNorm === undefined ? sent : clipped(sent, { norm: clipNorm });
    },
  });
