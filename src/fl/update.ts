/** What a client sends after local training, as the server sees it once it has opened the blob. */
import type { ClientId, ParticipationId, Round } from "../base/ids.ts";
import type { AdapterLayout } from "../model/adapter.ts";

export interface Update {
  readonly client: ClientId;
  readonly participation: ParticipationId;
  /** The model version the client started from. */
  readonly round: Round;
  /** Experts per token in local training, k_i. */
  readonly topK: number;
  /** |D_i|: training examples of the client. */
  readonly examples: number;
  /** The trained adapter, and the one it started from; their difference is the delta. Layout: `model/adapter.ts`. */
  readonly values: Float32Array;
  readonly base: Float32Array;
  /** s_i, one per layer. Stays with the client unless the strategy's scope says otherwise. */
  readonly rescaler: Float32Array;
  /** a_i: non-padding tokens routed to each expert during training, `[layers · experts]`. */
  readonly activations: Uint32Array;
  /** S_i: non-padding tokens seen. */
  readonly tokens: number;
  /** Mean training loss per response token of the first and of all local steps, in nats. */
  readonly firstLoss: number;
  readonly meanLoss: number;
  /** How much of the update the round policy lets through, in [0, 1]: less when it is stale, 1 when it is fresh. */
  readonly discount: number;
  /** What the server multiplied the delta by to bound its norm, in (0, 1]; absent means 1. */
  readonly clip?: number;
}

/** Did at least one local step give this expert a gradient? `expert` = layer · experts + expert. */
export const hasTrained = (update: Update, expert: number): boolean => update.activations[expert]! > 0;

/** The same update with the factor that brings its delta's norm down to at most `norm`. */
export function clipUpdate(update: Update, norm: number): Update {
  const length = deltaNorm(update);
  return length <= norm ? update : { ...update, clip: (update.clip ?? 1) * (norm / length) };
}

/** @internal ‖Δ‖₂ of what is left of the delta after clips so far. */
export function deltaNorm({ values, base, clip = 1 }: Update): number {
  let square = 0;
  for (let i = 0; i < values.length; i++) {
    const delta = values[i]! - base[i]!;
    square += delta * delta;
  }
  return clip * Math.sqrt(square);
}

/** Why an update is not counted. */
export interface Refusal {
  readonly kind: "misfit" | "not-finite";
  readonly text: string;
}

/**
 * Whether the server may count the update. It must fit the layout, hold only finite numbers, and its activation counts
 * must be possible: topK experts per token in every layer, and no expert more than once per token.
 *
 * @returns why it must be refused, or null
 */
export function checkUpdate(update: Update, layout: AdapterLayout): Refusal | null {
  const misfit = misfitOf(update, layout);
  if (misfit !== null) return { kind: "misfit", text: misfit };
  const text =
    firstNonFinite("adapter", update.values) ??
    firstNonFinite("base adapter", update.base) ??
    firstNonFinite("rescaler", update.rescaler);
  return text === null ? null : { kind: "not-finite", text };
}

function misfitOf(update: Update, layout: AdapterLayout): string | null {
  const { values, base, rescaler, activations, topK, tokens, examples } = update;
  const { layers, experts, size } = layout;
  if (values.length !== size) return `adapter has ${values.length} values, expected ${size}`;
  if (base.length !== size) return `base adapter has ${base.length} values, expected ${size}`;
  if (rescaler.length !== layers) return `rescaler has ${rescaler.length} factors, expected ${layers}`;
  if (activations.length !== layers * experts) {
    return `activations have ${activations.length} counts, expected ${layers * experts}`;
  }
  if (!isCount(topK) || topK < 1 || topK > experts) return `topK is ${topK}, expected an integer in [1, ${experts}]`;
  if (!isCount(tokens)) return `tokens is ${tokens}, expected a non-negative integer`;
  if (!isCount(examples) || examples < 1) return `examples is ${examples}, expected a positive integer`;
  if (!(update.discount >= 0 && update.discount <= 1)) {
    return `discount is ${update.discount}, expected a number in [0, 1]`;
  }
  for (const name of ["firstLoss", "meanLoss"] as const) {
    if (!isNonNegative(update[name])) return `${name} is ${update[name]}, expected a non-negative number`;
  }
  return activationProblem(update, layout);
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
const isNonNegative = (value: number): boolean => value >= 0 && value < Infinity;

function activationProblem({ activations, topK, tokens }: Update, { layers, experts }: AdapterLayout): string | null {
  for (let layer = 0; layer < layers; layer++) {
    let sum = 0;
    for (let expert = 0; expert < experts; expert++) {
      const count = activations[layer * experts + expert]!;
      if (!isCount(count) || count > tokens) {
        return `layer ${layer}, expert ${expert} was activated ${count} times by ${tokens} tokens`;
      }
      sum += count;
    }
    if (sum !== topK * tokens) {
      return `activations of layer ${layer} sum to ${sum}, expected topK · tokens = ${topK * tokens}`;
    }
  }
  return null;
}

function firstNonFinite(what: string, values: Float32Array): string | null {
  // v − v is 0 for every finite v and NaN for the others, so one sum tells whether there is anything to look for.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! - values[i]!;
  if (sum === 0) return null;
  const at = values.findIndex((value) => !Number.isFinite(value));
  return `${what} value ${at} is ${values[at]}, expected a finite number`;
}
