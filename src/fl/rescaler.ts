/**
 * The server's book of rescalers: what factor s an SMoE layer's output gets for clients it has not heard from, and for
 * the global model at each budget.
 *
 *   s_k = Σ_{i: k_i = k} n_i · s_i / Σ_{i: k_i = k} n_i        per layer, s_i last reported by client i
 *
 * A budget nobody has reported from starts at 1, at K/k, or at m_K/m_k, where m_k is the routing weight the k largest
 * experts of a token hold on average. K/k overcorrects when kept weights are not renormalised, because the experts
 * that are left out are the light ones.
 * Le et al., "FLAME", 2025. https://arxiv.org/abs/2506.16600
 */
import { invariant, ScenarioError } from "../base/errors.ts";
import { type ClientId, clientId } from "../base/ids.ts";
import type { Snapshot } from "../base/snapshot.ts";

export type RescalerInit = "one" | "ratio" | "mass";
/** Whose mean a client goes on from: its own last factor, that of its budget's clients, or that of all. */
export type RescalerScope = "local" | "budget" | "global";

export interface RescalerOptions {
  readonly layers: number;
  /** K, experts per token of the base model. */
  readonly topK: number;
  readonly init: RescalerInit;
  readonly scope: RescalerScope;
  /** `mass[layer][k − 1]` = m_k for k = 1…K, each > 0; needed for `init: "mass"`. */
  readonly mass?: readonly (readonly number[])[];
}

interface Report {
  readonly client: ClientId;
  readonly topK: number;
  readonly examples: number;
  /** s_i, one per layer. */
  readonly factors: Float32Array;
}

/** Plain data; reports ascend by client. */
export interface RescalerState {
  readonly reports: readonly Report[];
}

export class RescalerBook implements Snapshot<RescalerState> {
  readonly #options: RescalerOptions;
  #reports = new Map<ClientId, Report>();
  /** Means by budget (0 = all clients), until the next report. */
  readonly #means = new Map<number, Float32Array | null>();

  constructor(options: RescalerOptions) {
    if (options.init === "mass") checkMass(options);
    this.#options = options;
  }

  /** Takes up what a counted update says. `factors` is copied. */
  report({
    client,
    topK,
    examples,
    rescaler,
  }: {
    client: ClientId;
    topK: number;
    examples: number;
    rescaler: Float32Array;
  }) {
    invariant(
      rescaler.length === this.#options.layers,
      () => `rescaler of client ${client} has ${rescaler.length} factors, expected ${this.#options.layers}`,
    );
    this.#reports.set(client, { client, topK, examples, factors: rescaler.slice() });
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
    const { layers, topK: full, init, mass } = this.#options;
    return Float32Array.from({ length: layers }, (_, layer) => {
      if (init === "one") return 1;
      if (init === "ratio") return full / topK;
      return mass![layer]![full - 1]! / mass![layer]![topK - 1]!;
    });
  }

  snapshot(): RescalerState {
    return { reports: this.#ascending().map((report) => ({ ...report, factors: report.factors.slice() })) };
  }

  restore({ reports }: RescalerState): void {
    this.#reports = new Map(
      reports.map((report) => [clientId(report.client), { ...report, factors: report.factors.slice() }]),
    );
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

function checkMass({ layers, topK, mass }: RescalerOptions): void {
  if (mass === undefined)
    throw new ScenarioError('rescaler init "mass" needs the routing mass of each layer, got none');
  if (mass.length !== layers) throw new ScenarioError(`rescaler mass has ${mass.length} layers, expected ${layers}`);
  for (const [layer, masses] of mass.entries()) {
    if (masses.length !== topK || !masses.every((m) => m > 0 && m < Infinity)) {
      throw new ScenarioError(`rescaler mass of layer ${layer} is [${masses}], expected ${topK} positive numbers`);
    }
  }
}
