/**
 * The main table on instructions that people wrote, dealt by category: a file of yours in the form of Dolly or Alpaca.
 *
 *   npx flame compare paper/own-data --set data.source.path=dolly.json
 */
import { defineScenario, file, type Study } from "flame-sim";
import { setting, study as table } from "./main-table.ts";

export const study: Study = {
  strategies: table.strategies!,
  seeds: [1, 2, 3],
  smoke: { rounds: 1, set: ["rounds.cohort=2", "evaluationExamples=16"] },
};

export default defineScenario({
  ...setting,
  name: "own-data",
  data: { ...setting.data, source: file(), maxTokens: 128 },
  rounds: { ...setting.rounds, count: 6 },
  training: { ...setting.training, batchSize: 8, maxSteps: 6 },
  evaluateEvery: 6,
  evaluationExamples: 64,
});
