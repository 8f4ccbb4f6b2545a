/**
 * The server's book of rescalers: what factor s an SMoE layer's output gets for clients it has not heard from, and for
 * the global model at each budget.
 *
 *   s_k = Σ_{i: k_i = k} n_i · s_i / Σ_{i: k_i = k} n_i        per layer, s_i last reported by client i
 *
 * A budget nobody has reported from starts at 1, at K/k, which overcorrects when kept weights are not renormalised,
 * because the experts that are left out are the light ones, or at m_K/m_k, m_k the mean sum of the k largest router
 * probabilities.
 * Le et al., "FLAME", 2025. https://arxiv.org/abs/2506.16600
 */
import * as z from "zod";
import { InputError, invariant } from "../base/errors.ts";
import { count, floats, notNegative, whole, wholeAs } from "../base/fields.ts";
import type { ClientId } from "../base/ids.ts";
import type { Snapshot } from "../base/snapshot.ts";
import type { Update } from "./update.ts";

/** m_k of each layer for k = 1 … K, to any factor. */
export type RouterMasses = readonly (readonly number[])[];

export interface RescalerOptions {
  readonly layers: number;
  /** K, experts per token of the base model. */
  readonly topK: number;
  readonly init: "one" | "ratio" | "mass";
  /** Whose mean a client goes on from: its own last factor, that of its budget's clients, or that of all. */
  readonly scope: "local" | "budget" | "global";
}

const reportSchema = z.strictObject({
  client: wholeAs<ClientId>(),
  topK: count,
  examples: whole,
  /** s_i, one per layer. */
  factors: floats,
});
type Report = Readonly<z.output<typeof reportSchema>>;

/** Reports ascend by client. */
export const rescalerSchema = z.strictObject({
  reports: z.array(reportSchema),
  /** Null unless factors start from them. */
  masses: z.array(z.array(notNegative).readonly()).readonly().nullable(),
  /** Factors of budgets that an earlier run has learned. */
  known: z.array(z.tuple([count, floats])).exactOptional(),
});
type RescalerState = Readonly<z.output<typeof rescalerSchema>>;

export class RescalerBook implements Snapshot<RescalerState> {
  readonly #options: RescalerOptions;
  #reports = new Map<ClientId, Report>();
  #masses: RouterMasses | null = null;
  #known: ReadonlyMap<number, Float32Array> = new Map();
  /** Means by budget (0 = all clients), until the next report. */
  readonly #means = new Map<number, Float32Array | null>();

  constructor(options: RescalerOptions) {
    this.#options = options;
  }

  /**
   * What factors start from, before anyone asks.
   *
   * @param masses with the init `mass`
   * @param known by budget, whatever the init: from an earlier run
   */
  startFrom(masses: RouterMasses | null, known: ReadonlyMap<number, Float32Array> = new Map()): void {
    this.#masses = masses;
    this.#known = known;
  }

  /** Takes up what a counted update says. `factors` is copied. */
  report({
    client,
    budget: topK,
    examples,
    personal,
  }: Pick<Update, "client" | "budget" | "examples" | "personal">): void {
    invariant(
      personal.length === this.#options.layers,
      () => `rescaler of client ${client} has ${personal.length} factors, expected ${this.#options.layers}`,
    );
    this.#reports.set(client, { client, topK, examples, factors: personal.slice() });
    this.#means.clear();
  }

  /** What a client with budget `topK` starts its next training from. */
  forClient(client: ClientId, topK: number): Float32Array {
    const own = this.#reports.get(client);
    return this.#options.scope === "local" && own !== undefined ? own.factors.slice() : this.forBudget(topK);
  }

  /** What evaluation at budget `topK` and newcomers use. */
  forBudget(topK: number): Float32Array {
    const mean = this.#mean(this.#options.scope === "global" ? 0 : topK);
    return mean?.slice() ?? this.initial(topK);
  }

  /** Before anyone has reported. */
  initial(topK: number): Float32Array {
    const { layers, topK: full, init } = this.#options;
    const known = this.#known.get(topK);
    if (known !== undefined) return known.slice();
    if (init !== "mass") return new Float32Array(layers).fill(init === "one" ? 1 : full / topK);
    const masses = this.#masses;
    invariant(masses !== null, "router masses are known before a factor is asked for");
    const ratios = masses.map((mass) => [mass[full - 1]!, mass[topK - 1]!] as const);
    if (layers === ratios.length) return Float32Array.from(ratios, ([all, kept]) => all / kept);
    // One factor for all layers makes up for what they leave out together.
    const total = (side: 0 | 1) => ratios.reduce((sum, ratio) => sum + ratio[side], 0);
    return new Float32Array(layers).fill(total(0) / total(1));
  }

  snapshot(): RescalerState {
    const reports = this.#ascending().map((report) => ({ ...report, factors: report.factors.slice() }));
    return { reports, masses: this.#masses, ...(this.#known.size > 0 && { known: [...this.#known] }) };
  }

  /** @throws InputError for factors of another model */
  restore({ reports, masses, known = [] }: RescalerState): void {
    const { layers, topK: full, init } = this.#options;
    for (const [at, { topK, factors }] of reports.entries()) {
      if (topK <= full && factors.length === layers) continue;
      const found = `k = ${topK} with ${factors.length} factors`;
      throw new InputError(`rescalers.reports[${at}] has ${found}, expected k in [1, ${full}] with ${layers}`);
    }
    if (init === "mass" && masses?.some(({ length }) => length !== full) !== false) {
      throw new InputError(`rescalers.masses are not ${full} a layer`);
    }
    const strange = known.find(([topK, factors]) => topK > full || factors.length !== layers);
    if (strange !== undefined) throw new InputError(`rescalers.known: k = ${strange[0]} is not one of this model`);
    this.#known = new Map(known);
    this.#masses = masses;
    this.#reports = new Map(reports.map((report) => [report.client, { ...report, factors: report.factors.slice() }]));
    this.#means.clear();
  }

  #mean(topK: number): Float32Array | null {
    let mean = this.#means.get(topK);
    if (mean === undefined) {
      mean = meanOf(
        this.#ascending().filter((report) => topK === 0 || report.topK === topK),
        this.#options.layers,
      );
      this.#means.set(topK, mean);
    }
    return mean;
  }

  /** Folding in order of id makes the mean independent of who reported first. */
  #ascending(): Report[] {
    return [...this.#reports.values()].sort((a, b) => a.client - b.client);
  }
}

function meanOf(reports: readonly Report[], layers: number): Float32Array | null {
  const mean = new Float64Array(layers);
  let total = 0;
  for (const { examples, factors } of reports) {
    if (examples === 0) continue;
    total += examples;
    for (let layer = 0; layer < layers; layer++) mean[layer]! += (examples / total) * (factors[layer]! - mean[layer]!);
  }
  return total === 0 ? null : Float32Array.from(mean);
}

/** One factor a layer, where there may be one for all of them. */
export const forEachLayer = (factors: Float32Array, layers: number): Float32Array =>
  factors.length === layers ? factors : new Float32Array(layers).fill(factors[0]!);
