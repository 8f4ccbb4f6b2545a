/** The language model with small experts beside its mixtures, as a whole: where it starts, its slopes, its counts. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { idsOf } from "../../../src/data/batches.ts";
import { besideLayout, initialBeside } from "../../../src/model/beside.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import { evaluationProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import { interpret, type Numbers } from "../../support/reference.ts";
import { baseModel } from "../../support/reference-training.ts";
import { batchNumbers, batchOf, randomWeights, smallModel } from "../../support/small-model.ts";

const beside = { experts: 4, width: 3 };
const layout = besideLayout(smallModel, beside);
const task = llmTask({ config: smallModel, lora: { rank: 1, alpha: 1 }, form: "factored", shape: { beside } });
const weights = randomWeights(smallModel);
const batch = batchOf(
  [
    [3, 1, 4, 1, 5],
    [6, 5, 3],
  ],
  5,
);
const shape = { rows: 2, length: 5 };
const numbers = batchNumbers(batch, smallModel.experts);
const variant = { topK: smallModel.topK, kept: 2, gates: "renormalise" };
const stored = Object.fromEntries(weights);

test("at the start the model is the frozen one, exactly", () => {
  const parameters = initialBeside(layout, new Rng(1));
  const program = evaluationProgram(task, variant, shape);
  const found = interpret(program, { parameters, personal: [1, 1], ...numbers }, stored);
  assert.deepEqual(found.losses, baseModel(weights, batch).losses);
});

test("the whole step has the slopes of its loss, and counts what tokens kept", () => {
  const draws = new Rng(2).at("parameters").at(0);
  const point = Array.from({ length: layout.size }, () => 0.3 * draws.normal());
  const personal = [1.25, 0.75];
  const resting = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };
  const step = trainingStep(task, variant, { clients: 1, ...shape }, resting);
  const zeros = new Float64Array(layout.size);
  const feeds = {
    parameters: point,
    personal,
    parametersMean: zeros,
    parametersVariance: zeros,
    personalMean: [0, 0],
    personalVariance: [0, 0],
    learningRate: [1],
    personalLearningRate: [1],
    correction1: [1],
    correction2: [1],
    ...numbers,
  };
  const found = interpret(step, feeds, stored);
  const evaluation = evaluationProgram(task, variant, shape);
  const lossAt = (parameters: Numbers[string]) => {
    const { losses } = interpret(evaluation, { parameters, personal, ...numbers }, stored);
    return losses!.reduce((sum, loss) => sum + loss, 0) / losses!.length;
  };
  // Central differences along random directions: good to about 1e-9 of a loss of about 3.
  const h = 1e-5;
  for (let direction = 0; direction < 8; direction++) {
    const way = new Rng(3).at("way", direction).at(0);
    const step = point.map(() => way.normal());
    const at = (factor: number) => lossAt(point.map((value, i) => value + factor * step[i]!));
    const slope = (at(h) - at(-h)) / (2 * h);
    const expected = step.reduce((sum, d, i) => sum + d * found.parametersMean![i]!, 0);
    assert.ok(Math.abs(slope - expected) <= 1e-6, `slope ${slope}, gradient ${expected}`);
  }
  // Eight tokens, of which each keeps two experts in each layer, and passes each router.
  const { experts } = beside;
  const counts = [...found.counts!];
  assert.equal(counts.length, task.layout.groups.length);
  for (let layer = 0; layer < smallModel.layers; layer++) {
    const own = counts.slice(layer * experts, (layer + 1) * experts);
    assert.equal(
      own.reduce((sum, count) => sum + count, 0),
      2 * 8,
    );
    assert.equal(counts[smallModel.layers * experts + layer], 8);
  }
});

test("two clients that share a step have what each has alone", () => {
  const draws = new Rng(4).at("parameters").at(0);
  const parameters = Array.from({ length: 2 * layout.size }, () => 0.3 * draws.normal());
  const options = { beta1: 0, beta2: 0, epsilon: 1, clip: true, decay: false };
  const other = batchOf(
    [
      [2, 7, 1, 8],
      [2, 8, 1, 8, 2],
    ],
    5,
  );
  const rates = (clients: number) => ({
    learningRate: new Array<number>(clients).fill(0.1),
    personalLearningRate: new Array<number>(clients).fill(0.1),
    correction1: [1],
    correction2: [1],
    clipNorm: [1],
  });
  const state = (clients: number) => ({
    parametersMean: new Float64Array(clients * layout.size),
    parametersVariance: new Float64Array(clients * layout.size),
    personalMean: new Float64Array(clients * 2),
    personalVariance: new Float64Array(clients * 2),
    personal: new Float64Array(clients * 2).fill(1),
  });
  const alone = [batch, other].map((own, client) => {
    const program = trainingStep(task, variant, { clients: 1, ...shape }, options);
    const mine = parameters.slice(client * layout.size, (client + 1) * layout.size);
    const given = { parameters: mine, ...state(1), ...rates(1), ...batchNumbers(own, smallModel.experts) };
    return interpret(program, given, stored);
  });
  const both = [batch, other].map((own) => batchNumbers(own, smallModel.experts));
  const inverse = [batch, other].flatMap(({ targets }) => Array.from(targets, () => 1 / targets.length));
  const together = interpret(
    trainingStep(task, variant, { clients: 2, ...shape }, options),
    {
      parameters,
      ...state(2),
      ...rates(2),
      ids: [...idsOf(batch), ...idsOf(other)],
      padding: both.flatMap(({ padding }) => padding),
      positions: [...batch.lossPositions, ...other.lossPositions.map((position) => position + 10)],
      targets: [...batch.targets, ...other.targets],
      inverseCount: inverse,
    },
    stored,
  );
  const groups = task.layout.groups.length;
  for (const [client, own] of alone.entries()) {
    const part = together.parameters!.slice(client * layout.size, (client + 1) * layout.size);
    for (const [i, value] of part.entries()) assert.ok(Math.abs(value - own.parameters![i]!) <= 1e-10);
    for (let group = 0; group < groups; group++) assert.equal(together.counts![2 * group + client], own.counts![group]);
  }
});

test("with no small expert kept the model is the frozen one, whatever the pool holds", () => {
  const parameters = Array.from({ length: layout.size }, (_, i) => Math.sin(i));
  const silent = { topK: smallModel.topK, kept: 0, gates: "renormalise" };
  const found = interpret(evaluationProgram(task, silent, shape), { parameters, personal: [1, 1], ...numbers }, stored);
  assert.deepEqual(found.losses, baseModel(weights, batch).losses);
  assert.ok([...found.counts!].slice(0, smallModel.layers * beside.experts).every((count) => count === 0));
});

test("only experts that a token kept have a gradient; a single renormalised weight teaches the router nothing, a raw one does", () => {
  const draws = new Rng(5).at("parameters").at(0);
  const point = Array.from({ length: layout.size }, () => 0.3 * draws.normal());
  const gradientAt = (gates: string) => {
    const resting = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };
    const step = trainingStep(task, { topK: smallModel.topK, kept: 1, gates }, { clients: 1, ...shape }, resting);
    const zeros = new Float64Array(layout.size);
    const state = { parametersMean: zeros, parametersVariance: zeros, personalMean: [0, 0], personalVariance: [0, 0] };
    const rates = { learningRate: [1], personalLearningRate: [1], correction1: [1], correction2: [1] };
    const { parametersMean, counts } = interpret(
      step,
      { parameters: point, personal: [1, 1], ...state, ...rates, ...numbers },
      stored,
    );
    return task.layout.groups.map(({ ranges }, group) => ({
      used: Number(counts![group]),
      largest: Math.max(
        ...ranges.flatMap(({ start, end }) => [...parametersMean!.slice(start, end)].map((g) => Math.abs(g))),
      ),
    }));
  };
  const experts = smallModel.layers * beside.experts;
  const [even, raw] = [gradientAt("renormalise"), gradientAt("raw")];
  for (const { used, largest } of even.slice(0, experts)) assert.equal(largest > 0, used > 0);
  assert.ok(
    even.slice(0, experts).some(({ used }) => used === 0) && even.slice(0, experts).some(({ used }) => used > 0),
  );
  // The quotient of a number by itself is 1 to rounding, and its slope of that size.
  for (const { largest } of even.slice(experts)) assert.ok(largest < 1e-15, `${largest}`);
  for (const { largest } of raw.slice(experts)) assert.ok(largest > 1e-6, `${largest}`);
});
