/**
 * The federation of `peers/flower_federation.py 8 3 10 0`: 8 clients, two each at k = 8, 4, 2, 1, 3 rounds, 10 steps of
 * 4 × 128 tokens; 4 layers, width 128, 16 experts of width 64, rank 8.
 */
import { defineScenario, flame, iid, megabits, records } from "flame-sim";

/** Bytes are tokens: with three marks and the end a row of 128 is full. */
const letters = "abcdefghijklmnopqrstuvwxyz";
const row = (at: number) => ({
  instruction: letters[at % 26]!,
  response: Array.from({ length: 123 }, (_, i) => letters[(at * (i + 7) + i * i) % 26]).join(""),
});

export default defineScenario({
  name: "federation",
  seed: 1,
  lora: { rank: 8, alpha: 16 },
  data: {
    source: records(Array.from({ length: 336 }, (_, at) => row(at))),
    partition: iid(),
    heldOut: 16,
    maxTokens: 128,
  },
  fleet: [8, 4, 2, 1].map((budget) => ({
    name: `k=${budget}`,
    clients: 2,
    budget,
    tokensPerSecond: 1_000,
    uplink: megabits(20),
  })),
  rounds: { count: 3, cohort: 8 },
  training: { batchSize: 4, maxSteps: 10 },
  strategy: flame(),
  evaluateEvery: 3,
});
