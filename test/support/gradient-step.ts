/** A training step from rest: its first moments, which are kept without their factor 1 − β1, are the gradients. */
import { restingState } from "../../src/engine/step-state.ts";
import type { LoraForm } from "../../src/model/adapted-experts.ts";
import type { AdapterLayout } from "../../src/model/adapter.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { type StepShape, trainStep } from "../../src/model/programs.ts";

export const gradientStep = (config: ModelConfig, layout: AdapterLayout, shape: StepShape, form: LoraForm) =>
  trainStep(config, layout, shape, { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false, form });

/** All that {@link gradientStep} reads besides parameters and batch. */
export function restingFeeds({ size, layers }: AdapterLayout): Record<string, Float32Array> {
  const one = Float32Array.of(1);
  const rates = { learningRate: one, rescalerLearningRate: one, decay: one, correction1: one, correction2: one };
  return { ...restingState(size, layers), ...rates };
}
