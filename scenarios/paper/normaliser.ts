/**
 * Is FLAME's frequency of an expert counted per token or as a share of what the client activated? Le et al., "FLAME", 2025,
 * https://arxiv.org/abs/2506.16600 leave it open; with tokens and t = 2 a client of eight experts outweighs one of a single
 * expert 64 times. Both readings beside FedAvg where `main-table` does not look: shards that are less alike, more local
 * steps, another learning rate.
 *
 *   npx flame compare paper/normaliser
 */
import { defineScenario, type Study } from "flame-sim";
import { setting, smoke } from "./main-table.ts";

export const study: Study = {
  strategies: ["flame", "flame:frequencyNorm=tokens", "flame:frequencyExponent=1", "fedavg"],
  conditions: [
    { name: "alpha 0.1", set: ["data.partition.alpha=0.1"] },
    { name: "three epochs", set: ["training.epochs=3"] },
    { name: "learning rate 1e-3", set: ["training.learningRate=1e-3"] },
  ],
  smoke,
};

export default defineScenario({ ...setting, name: "normaliser" });
