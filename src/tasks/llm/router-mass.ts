/**
 * How much of the routing the likeliest experts hold in the base model, layer by layer:
 *
 *   m_k = Σ over tokens of the sum of the k largest router probabilities,   k = 1 … K
 *
 * m_K ÷ m_k makes up for what a client with k experts leaves out on average, where kept weights are not renormalised.
 */
import type { Batch } from "../../data/batches.ts";
import { StepEngine } from "../../engine/step-engine.ts";
import type { BaseWeights } from "../../model/base-weights.ts";
import type { ModelConfig } from "../../model/config.ts";
import { encodeProgram } from "../../tensor/codec.ts";
import type { Executor } from "../../tensor/executors/executor.ts";
import { mul, reduceSum } from "../../tensor/ops/arithmetic.ts";
import { topK } from "../../tensor/ops/index-ops.ts";
import type { Pass } from "../task.ts";
import { probeProgram } from "../training-step.ts";
import { loraFormFor } from "./lora-form.ts";
import { llmTask } from "./task.ts";

/** @param batches of one shape, at least one */
export async function routerMasses(
  executor: Executor,
  weights: BaseWeights,
  batches: readonly Batch[],
): Promise<number[][]> {
  const { config } = weights;
  const task = llmTask({
    config,
    lora: { rank: 1, alpha: 1 },
    form: executor.pads === true ? "padded" : loraFormFor(config),
  });
  const { rows, length } = batches[0]!;
  const { digest, text } = encodeProgram(
    probeProgram(task, { topK: config.topK }, { clients: 1, rows, length }, {}, ({ pass }) => largestOf(pass, config)),
  );
  const program = { digest, text: () => text };
  const inputs = { parameters: new Float32Array(task.layout.size), personal: new Float32Array(task.personal).fill(1) };
  const masses = Array.from({ length: task.adapter.layers }, () => new Array<number>(config.topK).fill(0));
  const engine = new StepEngine(executor, weights);
  try {
    for (const batch of batches) {
      const found = await engine.run({ program, inputs, batch, padding: config.experts });
      for (const [layer, mass] of masses.entries()) {
        let kept = 0;
        for (const [at, sum] of (found[`layer ${layer}`] as Float32Array).entries()) {
          kept += sum;
          mass[at]! += kept;
        }
      }
    }
  } finally {
    engine.dispose();
  }
  return masses;
}

/** Of each layer, sums over the tokens of a batch of the likeliest, the second likeliest … K-th likeliest expert, `[K]`. */
const largestOf = ({ routers = [], tokens }: Pass, config: ModelConfig) =>
  Object.fromEntries(
    routers.map(({ probabilities }, layer) => {
      const { values } = topK(probabilities, config.topK);
      return [`layer ${layer}`, reduceSum(mul(values, tokens!()), [0])];
    }),
  );
