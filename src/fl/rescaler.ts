/**
 * The server's book of rescalers: what factor s an SMoE layer's output gets for clients it has not heard from, and for
 * the global model at each budget.
 *
 *   s_k = Σ_{i: k_i = k} n_i · s_i / Σ_{i: k_i = k} n_i        per layer, s_i last reported by client i
 *
 * A budget nobody has reported from starts at 1 or at K/k, which overcorrects when kept weights are not renormalised,
 * because the experts that are left out are the light ones.
 * Le et al., "FLAME", 2025. https://arxiv.org/abs/2506.16600
 */
import { invariant } from "../base/errors.ts";
import { type ClientId, clientId } from "../base/ids.ts";
import type { Snapshot } from "../base/snapshot.ts";
import type { Update } from "./update.ts";

export interface RescalerOptions {
  readonly layers: number;
  /** K, experts per token of the base model. */
  readonly topK: number;
  readonly init: "one" | "ratio";
  /** Whose mean a client goes on from: its own last factor, that of its budget's clients, or that of all. */
  readonly scope: "local" | "budget" | "global";
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
    this.#options = options;
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
    return new Float32Array(layers).fill(init === "one" ? 1 : full / topK);
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
