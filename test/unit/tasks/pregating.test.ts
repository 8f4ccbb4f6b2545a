/** One router in the place of a mixture's own, in float64 on the plain interpreter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { readMeGates } from "../../../src/fl/strategies/registry.ts";
import { type PregatingOptions, pregatingTask } from "../../../src/tasks/pregating/task.ts";
import { evaluationProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import { settingOf } from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";
import { baseModel } from "../../support/reference-training.ts";
import { batchNumbers, batchOf, randomWeights, smallModel } from "../../support/small-model.ts";

const config = smallModel;
const { layers, experts, topK: full } = config;
const router = { blocks: 1, heads: 2, hidden: 4 };
const weights = randomWeights(config);
const stored = Object.fromEntries(weights);
const shape = { rows: 2, length: 8 };
const rows = [
  [3, 1, 4, 1, 5, 9, 2],
  [6, 5, 3, 5, 8],
];
const tokens = rows.flat().length;
const batch = batchOf(rows, 8);
const feeds = batchNumbers(batch, experts);
const taskOf = (heads: PregatingOptions["heads"]) => pregatingTask({ config, heads, router });
const pointOf = (task: ReturnType<typeof taskOf>) => Float64Array.from(task.initial(new Rng(1), 0));

test("of all experts a token activates every one, whatever chooses, and taught by its own routers a mixture is itself", () => {
  const task = taskOf("perLayer");
  const parameters = pointOf(task);
  const evaluated = (topK: number) =>
    interpret(evaluationProgram(task, { topK }, shape), { ...feeds, parameters }, stored);
  assert.equal(evaluated(experts).agreed![0], tokens);
  const few = evaluated(full);
  assert.ok(few.agreed![0]! < tokens);
  const own = baseModel(weights, batch).losses!.reduce((sum, loss) => sum + loss, 0);
  assert.ok(Math.abs(few.own![0]! - own) <= 1e-12);
  const taught = interpret(
    evaluationProgram(task, { topK: full, teacher: 1 }, shape),
    { ...feeds, parameters },
    stored,
  );
  assert.deepEqual(taught.losses, baseModel(weights, batch).losses);
  assert.notDeepEqual(few.losses, taught.losses);
});

test("a gate that says what the routers of all layers would say gives the mixture, to rounding", () => {
  // With routers of nothing all experts are as likely, in the model and ahead of it: ties go to the lower in both.
  const even = new Map(weights);
  for (let layer = 0; layer < layers; layer++) {
    const name = `layers.${layer}.router`;
    even.set(name, new Float32Array(even.get(name)!.length));
  }
  for (const heads of ["shared", "perLayer"] as const) {
    const task = taskOf(heads);
    const parameters = pointOf(task);
    const head = task.tensors.find(({ name }) => name === "router.head")!;
    parameters.fill(0, head.start);
    const program = evaluationProgram(task, { topK: 2 }, shape);
    const { losses, agreed, own } = interpret(program, { ...feeds, parameters }, Object.fromEntries(even));
    assert.equal(agreed![0], tokens);
    assert.ok(Math.abs(own![0]! - losses!.reduce((sum, loss) => sum + loss, 0)) <= 1e-12);
  }
});

test("what is said of a token depends on no later one", () => {
  const task = taskOf("perLayer");
  const parameters = pointOf(task);
  const losses = (texts: readonly (readonly number[])[]) => {
    const numbers = batchNumbers(batchOf(texts, 8), experts);
    return interpret(evaluationProgram(task, { topK: 2 }, shape), { ...numbers, parameters }, stored).losses!;
  };
  const [before, after] = [losses(rows), losses(rows.map((tokens) => [...tokens.slice(0, -1), 11]))];
  // The last target of each row is another token; all before it stand.
  const last = [rows[0]!.length - 2, before.length - 1];
  for (const [at, loss] of before.entries()) assert.equal(loss === after[at], !last.includes(at), `target ${at}`);
});

test("distillation: the cross-entropy to the routers' probabilities, with its slopes, for one head and for one a layer", () => {
  for (const heads of ["shared", "perLayer"] as const) {
    const task = taskOf(heads);
    const point = pointOf(task);
    const variant = { topK: full, teacher: 1 };
    const steps = readMeGates().steps!({ variant }, settingOf(task.layout));
    const resting = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };
    const step = trainingStep(task, variant, { clients: 1, ...shape }, resting, {
      ...steps,
      tallies: (at) => ({ objective: steps.objective!(at) }),
    });
    const rest = { learningRate: [1], correction1: [1], correction2: [1] };
    const moments = {
      parametersMean: new Float64Array(point.length),
      parametersVariance: new Float64Array(point.length),
    };
    const at = (parameters: ArrayLike<number>) =>
      interpret(step, { ...feeds, ...rest, ...moments, parameters }, stored);
    const found = at(point);
    const h = 1e-5;
    for (let direction = 0; direction < 2; direction++) {
      const way = new Rng(3).at("way", direction).at(0);
      const along = point.map(() => way.normal());
      const lossAt = (by: number) => at(point.map((value, i) => value + by * along[i]!))["tally.objective"]![0]!;
      const slope = (lossAt(h) - lossAt(-h)) / (2 * h);
      const expected = along.reduce((sum, d, i) => sum + d * found.parametersMean![i]!, 0);
      assert.ok(Math.abs(slope - expected) <= 1e-6, `slope ${slope}, gradient ${expected}`);
    }
    assert.deepEqual([...found.counts!], [tokens, tokens]);
  }
});
