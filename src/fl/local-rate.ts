/** Plain SGD wants another rate than AdamW: methods that prescribe it can have one of their own. */
import { z } from "zod";
import type { Plan } from "./plan.ts";

export const localRateField = {
  localLearningRate: z
    .number()
    .positive()
    .optional()
    .describe("of local SGD steps; the scenario's training.learningRate unless given"),
};

export const ofRate = (rate: number | undefined): Partial<Pick<Plan, "learningRate">> =>
  rate === undefined ? {} : { learningRate: rate };
