/**
 * Mixtral: no norms on q and k, and the kept routing weights divided by their sum. w1 is gate, w3 up and w2 down.
 * Jiang et al., https://arxiv.org/abs/2401.04088; transformers `models/mixtral`.
 */
import type { Architecture } from "./architecture.ts";

export const mixtral: Architecture = {
  className: "MixtralForCausalLM",
  defaults: { topK: 2, maxTokens: 131_072, ropeTheta: 1e6, normEpsilon: 1e-5 },
  freeHeadWidth: true,
  slidingWindow: true,
  read: () => ({ normTopK: true, qkNorm: "none" }),
  write: ({ experts }) => ({ num_local_experts: experts, sliding_window: null }),
  names: {
    block: "block_sparse_moe",
    router: "gate.weight",
    routerModule: "mlp.gate",
    leaves: { gate: "w1", up: "w3", down: "w2" },
    fused: { gateUp: "experts.gate_up_proj", down: "experts.down_proj" },
  },
  inMemory: {
    block: "mlp",
    router: "gate.weight",
    fused: { gateUp: "experts.gate_up_proj", down: "experts.down_proj" },
  },
  fusedAdapters: false,
};
