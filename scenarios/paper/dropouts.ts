/**
 * Which methods suffer most when clients never answer?
 *
 *   npx flame compare paper/dropouts            five seeds; --smoke says in minutes whether it runs
 */
import { defineScenario, type Study } from "flame-sim";
import { setting, smoke } from "./main-table.ts";

export const study: Study = {
  strategies: [
    ...["flame", "fedavg", "fedprox", "scaffold", "fednova", "qffl", "fedvra", "ewwa", "ccfao", "otaffl"],
    ...["trivial", "hetlora", "flexlora", "flora", "fslora", "lora-fair", "hfedmoe", "fedmoe", "fft-moe", "shefl"],
  ],
  dropouts: [0, 0.1, 0.3, 0.5, 0.7],
  smoke: { ...smoke, dropouts: [0.5] },
};

export default defineScenario({ ...setting, name: "dropouts" });
