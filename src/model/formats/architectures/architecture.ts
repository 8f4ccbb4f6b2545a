/**
 * What one architecture of Hugging Face is to us: how its `config.json` is read and written, and what its tensors are called.
 * Each has a file here, and a line in `all.ts`.
 */
import type { ModelConfig } from "../../config.ts";
import type { Fields } from "./fields.ts";

/** Names behind `model.layers.{l}.{block}.`, of what architectures call differently. */
export interface ExpertNames {
  readonly block: string;
  readonly router: string;
  /** The router as a module of transformers 5, behind `model.layers.{l}.`. */
  readonly routerModule: string;
  /** Leaf names of one expert's projections; null where a tensor always holds all experts. */
  readonly leaves: { readonly gate: string; readonly up: string; readonly down: string } | null;
  /** All experts in one tensor: rows of gate, then of up, `[experts, 2·f, d]`; and `[experts, d, f]`. */
  readonly fused: { readonly gateUp: string; readonly down: string };
}

export interface Architecture {
  /** As `architectures` in `config.json` names it. */
  readonly className: string;
  /** What transformers' configuration has where the file is silent. */
  readonly defaults: {
    readonly topK: number;
    readonly maxTokens: number;
    readonly ropeTheta: number;
    readonly normEpsilon: number;
  };
  /** Whether `head_dim` may differ from width ÷ heads. */
  readonly freeHeadWidth: boolean;
  /** Whether a `sliding_window` counts where `use_sliding_window` says nothing. */
  readonly slidingWindow: boolean;
  /** What of a model is not as in all others, from its file; problems are added to. */
  read(fields: Fields, problems: string[]): Partial<ModelConfig>;
  /** The fields of its file that others do not have, or have otherwise. */
  write(model: ModelConfig): Readonly<Record<string, unknown>>;
  readonly names: ExpertNames;
  /** Where transformers 5 has other names in memory, and in folders that it saves as they are there. */
  readonly inMemory?: Pick<ExpertNames, "block" | "router" | "fused">;
  /** Whether PEFT knows adapters of all experts together only; else one by one. */
  readonly fusedAdapters: boolean;
}

/** As OLMoE and Qwen have them. */
export const projectionNames: ExpertNames = {
  block: "mlp",
  router: "gate.weight",
  routerModule: "mlp.gate",
  leaves: { gate: "gate_proj", up: "up_proj", down: "down_proj" },
  fused: { gateUp: "experts.gate_up_proj", down: "experts.down_proj" },
};
