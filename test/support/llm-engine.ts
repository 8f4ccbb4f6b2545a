/** The language model on an executor, as tests and benchmarks have it at hand. */
import { alone, isAlone, type MergeLimit } from "../../src/engine/merge-limit.ts";
import type { LoraForm } from "../../src/model/adapted-experts.ts";
import type { AdapterLayout, LoraConfig } from "../../src/model/adapter.ts";
import type { BaseWeights } from "../../src/model/base-weights.ts";
import { clientsPerCall } from "../../src/tasks/client-memory.ts";
import { loraFormFor } from "../../src/tasks/llm/lora-form.ts";
import { llmTask } from "../../src/tasks/llm/task.ts";
import type { TaskShape } from "../../src/tasks/task.ts";
import { TaskEngine } from "../../src/tasks/task-engine.ts";
import type { Executor } from "../../src/tensor/executors/executor.ts";

interface LlmEngineOptions {
  /** How LoRA is computed; without it, as is best for the model. */
  readonly form?: LoraForm | undefined;
  readonly shape?: TaskShape | undefined;
  readonly merge?: MergeLimit;
  readonly onStep?: () => void;
}

/** The form in which an executor computes LoRA for a model. */
export const formFor = (executor: Pick<Executor, "pads">, { config }: Pick<BaseWeights, "config">): LoraForm =>
  executor.pads === true ? "padded" : loraFormFor(config);

export class LlmEngine extends TaskEngine {
  readonly layout: AdapterLayout;

  constructor(executor: Executor, weights: BaseWeights, lora: LoraConfig, options: LlmEngineOptions = {}) {
    const { form = formFor(executor, weights), shape = {}, merge = alone, onStep } = options;
    const { config } = weights;
    const task = llmTask({ config, lora, form, shape });
    super(executor, task, weights, {
      ...(onStep && { onStep }),
      ...(!isAlone(merge) && { most: clientsPerCall(merge, llmTask({ config, lora, form: "factored", shape })) }),
    });
    this.layout = task.adapter;
  }
}
