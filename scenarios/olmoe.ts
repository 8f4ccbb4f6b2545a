/**
 * Does a model of OLMoE-1B-7B's size fit on this machine, and how long does it take for a client with all eight of its experts
 * and for one with a single expert? One round of a few short batches; `flame forecast` says beforehand what it takes.
 *
 *   npx flame run olmoe --model path/to/OLMoE-1B-7B
 *
 * Without the weights, a model of the same shape: flame synthesize --like olmoe-1b-7b --to twin. Without --model, the embedded
 * one.
 */
import { defineScenario, flame, iid, instructions, megabits } from "flame-sim";

export default defineScenario({
  name: "olmoe",
  seed: 1,
  lora: { rank: 8, alpha: 16 },
  data: {
    source: instructions({ examples: 12 }),
    partition: iid(),
    heldOut: 0.34,
    maxTokens: 64,
  },
  fleet: [
    { name: "server", clients: 1, budget: 8, tokensPerSecond: 400, uplink: megabits(200) },
    { name: "phone", clients: 1, budget: 1, tokensPerSecond: 50, uplink: megabits(20) },
  ],
  rounds: { count: 1, cohort: 2 },
  training: { epochs: 1, batchSize: 2, learningRate: 1e-3 },
  strategy: flame(),
  evaluationExamples: 2,
});
