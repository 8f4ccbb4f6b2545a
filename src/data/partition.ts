/**
 * How examples are divided among clients. Specifications are plain data; `partition` deals real examples, and
 * `partitionSizes` draws sizes alone from the same laws, for fleets that are only timed.
 *
 *   dirichlet   for each category q ~ Dir(α·1_N); its examples go to clients in proportions q  (methods of Hsu et al.,
 *               2019, https://arxiv.org/abs/1909.06335); drawn again when a client gets fewer than `minimum`
 *   quantity    sizes ∝ exp(σ·normal) or ∝ rank^−z, content as iid
 *   shards      McMahan et al., 2017
 */
import * as z from "zod";
import { invariant, ScenarioError } from "../base/errors.ts";
import { show } from "../base/problem.ts";
import type { Draws, Rng } from "../base/random.ts";
import {
  apportion,
  type ClientSizes,
  dealByCategory,
  dealByOwner,
  dealCategories,
  dealLists,
  dealShards,
  dealSizes,
  dealStretches,
  keptOf,
  type Partition,
} from "./deal.ts";
import { type Examples, exampleLength } from "./examples.ts";

const minimum = z.number().int().min(0).default(1).describe("examples every client must get");

export const partitionSchema = z.discriminatedUnion("type", [
  z
    .strictObject({ type: z.literal("iid") })
    .describe("every client the same number, give or take one, from all categories"),
  z
    .strictObject({ type: z.literal("contiguous") })
    .describe(
      "the same numbers, in the order of the source: where writers follow one another, a client is a few of them",
    ),
  z
    .strictObject({
      type: z.literal("dirichlet"),
      alpha: z
        .number()
        .positive()
        .max(1e6)
        .describe("concentration: 0.1 gives a client a category or two, 100 is nearly iid"),
      minimum,
      shortage: z
        .enum(["redraw", "fill"])
        .default("redraw")
        .describe(
          "what to do for a client that got fewer: draw everything again, or give it examples of the richest clients",
        ),
    })
    .describe("each category goes to clients in proportions that are drawn for it"),
  z
    .strictObject({
      type: z.literal("quantity"),
      sigma: z
        .number()
        .positive()
        .max(10)
        .optional()
        .describe("standard deviation of the logarithm of a client's size"),
      zipf: z.number().positive().max(10).optional().describe("exponent of Zipf's law over randomly ranked clients"),
      minimum,
    })
    .describe("clients differ in size, and not in content")
    .refine(({ sigma, zipf }) => (sigma === undefined) !== (zipf === undefined), "either sigma or zipf"),
  z
    .strictObject({
      type: z.literal("shards"),
      categories: z.number().int().positive().describe("categories that a client holds examples of"),
      minimum,
    })
    .describe("each client has examples of a few categories"),
  z
    .strictObject({ type: z.literal("category"), minimum })
    .describe("client c has the c-th category, and again from the first on: a site, an environment"),
  z
    .strictObject({
      type: z.literal("column"),
      column: z.string().min(1).describe("whose values say which examples belong together"),
      minimum,
    })
    .describe("as category, by the values of a column; with fewer clients than values a client has every N-th of them"),
  z
    .strictObject({
      type: z.literal("indices"),
      clients: z
        .array(z.array(z.int().min(0)).readonly())
        .min(1)
        .readonly()
        .describe("for each client its examples, numbered from 0 in the order of the source"),
    })
    .describe("as a list says"),
  z
    .strictObject({
      type: z.literal("function"),
      deal: z
        .custom<Deal>((value) => typeof value === "function", "a function that deals examples to clients")
        .describe("given examples, number of clients and draws, the numbers of the examples that each client holds"),
    })
    .describe("as a function of yours says"),
]);

/** An example that clients may train on, as a function of the author sees it. */
export interface DealtExample {
  /** In the order of the source, from 0; those held out are not among them. */
  readonly index: number;
  readonly category: string;
  /** Tokens, end token included; 1 where an example is one unit. */
  readonly length: number;
}

/** `index` of what each client holds, a list for each; no example goes to two clients. */
export type Deal = (given: {
  readonly examples: readonly DealtExample[];
  readonly clients: number;
  /** The same in every run of the seed. */
  readonly draws: Draws;
}) => readonly ArrayLike<number>[];

export type PartitionSpec = Readonly<z.infer<typeof partitionSchema>>;

export const iid = (): PartitionSpec => ({ type: "iid" });
/** Stretches of the source's own order. */
export const contiguous = (): PartitionSpec => ({ type: "contiguous" });
export const dirichlet = (options: {
  alpha: number;
  minimum?: number;
  shortage?: "redraw" | "fill";
}): PartitionSpec => ({ type: "dirichlet", minimum: 1, shortage: "redraw", ...options });
export const byQuantity = (options: { sigma?: number; zipf?: number; minimum?: number }): PartitionSpec => ({
  type: "quantity",
  minimum: 1,
  ...options,
});
export const shards = (options: { categories: number; minimum?: number }): PartitionSpec => ({
  type: "shards",
  minimum: 1,
  ...options,
});
export const byCategory = (options: { minimum?: number } = {}): PartitionSpec => ({
  type: "category",
  minimum: 1,
  ...options,
});

/** By the values of a column of the file: writers, hospitals, sites. */
export const byColumn = (column: string, options: { minimum?: number } = {}): PartitionSpec => ({
  type: "column",
  column,
  minimum: 1,
  ...options,
});
/** What each client holds, by number in the order of the source. */
export const byIndices = (clients: readonly (readonly number[])[]): PartitionSpec => ({ type: "indices", clients });
/** As a function of your own says. */
export const partitionBy = (deal: Deal): PartitionSpec => ({ type: "function", deal });

/** What a source has to read besides for a partition. */
export const columnOf = (spec: PartitionSpec | undefined): string | undefined =>
  spec?.type === "column" ? spec.column : undefined;

/** Deals the examples `indices` of `data`. No example goes to two clients. */
export function partition(
  data: Examples,
  indices: Uint32Array,
  spec: PartitionSpec,
  clients: number,
  rng: Rng,
): Partition {
  if (spec.type !== "indices" && spec.type !== "function") requireEnough(indices.length, clients, leastOf(spec));
  switch (spec.type) {
    case "iid":
      return dealSizes(indices, evenSizes(indices.length, clients), rng);
    case "contiguous":
      return dealStretches(indices, evenSizes(indices.length, clients));
    case "quantity":
      return dealSizes(indices, quantitySizes(spec, indices.length, clients, rng), rng);
    case "dirichlet":
      return dealByCategory(groupsOf(data, indices), spec, clients, rng);
    case "shards":
      return dealShards(groupsOf(data, indices), spec, clients, rng);
    case "category":
      return dealCategories(groupsOf(data, indices), spec, clients, rng);
    case "column":
      return dealByOwner(ownersOf(data, indices, spec.column), spec, clients, rng);
    case "indices": {
      const training = new Set(indices);
      const given = dealLists(spec.clients, "data.partition.clients", data.examples, clients);
      return keptOf(given, training);
    }
    case "function": {
      const examples = Array.from(indices, (index) => ({
        index,
        category: data.categoryNames[data.category[index]!]!,
        length: exampleLength(data, index),
      }));
      const lists = spec.deal({ examples, clients, draws: rng.at("partition function").at(0) });
      return dealLists(lists, "what data.partition.deal returns", data.examples, clients, new Set(indices));
    }
  }
}

function ownersOf({ owner, ownerNames }: Examples, indices: Uint32Array, column: string): Uint32Array[] {
  if (owner === undefined) {
    const what = `is byColumn(${show(column)}), but data.source has no columns`;
    throw new ScenarioError(`data.partition ${what}; expected file(path), csv(path) or records([…])`);
  }
  return grouped(owner, ownerNames!.length, indices);
}

/** What the user should know of these examples under this law. */
export function notesOnPartition(
  { category, categoryNames }: Examples,
  indices: Uint32Array,
  spec: PartitionSpec,
): string[] {
  if (spec.type === "indices") {
    const training = new Set(indices);
    const all = spec.clients.flat();
    const heldOut = all.filter((index) => !training.has(index)).length;
    const [left, text] = [indices.length - (all.length - heldOut), "examples that may be trained on go to no client"];
    return [
      ...(heldOut > 0
        ? [`${heldOut} of ${all.length} examples of data.partition are held out, and go to no client`]
        : []),
      ...(left > 0 ? [`${left} of ${indices.length} ${text}`] : []),
    ];
  }
  const only = category[indices[0]!];
  if (spec.type !== "dirichlet" || indices.some((e) => category[e] !== only)) return [];
  return [
    `data.partition is dirichlet, but all examples have the category ${show(categoryNames[only!])}: clients differ in ` +
      "their number of examples, and by label they are IID",
  ];
}

export interface SizesOptions {
  readonly clients: number;
  /** Over all clients. */
  readonly examples: number;
  /** Categories a real data set would have; matters to `dirichlet` alone. */
  readonly categories?: number;
  /** Mean and standard deviation of one example's length. */
  readonly tokensPerExample: number;
  readonly tokensSpread?: number;
}

/**
 * Sizes drawn from the law of `spec` with no data behind them: a million clients in about two seconds.
 *
 * A client's tokens are the sum of its examples' lengths, drawn from the normal law that such a sum approaches.
 */
export function partitionSizes(spec: PartitionSpec, options: SizesOptions, rng: Rng): ClientSizes {
  const { clients, examples: total, categories = 8, tokensPerExample, tokensSpread = tokensPerExample / 4 } = options;
  requireEnough(total, clients, leastOf(spec));
  const examples = drawSizes(spec, total, clients, categories, rng);
  const tokens = new Float64Array(clients);
  const draws = rng.at("partition tokens").at(0);
  for (let client = 0; client < clients; client++) {
    const count = examples[client]!;
    const length = count * tokensPerExample + Math.sqrt(count) * tokensSpread * draws.normal();
    tokens[client] = Math.max(count, Math.round(length));
  }
  return { examples, tokens };
}

function drawSizes(spec: PartitionSpec, total: number, clients: number, categories: number, rng: Rng): Float64Array {
  switch (spec.type) {
    // Shards hold equal parts of their categories, so with categories of one size all clients are as large.
    case "iid":
    case "contiguous":
    case "shards":
    case "category":
    case "column":
      return evenSizes(total, clients);
    case "indices":
      return Float64Array.from(spec.clients, ({ length }) => length);
    case "function":
      throw new ScenarioError("data.partition is a function of examples, and data.sizes stands in for them");
    case "quantity":
      return quantitySizes(spec, total, clients, rng);
    case "dirichlet": {
      const weights = new Float64Array(clients);
      for (let category = 0; category < categories; category++) {
        const shares = rng.at("partition sizes").at(category).dirichlet(spec.alpha, clients);
        for (let client = 0; client < clients; client++) weights[client]! += shares[client]!;
      }
      return apportion(weights, total, spec.minimum);
    }
  }
}

/** The examples of each category, in the order of `indices`. */
const groupsOf = ({ category, categoryNames }: Examples, indices: Uint32Array): Uint32Array[] =>
  grouped(category, categoryNames.length, indices);

function grouped(rowOf: Uint16Array | Uint32Array, rows: number, indices: Uint32Array): Uint32Array[] {
  const counts = new Uint32Array(rows);
  for (const e of indices) counts[rowOf[e]!]!++;
  const groups = Array.from(counts, (count) => new Uint32Array(count));
  counts.fill(0);
  for (const e of indices) {
    const row = rowOf[e]!;
    groups[row]![counts[row]!++] = e;
  }
  return groups.filter(({ length }) => length > 0);
}

/** Examples that every client gets. */
const leastOf = (spec: PartitionSpec): number => ("minimum" in spec ? spec.minimum : 1);

function requireEnough(examples: number, clients: number, least: number): void {
  invariant(Number.isInteger(clients) && clients > 0, () => `a partition for ${clients} clients`);
  if (examples >= clients * Math.max(least, 1)) return;
  const each = least > 1 ? ` with at least ${least} examples each` : "";
  throw new ScenarioError(
    `data.partition: the fleet has ${clients} clients${each}, but there are only ${examples} training examples`,
  );
}

const evenSizes = (total: number, clients: number): Float64Array =>
  apportion(new Float64Array(clients).fill(1), total, 0);

function quantitySizes(
  { sigma, zipf, minimum }: Extract<PartitionSpec, { type: "quantity" }>,
  total: number,
  clients: number,
  rng: Rng,
): Float64Array {
  const draws = rng.at("partition quantity").at(0);
  const weights = new Float64Array(clients);
  if (zipf !== undefined) {
    for (let rank = 0; rank < clients; rank++) weights[rank] = (rank + 1) ** -zipf;
    draws.shuffle(weights);
  } else {
    for (let client = 0; client < clients; client++) weights[client] = draws.logNormal(0, sigma ?? 1);
  }
  return apportion(weights, total, minimum);
}
