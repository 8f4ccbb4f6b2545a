/** What fixes the mathematics of a sparse-mixture-of-experts transformer; the names are those of the literature. */
export interface ModelConfig {
  readonly vocabulary: number;
  readonly layers: number;
  /** Hidden width d. */
  readonly width: number;
  readonly heads: number;
  /** Key/value heads; fewer than `heads` means grouped-query attention. */
  readonly keyValueHeads: number;
  /** Experts per layer, M. */
  readonly experts: number;
  /** Width f of one expert's hidden layer. */
  readonly expertWidth: number;
  /** Experts per token of the base model, K. A client's budget k_i is at most this. */
  readonly topK: number;
  /** Longest sequence, in tokens. */
  readonly maxTokens: number;
  readonly ropeTheta: number;
  readonly normEpsilon: number;
  /** Divides the kept routing weights by their sum. OLMoE: false. */
  readonly normTopK: boolean;
  readonly tiedEmbeddings: boolean;
  /** Biases on the attention projections q, k, v, o, or on the first three. OLMoE: false. */
  readonly attentionBias: boolean | "qkv";
  /** Clamps q, k and v to ±c after their norms; null leaves them alone. */
  readonly clipQkv: number | null;

  // What relatives of OLMoE do otherwise. Absent where they do as OLMoE does.

  /** How Hugging Face calls the architecture; OLMoE unless given. */
  readonly modelType?: RelativeType;
  /** Width of a head, where it is not width ÷ heads. */
  readonly headWidth?: number;
  /** Norms on q and k head by head, or none; of the whole projection unless given. */
  readonly qkNorm?: "heads" | "none";
  /** Width of an expert that every token passes beside those it is routed to, times the sigmoid of a gate of its own. */
  readonly sharedWidth?: number;
  /** Layers, from 0, that have one MLP in the place of experts. */
  readonly dense?: { readonly layers: readonly number[]; readonly width: number };
  /** Factors at four places, where others have 1, and 1 ÷ √(width of a head) in attention. */
  readonly multipliers?: {
    /** On the embedding of a token. */
    readonly embedding: number;
    /** On what attention and experts add to h. */
    readonly residual: number;
    /** On q·k. */
    readonly attention: number;
    /** What logits are divided by. */
    readonly logitsDivisor: number;
  };
}

/** Relatives of OLMoE whose folders are read and written. */
export type RelativeType = "granitemoe" | "mixtral" | "qwen2_moe" | "qwen3_moe";

/** What small models leave as OLMoE has it. */
export const plainSettings = {
  ropeTheta: 10_000,
  normEpsilon: 1e-5,
  normTopK: false,
  tiedEmbeddings: false,
  attentionBias: false,
  clipQkv: null,
} as const satisfies Partial<ModelConfig>;

export const headWidthOf = ({ headWidth, width, heads }: ModelConfig): number => headWidth ?? width / heads;

/** Layers with a mixture of experts, in order. What adapts or counts experts numbers these through, and passes others over. */
export const sparseLayers = ({ layers, dense }: ModelConfig): readonly number[] =>
  Array.from({ length: layers }, (_, layer) => layer).filter((layer) => dense?.layers.includes(layer) !== true);
