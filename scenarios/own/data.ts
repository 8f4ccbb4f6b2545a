/**
 * Data of one's own, in the scenario itself and with names of one's own: do four writers learn from each other to spell
 * backwards?
 *
 *   npx flame run own/data
 *
 * The same from a file is `file("words.jsonl", { fields })`; docs/data.md says what is read.
 */
import { byColumn, defineScenario, lossFalls, records } from "flame-sim";

const words = "sun moon star rain snow wind leaf tree bird fish stone river cloud storm light night".split(" ");
const writers = ["ada", "ben", "cleo", "dan"];

const sheets = words.flatMap((word, at) =>
  ["Spell backwards.", "Turn the word around."].map((question) => ({
    question,
    word,
    answer: [...word].reverse().join(""),
    writer: writers[at % writers.length]!,
  })),
);

export default defineScenario({
  name: "own-data",
  question: "Do four writers learn from each other to spell backwards?",
  seed: 1,
  data: {
    source: records(sheets, { fields: { instruction: "question", input: "word", output: "answer" } }),
    partition: byColumn("writer"),
    heldOut: 0.2,
    maxTokens: 48,
  },
  fleet: [{ name: "laptop", clients: 4, budget: 2, tokensPerSecond: 800, uplink: 1e6 }],
  rounds: { count: 2, cohort: 4 },
  training: { batchSize: 4, learningRate: 3e-3, schedule: { type: "cosine" } },
  strategy: { type: "fedavg" },
  evaluateEvery: 2,
  evaluateAt: [2],
  expect: [lossFalls({ by: 0.1 })],
});
