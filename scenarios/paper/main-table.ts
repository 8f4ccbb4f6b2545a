/**
 * Le et al., "FLAME", 2025, https://arxiv.org/abs/2506.16600, their main table: does the full rank with fewer experts do better
 * than all experts with smaller ranks, on shards that are much and little alike? What the others pay for compute is seen in
 * two forms: with all experts for everybody, and with as many as FLAME's clients have.
 *
 *   npx flame compare paper/main-table            five seeds; --smoke says in minutes whether it runs
 */
import { defineScenario, dirichlet, flame, instructions, megabits, minutes, type Study } from "flame-sim";

/** The clients, data and training of all tables here. */
export const setting = {
  seed: 1,
  lora: { rank: 8, alpha: 16 },
  data: {
    source: instructions({ examples: 2_400 }),
    partition: dirichlet({ alpha: 0.5, minimum: 8 }),
    heldOut: 0.1,
    maxTokens: 48,
  },
  fleet: [
    { name: "server", clients: 4, budget: 8, tokensPerSecond: 4_000, uplink: megabits(200), dropout: 0 },
    { name: "desktop", clients: 4, budget: 4, tokensPerSecond: 1_500, uplink: megabits(50), dropout: 0 },
    { name: "laptop", clients: 4, budget: 2, tokensPerSecond: 500, uplink: megabits(20), dropout: 0 },
    { name: "phone", clients: 4, budget: 1, tokensPerSecond: 150, uplink: megabits(5), dropout: 0 },
  ],
  rounds: { count: 10, cohort: 8, deadline: minutes(10), minUpdates: 1 },
  training: { epochs: 1, batchSize: 16, learningRate: 3e-3 },
  strategy: flame(),
  evaluateEvery: 10,
  evaluationExamples: 128,
} as const;

/** A round of two clients on little data. */
export const smoke = {
  rounds: 1,
  set: ["data.source.examples=400", "rounds.cohort=2", "evaluationExamples=16"],
};

const ranks = ["trivial", "hetlora", "flexlora", "flora", "fslora"];

export const study: Study = {
  strategies: [
    ...["flame", "flame:frequencyNorm=tokens", "fedavg", "fedavg:budget=largest"],
    ...ranks.flatMap((name) => [`${name}:experts=own`, `${name}:experts=all`]),
  ],
  conditions: [
    { name: "alpha 0.5", set: ["data.partition.alpha=0.5"] },
    { name: "alpha 5", set: ["data.partition.alpha=5"] },
  ],
  smoke,
};

export default defineScenario({ ...setting, name: "main-table" });
