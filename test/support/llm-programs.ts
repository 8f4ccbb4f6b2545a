/** Programs of the language model by configuration and layout, as tests have them at hand. */

import type { RowShape } from "../../src/engine/engine.ts";
import type { LoraForm } from "../../src/model/adapted-experts.ts";
import type { AdapterLayout } from "../../src/model/adapter.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { llmTask } from "../../src/tasks/llm/task.ts";
import { evaluationProgram, type StepOptions, trainingStep } from "../../src/tasks/training-step.ts";

type ModelStep = RowShape & { readonly topK: number };

export const evaluationOf = (
  config: ModelConfig,
  { lora }: AdapterLayout,
  { rows, length, topK }: ModelStep,
  form: LoraForm,
  withLogits = false,
) => evaluationProgram(llmTask({ config, lora, form }), { topK }, { rows, length }, withLogits);

export const stepOf = (
  config: ModelConfig,
  { lora }: AdapterLayout,
  { rows, length, topK, clients = 1 }: ModelStep & { readonly clients?: number },
  { form, ...options }: StepOptions & { readonly form: LoraForm },
) => trainingStep(llmTask({ config, lora, form }), { topK }, { clients, rows, length }, options);

/** A training step from rest: its first moments, which are kept without their factor 1 − β1, are the gradients. */
export const gradientStep = (config: ModelConfig, layout: AdapterLayout, shape: ModelStep, form: LoraForm) =>
  stepOf(config, layout, shape, { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false, form });

/** All that {@link gradientStep} reads besides parameters and batch. */
export function restingFeeds({ size, layers }: AdapterLayout): Record<string, Float32Array> {
  const one = Float32Array.of(1);
  return {
    parametersMean: new Float32Array(size),
    parametersVariance: new Float32Array(size),
    personalMean: new Float32Array(layers),
    personalVariance: new Float32Array(layers),
    learningRate: one,
    personalLearningRate: one,
    correction1: one,
    correction2: one,
  };
}
