/** One rescaler for all layers, in float64 on the plain interpreter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RescalerBook } from "../../../src/fl/rescaler.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import { trainingStep } from "../../../src/tasks/training-step.ts";
import { restingFeeds } from "../../support/llm-programs.ts";
import { interpret } from "../../support/reference.ts";
import { batchNumbers, batchOf, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

const config = smallModel;
const options = { config, lora: { rank: 2, alpha: 3 }, form: "factored" } as const;
const [each, shared] = [llmTask(options), llmTask({ ...options, sharedRescaler: true })];
const batch = batchOf([[3, 1, 4, 1, 5, 9, 2]], 8);
const weights = Object.fromEntries(randomWeights(config));

/** With β₁ = 0 the first moment after a step is the gradient. */
function step(task: typeof each, s: number) {
  const program = trainingStep(
    task,
    { topK: 2 },
    { clients: 1, rows: 1, length: 8 },
    { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false },
  );
  const own = new Array<number>(task.personal).fill(s);
  const feeds = {
    ...batchNumbers(batch, config.experts),
    ...restingFeeds(task.adapter),
    parameters: randomAdapter(task.adapter, 3),
    personal: own,
    personalMean: own.map(() => 0),
    personalVariance: own.map(() => 0),
  };
  return interpret(program, feeds, weights);
}

test("a rescaler that all layers share has the loss of equal ones, and the sum of their slopes", () => {
  const [one, many] = [step(shared, 1.25), step(each, 1.25)];
  assert.equal(one.loss![0], many.loss![0]);
  assert.equal(one.personalMean!.length, 1);
  const sum = many.personalMean!.reduce((total, slope) => total + slope, 0);
  // Sums of the same terms in another order.
  assert.ok(Math.abs(one.personalMean![0]! - sum) < 1e-12 * Math.abs(sum));
});

test("with the init mass it makes up for what all layers leave out together", () => {
  const book = new RescalerBook({ layers: 1, topK: 2, init: "mass", scope: "local" });
  book.startFrom([
    [3, 4],
    [1, 4],
  ]);
  assert.deepEqual([...book.forBudget(1)], [8 / 4]);
  assert.deepEqual([...book.forBudget(2)], [1]);
});
