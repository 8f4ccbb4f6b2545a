/** Where the trainable parameters of a task lie in one flat vector: in groups, which are the units of averaging. */

/** A stretch of the flat vector: `[start, end)`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** An expert, a layer, a head. */
export interface Group {
  readonly name: string;
  readonly ranges: readonly Range[];
  /** Every unit passes it, whatever a router chooses: its count is that of all units. Absent where a client may go without. */
  readonly always?: true;
}

/** A change ΔW = scale · B·A of an `[outputs, inputs]` matrix, by the places of its factors. */
export interface LowRankPair {
  /** Which group both factors belong to. */
  readonly group: number;
  readonly rank: number;
  readonly inputs: number;
  readonly outputs: number;
  /** alpha ÷ rank */
  readonly scale: number;
  /** Where A begins, `[rank, inputs]`. */
  readonly a: number;
  /** Where B begins, `[outputs, rank]`. */
  readonly b: number;
}

/** A layer of experts among which a router chooses. */
export interface Mixture {
  /** Their groups, in the order of the router's rows. */
  readonly experts: readonly number[];
  /** The group of what changes the router, a row of equal length for each expert; null where it rests. */
  readonly router: number | null;
}

/** Numbers of one example in a layer: what it reads, puts out, and keeps for the backward pass. */
export interface Activations {
  readonly input: number;
  readonly output: number;
  readonly saved: number;
}

export interface Heads {
  /** The group of each client's. */
  readonly groups: readonly number[];
  /** Whether the mean of what they say is what their mean says. */
  readonly linear: boolean;
}

/** Encoders of modalities, side by side, and whatever reads their features. */
export interface Modalities {
  /** Their groups, in the order of the budgets that have one of them alone: 1, 2 …; the largest budget has all. */
  readonly encoders: readonly number[];
  /** Length of a feature, and how many classes there are. */
  readonly features: number;
  readonly classes: number;
}

/** A dense model that is cut into experts, each of which keeps some channels of its MLPs. */
export interface Cut {
  readonly layers: number;
  /** F, of a layer's MLP. */
  readonly channels: number;
  /** Channels of each layer that an expert keeps. */
  readonly kept: number;
  /** The group of the router that chooses experts for all layers. */
  readonly router: number;
  /** The groups of the experts' masks: 1 for a channel that it keeps and 0 elsewhere, `[layers · channels]`. */
  readonly experts: readonly number[];
}

export interface ParameterLayout {
  readonly size: number;
  /** They cover the vector and do not overlap. */
  readonly groups: readonly Group[];
  /** Empty where nothing is low-rank. */
  readonly pairs: readonly LowRankPair[];
  /** Layers of experts; absent where there are none. */
  readonly mixtures?: readonly Mixture[];
  /** Groups of single ranks among which a router chooses; absent where there are none. */
  readonly routedRanks?: readonly number[];
  /** Of each layer of a chain; absent where nobody asks what memory it takes. */
  readonly activations?: readonly Activations[];
  /** Where every client has a head of its own; the model predicts by the mean of what all say. */
  readonly heads?: Heads;
  /** Absent where there is one modality. */
  readonly modalities?: Modalities;
  /** Only where a dense model is cut. */
  readonly cut?: Cut;
}

/** Where a row of a router's change lies, of as many as it has experts. */
export function rowOf({ ranges }: Group, { length }: readonly number[], row: number): Range {
  const [{ start, end }] = ranges as readonly [Range];
  const width = (end - start) / length;
  return { start: start + row * width, end: start + (row + 1) * width };
}
