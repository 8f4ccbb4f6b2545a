import assert from "node:assert/strict";
import { test } from "node:test";
import { memberJob, together } from "../../../actors/members.ts";
import { Rng } from "../../../src/base/random.ts";
import type { TrainJob, TrainResult } from "../../../src/tasks/training-engine.ts";
import { batchOf } from "../../support/small-model.ts";

const batches = [3, 5, 4, 6, 2].map((tokens) => batchOf([Array.from({ length: tokens }, (_, i) => i)], 8));
const job: TrainJob = {
  parameters: Float32Array.of(0, 1, 2, 3, 4, 5),
  personal: Float32Array.of(1, 1),
  variant: { topK: 2 },
  batches,
  optimizer: {
    learningRate: 1,
    personalLearningRate: 0,
    beta1: 0,
    beta2: 0,
    epsilon: 1,
    weightDecay: 0,
    clipNorm: null,
  },
  method: {
    program: () => ({ digest: "", text: () => "" }),
    inputs: {
      mu: 0.1,
      c: Float32Array.of(10, 11, 12, 13, 14, 15),
      q: Float32Array.of(7, 8),
      own: Float32Array.of(3, 2, 1),
    },
  },
};
const members = { all: 3, chosen: [0, 2] };
const draws = (member: number) => new Rng(1).at("order").at(member);

test("a member trains its own stretch, on the same batches in an order of its own", () => {
  const [first, third] = members.chosen.map((member) => memberJob(job, member, members, draws(member))) as [
    TrainJob,
    TrainJob,
  ];
  assert.deepEqual([...first.parameters], [0, 1]);
  assert.deepEqual([...third.parameters], [4, 5]);
  // A vector like the parameters is cut like them, one of a number a member into these; others are whole.
  const inputs = { mu: 0.1, c: Float32Array.of(14, 15), q: Float32Array.of(7, 8), own: Float32Array.of(1) };
  assert.deepEqual(third.method!.inputs, inputs);
  assert.deepEqual(first.batches, batches);
  assert.notDeepEqual(third.batches, batches);
  assert.deepEqual(new Set(third.batches), new Set(batches));
  assert.deepEqual([...job.parameters], [0, 1, 2, 3, 4, 5]);
});

test("a client sends what it found of all its members; the others are as they were", () => {
  const result = (adapter: number[], loss: number, s: number): TrainResult => ({
    parameters: Float32Array.from(adapter),
    personal: Float32Array.of(s, s),
    counts: Float64Array.of(4, 16),
    units: 20,
    losses: Float32Array.of(loss, loss / 2),
    found: { probe: Float64Array.of(loss) },
  });
  assert.deepEqual(together(job, members, [result([8, 9], 2, 1), result([6, 7], 4, 3)]), {
    parameters: Float32Array.of(8, 9, 2, 3, 6, 7),
    personal: Float32Array.of(2, 2),
    counts: Float64Array.of(4, 16, 0, 0, 4, 16),
    units: 20,
    losses: Float32Array.of(3, 1.5),
    found: { probe: Float64Array.of(6) },
  });
});
