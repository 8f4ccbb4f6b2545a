/**
 * Does FedBuff, which waits for nobody, learn as much in less virtual time than rounds with a deadline?
 *
 * Both may use eight clients at a time and aggregate as many updates in all.
 *
 *   npx flame run fedbuff-vs-synchronous
 */
import {
  defineScenario,
  dirichlet,
  fedbuff,
  finishesWithin,
  flame,
  instructions,
  lossFalls,
  megabits,
  minutes,
  type ScenarioInput,
} from "flame-sim";

const common = {
  seed: 21,
  data: {
    source: instructions({ examples: 1_000 }),
    partition: dirichlet({ alpha: 1, minimum: 8 }),
    maxTokens: 96,
  },
  fleet: [
    { name: "fast", clients: 6, budget: 8, tokensPerSecond: 2_000, uplink: megabits(100) },
    {
      name: "slow",
      clients: 10,
      budget: 2,
      tokensPerSecond: { type: "log-normal", median: 60, sigma: 0.7 },
      uplink: megabits(5),
    },
  ],
  training: { batchSize: 16, learningRate: 2e-3 },
  strategy: flame({ frequencyExponent: 2 }),
  evaluationExamples: 64,
} satisfies Omit<ScenarioInput, "name" | "rounds">;

export default [
  defineScenario({
    ...common,
    name: "synchronous",
    question: "How long do rounds take that wait for their slowest client?",
    rounds: { count: 4, cohort: 8, deadline: minutes(10), minUpdates: 4 },
    evaluateEvery: 4,
    expect: [lossFalls({ by: 0.05 })],
  }),
  defineScenario({
    ...common,
    name: "fedbuff",
    question: "How long does it take when every fourth update makes a new version?",
    rounds: { count: 8, cohort: 8, policy: fedbuff({ concurrency: 8, buffer: 4 }) },
    evaluateEvery: 8,
    expect: [lossFalls({ by: 0.05 }), finishesWithin(minutes(5))],
  }),
];
