/** The claim of Mixture of Ranks: an input that is degraded uses more ranks, because zero slots cost it what ranks do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { evaluationBatches, trainBatches } from "../../src/data/batches.ts";
import { loadImages, pictures } from "../../src/data/images/source.ts";
import { mixtureOfRanks } from "../../src/fl/strategies/ranks/mixture-of-ranks.ts";
import { TaskPrograms } from "../../src/tasks/programs.ts";
import { degradePictures, usualLevels } from "../../src/tasks/restore/data.ts";
import { embeddedRestorer } from "../../src/tasks/restore/restorer.ts";
import { restoreTask } from "../../src/tasks/restore/task.ts";
import { TaskEngine } from "../../src/tasks/task-engine.ts";
import { stepOptionsOf } from "../../src/tasks/training-step.ts";
import { OnnxExecutor } from "../../src/tensor/executors/onnx.ts";
import { settingOf } from "../support/quadratic.ts";

const side = 16;
const task = restoreTask({
  ranks: { shared: 2, routed: 8, zero: 2 },
  topK: 2,
  scale: 1,
  side: side / 2,
  base: embeddedRestorer(),
});
const variant = task.budget.variant(2);
const personal = new Float32Array(0);
const optimizer = {
  ...{ learningRate: 5e-3, personalLearningRate: 0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
  ...{ weightDecay: 0, clipNorm: 1 },
};
const { mild, "blurred and noisy": severe } = usualLevels;
const levels = { mild: mild!, severe: severe! };

/** How many more ranks of a product a picture uses that is severely degraded than one that is mildly, after training. */
async function gap(seed: number, zeroPenalty: "input" | "even"): Promise<number> {
  const rng = new Rng(seed);
  const data = degradePictures(loadImages(pictures({ examples: 640, side }), { seed }), levels, rng);
  const [trained, held] = [512, 128].map((count, at) => Uint32Array.from({ length: count }, (_, n) => 512 * at + n));
  const engine = new TaskEngine(new OnnxExecutor(), task, null);
  try {
    const programs = new TaskPrograms(task);
    const shape = { rows: 16, length: 1 };
    const steps = mixtureOfRanks({ alpha: 0.1, zeroPenalty }).steps!({ variant }, settingOf(task.layout));
    const batches = trainBatches(data, trained!, {
      ...{ batchSize: 16, length: 1, epochs: 8 },
      draws: rng.at("order").at(0),
    });
    const method = {
      program: () => programs.step(variant, { clients: 1, ...shape }, stepOptionsOf(optimizer), "ranks", steps),
      inputs: {},
    };
    const job = { parameters: task.initial(rng, 0), personal, variant, batches, optimizer, method };
    const [result] = await engine.trainCohort([job]);
    const { parameters } = result!;
    const ranksAt = async (level: number) => {
      const own = held!.filter((n) => data.category[n] === level);
      const batches = evaluationBatches(data, own, { batchSize: 16, length: 1 });
      const { more, examples } = await engine.evaluate({ models: [{ parameters, personal, variant }], batches });
      return more.ranks! / examples;
    };
    return (await ranksAt(1)) - (await ranksAt(0));
  } finally {
    engine.dispose();
  }
}

/** Mean and half the width of its 95 % interval, by Student's t of four degrees of freedom. */
function interval(values: readonly number[]): readonly [number, number] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return [mean, 2.776 * Math.sqrt(square / (values.length - 1) / values.length)];
}

test("what is degraded uses more ranks, and no longer does when zero slots are penalised like ranks", async (t) => {
  const seeds = [1, 2, 3, 4, 5];
  const gaps = { input: [] as number[], even: [] as number[] };
  for (const seed of seeds)
    for (const penalty of ["input", "even"] as const) gaps[penalty].push(await gap(seed, penalty));
  const [[byInput, width], [even, evenWidth]] = [interval(gaps.input), interval(gaps.even)];
  t.diagnostic(
    `s̄ of each input: ${byInput.toFixed(2)} ± ${width.toFixed(2)} ranks more; 1 for all: ${even.toFixed(2)} ± ${evenWidth.toFixed(2)}`,
  );
  assert.ok(byInput - width > 0, "more ranks, with 95 % confidence");
  const [less, lessWidth] = interval(gaps.input.map((value, at) => value - gaps.even[at]!));
  assert.ok(less - lessWidth > 0, "the gap shrinks without it, seed by seed");
});
