/** Deals example numbers to clients: the mechanics behind the laws of `partition.ts`. */
import { ScenarioError } from "../base/errors.ts";
import { show } from "../base/problem.ts";
import type { Rng } from "../base/random.ts";
import { type Examples, exampleLength } from "./examples.ts";

/** Client c holds examples `indices[offsets[c]] … indices[offsets[c + 1] - 1]`. */
export interface Partition {
  readonly clients: number;
  /** `[clients + 1]` */
  readonly offsets: Uint32Array;
  readonly indices: Uint32Array;
}

/** Example numbers of one client; a view, not a copy. */
export const examplesOf = ({ offsets, indices }: Partition, client: number): Uint32Array =>
  indices.subarray(offsets[client]!, offsets[client + 1]!);

/** Examples and tokens of every client: what the device model needs to know of data. Silos hold more than 2³² of them. */
export interface ClientSizes {
  /** `[clients]` */
  readonly examples: Float64Array;
  /** `[clients]` */
  readonly tokens: Float64Array;
}

export function sizesOf(data: Examples, dealt: Partition): ClientSizes {
  const examples = new Float64Array(dealt.clients);
  const tokens = new Float64Array(dealt.clients);
  for (let client = 0; client < dealt.clients; client++) {
    const own = examplesOf(dealt, client);
    examples[client] = own.length;
    for (const e of own) tokens[client]! += exampleLength(data, e);
  }
  return { examples, tokens };
}

/**
 * Whole numbers that sum to `total`: `minimum` each, and the rest in proportion to `weights`. Each is within 1 of its
 * exact share, because the running sums are rounded and not the shares.
 */
export function apportion(weights: Float64Array, total: number, minimum: number): Float64Array {
  const sizes = new Float64Array(weights.length);
  const rest = total - minimum * weights.length;
  const sum = weights.reduce((a, b) => a + b, 0);
  let running = 0;
  let given = 0;
  for (let at = 0; at < weights.length; at++) {
    running += weights[at]!;
    const upTo = at === weights.length - 1 ? rest : Math.min(rest, Math.round((running / sum) * rest));
    sizes[at] = minimum + upTo - given;
    given = upTo;
  }
  return sizes;
}

/** Shuffles all examples and cuts them into pieces of the given sizes. */
export function dealSizes(indices: Uint32Array, sizes: Float64Array, rng: Rng): Partition {
  const dealt = rng.at("partition shuffle").at(0).shuffle(Uint32Array.from(indices));
  return { clients: sizes.length, offsets: runningSum(sizes), indices: dealt };
}

/** Cuts the examples as they stand into pieces of the given sizes. */
export const dealStretches = (indices: Uint32Array, sizes: Float64Array): Partition => ({
  clients: sizes.length,
  offsets: runningSum(sizes),
  indices: Uint32Array.from(indices).sort(),
});

/** Draws of a Dirichlet partition before it gives up. */
const MOST_DRAWS = 100;

export interface DirichletLaw {
  readonly alpha: number;
  readonly minimum: number;
  readonly shortage: "redraw" | "fill";
}

/** @param groups the examples of each category */
export function dealByCategory(
  groups: readonly Uint32Array[],
  { alpha, minimum, shortage }: DirichletLaw,
  clients: number,
  rng: Rng,
): Partition {
  let fewest = 0;
  for (let attempt = 0; attempt < MOST_DRAWS; attempt++) {
    const lane = rng.at("partition dirichlet", attempt);
    const counts = groups.map(({ length }, row) => apportion(lane.at(row).dirichlet(alpha, clients), length, 0));
    const sizes = totals(counts, clients);
    const smallest = least(sizes);
    if (smallest >= minimum) return assemble(shuffled(groups, rng), counts, sizes);
    if (shortage === "fill") return fill(assemble(shuffled(groups, rng), counts, sizes), minimum, rng);
    fewest = Math.max(fewest, smallest);
  }
  const examples = groups.reduce((sum, { length }) => sum + length, 0);
  throw new ScenarioError(
    `data.partition: in ${MOST_DRAWS} draws of dirichlet(alpha ${alpha}) of ${examples} training examples over ` +
      `${clients} clients some client always got fewer than ${minimum} (at best ${fewest}); ` +
      'expected a larger alpha, fewer clients, a smaller minimum, or shortage "fill"',
  );
}

/**
 * Every client takes the `categories` categories with most examples per holder so far, itself included (ties in an
 * order drawn for it), and the holders of a category share it evenly. Examples of a category nobody took stay out.
 *
 * @param groups the examples of each category
 */
export function dealShards(
  groups: readonly Uint32Array[],
  { categories, minimum }: { readonly categories: number; readonly minimum: number },
  clients: number,
  rng: Rng,
): Partition {
  if (categories > groups.length) {
    throw new ScenarioError(
      `data.partition: shards(categories ${categories}), but the training data has ${groups.length} categories`,
    );
  }
  const holders = groups.map((): number[] => []);
  const lane = rng.at("partition shards");
  // Clients choose in random order, so that a low id has no advantage.
  for (const client of lane.at(clients).shuffle(Array.from({ length: clients }, (_, c) => c))) {
    const order = lane.at(client).shuffle(groups.map((_, row) => row));
    const perHolder = (row: number) => groups[row]!.length / (holders[row]!.length + 1);
    for (const row of order.sort((a, b) => perHolder(b) - perHolder(a)).slice(0, categories)) {
      holders[row]!.push(client);
    }
  }
  return dealToHolders(groups, holders, { name: `shards(categories ${categories})`, minimum }, clients, rng);
}

/** Client c holds the c-th category, and again from the first on where there are more clients. */
export function dealCategories(
  groups: readonly Uint32Array[],
  { minimum }: { readonly minimum: number },
  clients: number,
  rng: Rng,
): Partition {
  if (clients < groups.length) {
    throw new ScenarioError(
      `data.partition: the training data has ${groups.length} categories, a client each, but the fleet has ${clients}`,
    );
  }
  const all = Array.from({ length: clients }, (_, client) => client);
  const holders = groups.map((_, row) => all.filter((client) => client % groups.length === row));
  return dealToHolders(groups, holders, { name: "byCategory()", minimum }, clients, rng);
}

/** Whose examples are whose: client c holds the c-th owner's, and every one after as many again; or shares an owner. */
export function dealByOwner(
  groups: readonly Uint32Array[],
  { minimum }: { readonly minimum: number },
  clients: number,
  rng: Rng,
): Partition {
  const all = Array.from({ length: clients }, (_, client) => client);
  const { length } = groups;
  const holders = groups.map((_, row) =>
    clients >= length ? all.filter((client) => client % length === row) : [row % clients],
  );
  return dealToHolders(groups, holders, { name: "byColumn()", minimum }, clients, rng);
}

/**
 * The examples of each list, in ascending order.
 *
 * @param what names the lists for their author
 * @param training those that may be dealt; all unless given
 * @throws ScenarioError for a number that is none, that comes twice or that may not be dealt
 */
export function dealLists(
  lists: readonly ArrayLike<number>[],
  what: string,
  examples: number,
  clients: number,
  training?: ReadonlySet<number>,
): Partition {
  if (!Array.isArray(lists) || lists.length !== clients) {
    const got = Array.isArray(lists) ? `${lists.length}` : show(lists);
    throw new ScenarioError(`${what}: expected a list for each of ${clients} clients, got ${got}`);
  }
  const holder = new Map<number, number>();
  for (const [client, list] of lists.entries()) {
    for (const e of Array.from(list as ArrayLike<number>)) {
      const wrong = (text: string) => new ScenarioError(`${what}[${client}] has ${show(e)}, ${text}`);
      if (!(Number.isInteger(e) && e >= 0 && e < examples))
        throw wrong(`but examples are numbered 0 to ${examples - 1}`);
      if (training?.has(e) === false) throw wrong("which is held out; expected numbers of the examples that are given");
      if (holder.has(e)) throw wrong(`which client ${holder.get(e)} holds already`);
      holder.set(e, client);
    }
  }
  return {
    clients,
    offsets: runningSum(Float64Array.from(lists, ({ length }) => length)),
    indices: Uint32Array.from(lists.flatMap((list) => Array.from(list as ArrayLike<number>).sort((a, b) => a - b))),
  };
}

/** Without the examples that are not in the set. */
export function keptOf(dealt: Partition, kept: ReadonlySet<number>): Partition {
  const lists = Array.from({ length: dealt.clients }, (_, client) =>
    examplesOf(dealt, client).filter((e) => kept.has(e)),
  );
  return {
    clients: dealt.clients,
    offsets: runningSum(Float64Array.from(lists, ({ length }) => length)),
    indices: Uint32Array.from(lists.flatMap((list) => [...list])),
  };
}

/** Those who hold a category have as much of it each. */
function dealToHolders(
  groups: readonly Uint32Array[],
  holders: readonly (readonly number[])[],
  { name, minimum }: { readonly name: string; readonly minimum: number },
  clients: number,
  rng: Rng,
): Partition {
  const counts = groups.map(({ length }, row) => {
    const weights = new Float64Array(clients);
    for (const client of holders[row]!) weights[client] = 1;
    return holders[row]!.length === 0 ? new Float64Array(clients) : apportion(weights, length, 0);
  });
  const sizes = totals(counts, clients);
  if (least(sizes) < minimum) {
    throw new ScenarioError(
      `data.partition: ${name} over ${clients} clients leaves a client with ${least(sizes)} ` +
        `training examples, expected at least ${minimum}; take fewer clients or a smaller minimum`,
    );
  }
  return assemble(shuffled(groups, rng), counts, sizes);
}

/** @param counts examples of each category that each client gets, `[categories][clients]` */
function assemble(groups: readonly Uint32Array[], counts: readonly Float64Array[], sizes: Float64Array): Partition {
  const offsets = runningSum(sizes);
  const cursor = offsets.slice(0, -1);
  const indices = new Uint32Array(offsets.at(-1)!);
  for (const [row, group] of groups.entries()) {
    let from = 0;
    for (const [client, count] of counts[row]!.entries()) {
      indices.set(group.subarray(from, from + count), cursor[client]!);
      cursor[client]! += count;
      from += count;
    }
  }
  return { clients: sizes.length, offsets, indices };
}

/** Brings everybody to `minimum` with random examples of the clients above the highest level that suffices. */
function fill({ clients, offsets, indices }: Partition, minimum: number, rng: Rng): Partition {
  const draws = rng.at("partition fill").at(0);
  const lists = Array.from({ length: clients }, (_, c) => [...indices.subarray(offsets[c]!, offsets[c + 1]!)]);
  const missing = lists.reduce((sum, { length }) => sum + Math.max(0, minimum - length), 0);
  const above = (level: number) => lists.reduce((sum, { length }) => sum + Math.max(0, length - level), 0);
  let level = minimum;
  for (let high = indices.length; level < high; ) {
    const middle = Math.ceil((level + high) / 2);
    if (above(middle) >= missing) level = middle;
    else high = middle - 1;
  }
  const pool: number[] = [];
  for (const list of lists) {
    const given = Math.min(Math.max(0, list.length - level), missing - pool.length);
    if (given > 0) for (const e of draws.shuffle(list).splice(0, given)) pool.push(e);
  }
  for (const list of lists) while (list.length < minimum) list.push(pool.pop()!);
  return {
    clients,
    offsets: runningSum(Float64Array.from(lists, ({ length }) => length)),
    indices: Uint32Array.from(lists.flat()),
  };
}

const shuffled = (groups: readonly Uint32Array[], rng: Rng): Uint32Array[] =>
  groups.map((group, row) => rng.at("partition shuffle").at(row).shuffle(Uint32Array.from(group)));

function totals(counts: readonly Float64Array[], clients: number): Float64Array {
  const sizes = new Float64Array(clients);
  for (const count of counts) for (let client = 0; client < clients; client++) sizes[client]! += count[client]!;
  return sizes;
}

const least = (sizes: Float64Array): number => sizes.reduce((a, b) => Math.min(a, b), Infinity);

function runningSum(sizes: Float64Array): Uint32Array {
  const offsets = new Uint32Array(sizes.length + 1);
  for (let at = 0; at < sizes.length; at++) offsets[at + 1] = offsets[at]! + sizes[at]!;
  return offsets;
}
