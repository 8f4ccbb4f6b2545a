/** MLPs that every token passes: that of a dense layer, and the expert that a mixture may share. */
import type { Tensor } from "../tensor/graph/ir.ts";
import { mul, scale, swiglu } from "../tensor/ops/arithmetic.ts";
import { detach } from "../tensor/ops/discrete.ts";
import { concat, halves, split } from "../tensor/ops/layout.ts";
import { matmul } from "../tensor/ops/matrix.ts";
import { softmax } from "../tensor/ops/nn.ts";

/** Down·(silu(Gate·x) ⊙ Up·x), `[tokens, width]`, of a dense layer. */
export const denseMlp = (x: Tensor, of: (name: string) => Tensor): Tensor => mlp(x, of("mlpGateUp"), of("mlpDown"));

/** σ(g·x) · E(x), `[tokens, width]`. Qwen team, 2024, https://arxiv.org/abs/2407.10671 */
export const sharedExpert = (x: Tensor, of: (name: string) => Tensor): Tensor =>
  mul(mlp(x, of("sharedGateUp"), of("sharedDown")), sigmoid(matmul(x, of("sharedGate"))));

function mlp(x: Tensor, gateUp: Tensor, down: Tensor): Tensor {
  const [gate, up] = halves(matmul(x, gateUp), 1);
  return matmul(swiglu(gate, up), down);
}

/** Of a column: softmax against 0, which no exponential overflows. */
const sigmoid = (x: Tensor): Tensor => split(softmax(concat([x, scale(detach(x), 0)], 1)), 1, [1, 1])[0]!;
