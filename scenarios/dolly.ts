/**
 * Does the model learn from instructions that people wrote, dealt unevenly over devices by category?
 *
 * Your own file works as well: JSON or JSONL with instruction, input or context, output or response, and optionally
 * category.
 *
 *   npx flame run dolly --data my-instructions.jsonl
 */
import { byQuantity, defineScenario, file, flame, lossFalls, megabits, minutes } from "flame-sim";

export default defineScenario({
  name: "dolly",
  question: "Does the model learn from instructions that people wrote?",
  seed: 7,
  data: { source: file(), partition: byQuantity({ sigma: 0.7, minimum: 4 }), heldOut: 0.1, maxTokens: 192 },
  fleet: [
    { name: "desktop", clients: 4, budget: 8, tokensPerSecond: 2_000, uplink: megabits(50), latency: 15 },
    { name: "laptop", clients: 6, budget: 4, tokensPerSecond: 800, uplink: megabits(20), latency: 30 },
    { name: "phone", clients: 6, budget: 2, tokensPerSecond: 300, uplink: megabits(5), latency: 60, dropout: 0.1 },
  ],
  rounds: { count: 6, cohort: 6, deadline: minutes(5), minUpdates: 2 },
  training: { batchSize: 8, learningRate: 2e-3, maxSteps: 12 },
  strategy: flame({ frequencyExponent: 2 }),
  evaluateEvery: 3,
  evaluationExamples: 64,
  expect: [lossFalls({ by: 0.05 })],
});
