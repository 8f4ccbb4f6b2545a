/**
 * What would the model learn if one machine held all data and could afford all eight experts? The upper reference that
 * a federation is compared with: plain local LoRA fine-tuning in one place, measured at every budget.
 *
 *   npx flame run centralised
 */
import { accuracyReaches, defineScenario, fedavg, iid, instructions, lossFalls, megabits } from "flame-sim";

export default defineScenario({
  name: "centralised",
  question: "What does the model learn when one machine holds all data and activates eight experts per token?",
  seed: 42,
  lora: { rank: 8, alpha: 16 },
  data: { source: instructions({ examples: 16_000 }), partition: iid(), heldOut: 0.1, maxTokens: 96 },
  fleet: [{ name: "server", clients: 1, budget: 8, tokensPerSecond: 20_000, uplink: megabits(1_000) }],
  // A round is an epoch. With one client, averaging changes nothing, but the optimizer begins anew.
  rounds: { count: 3, cohort: 1 },
  training: { epochs: 1, batchSize: 64, learningRate: 2e-3 },
  strategy: fedavg(),
  evaluateAt: [8, 4, 2, 1],
  evaluationExamples: 512,
  expect: [lossFalls({ by: 0.5, at: 8 }), accuracyReaches({ share: 0.8, at: 8 })],
});
