/**
 * The two-view task against plain loops. Programs run in float64 on the interpreter, so that losses agree to 1e-12;
 * central differences of step 1e-5 are good to about 1e-9.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import type { Variant } from "../../../src/tasks/task.ts";
import { evaluationProgram, type StepOptions, trainingStep } from "../../../src/tasks/training-step.ts";
import { twoViewTask } from "../../../src/tasks/two-view/task.ts";
import { interpret } from "../../support/reference.ts";

const shape = { inputs: [3, 4], hidden: 5, features: 2, classes: 3 } as const;
const task = twoViewTask(shape);
const rows = 4;
const options: StepOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: false, decay: false };
const draws = new Rng(7).at("two-view test").at(0);
const numbers = (length: number) => Float64Array.from({ length }, () => draws.normal());

/** Biases away from 0, so that their place matters; the last row of the batch is empty. */
const parameters = numbers(task.layout.size);
const x = numbers(rows * 7).fill(0, 3 * 7);
const batch = { x, padding: [0, 0, 0, 1], positions: [0, 1, 2], targets: [2, 0, 1] };

/** Mean loss by loops over one row at a time, from the formula. */
function lossOf(theta: ArrayLike<number>, views: string): { loss: number; features: number[][][] } {
  let at = 0;
  const matrix = (height: number, width: number) =>
    Array.from({ length: height }, () => Array.from({ length: width }, () => theta[at++]!));
  const product = (row: readonly number[], m: readonly number[][]) =>
    m[0]!.map((_, column) => row.reduce((sum, value, i) => sum + value * m[i]![column]!, 0));
  const sum = (p: readonly number[], q: readonly number[]) => p.map((value, i) => value + q[i]!);
  const encoders = shape.inputs.map((width) => {
    const [w1, [b1], w2, [b2]] = [matrix(width, 5), matrix(1, 5), matrix(5, 2), matrix(1, 2)];
    return (row: readonly number[]) =>
      sum(
        product(
          sum(product(row, w1), b1!).map((h) => Math.max(0, h)),
          w2,
        ),
        b2!,
      );
  });
  const heads = [matrix(2, 3), matrix(2, 3)];
  const [bias] = matrix(1, 3);
  assert.equal(at, task.layout.size);
  let loss = 0;
  const features = batch.positions.map((position, i) => {
    const row = [...x.slice(7 * position, 7 * position + 7)];
    const seen = [encoders[0]!(row.slice(0, 3)), encoders[1]!(row.slice(3))];
    const logits = ["a", "v"].reduce(
      (sums, view, m) => (views.includes(view) ? sum(sums, product(seen[m]!, heads[m]!)) : sums),
      bias!,
    );
    loss += Math.log(logits.reduce((all, logit) => all + Math.exp(logit), 0)) - logits[batch.targets[i]!]!;
    return seen;
  });
  return { loss: loss / batch.positions.length, features };
}

const step = (variant: Variant, clients = 1) =>
  trainingStep(task, variant, { clients, rows, length: 1 }, options, { optimizer: "sgd" });

const close = (got: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number) => {
  assert.equal(got.length, wanted.length);
  for (let i = 0; i < wanted.length; i++) assert.ok(Math.abs(got[i]! - wanted[i]!) <= tolerance, `value ${i}`);
};

for (const [budget, views] of [
  [1, "a"],
  [2, "v"],
  [3, "av"],
] as const) {
  test(`at budget ${budget} the loss is that of loops over ${views}, its gradient that of differences, and counts are images`, () => {
    const variant = task.budget.variant(budget);
    assert.deepEqual(variant, { views });
    const out = interpret(step(variant), { ...batch, parameters, learningRate: [1], inverseCount: [1 / 3] });
    close(out.loss!, [lossOf(parameters, views).loss], 1e-12);
    const gradient = parameters.map((value, i) => value - out.parameters![i]!);
    const differences = parameters.map((_, i) => {
      const [up, down] = [1e-5, -1e-5].map((h) => lossOf(parameters.with(i, parameters[i]! + h), views).loss);
      return (up! - down!) / 2e-5;
    });
    close(gradient, differences, 1e-8);
    for (const [group, { name, ranges }] of task.layout.groups.entries()) {
      const isUsed = name === "head" || views.includes(name);
      assert.equal(out.counts![group], isUsed ? 3 : 0, name);
      // An encoder that is left out has no gradient at all, and not a small one.
      const part = gradient.slice(ranges[0]!.start, ranges[0]!.end);
      assert.equal(
        part.some((g) => g !== 0),
        isUsed,
        name,
      );
    }
  });
}

test("a program offers both features, whichever view the variant reads, and says which rows are examples", () => {
  const program = trainingStep(task, { views: "a" }, { clients: 1, rows, length: 1 }, options, {
    optimizer: "sgd",
    tallies: ({ pass }) => ({ a: pass.features!(0), v: pass.features!(1), present: pass.present() }),
  });
  const out = interpret(program, { ...batch, parameters, learningRate: [1], inverseCount: [1 / 3] });
  const { features } = lossOf(parameters, "a");
  for (const [view, name] of ["tally.a", "tally.v"].entries()) {
    close(
      out[name]!,
      features.flatMap((seen) => seen[view]!),
      1e-12,
    );
  }
  assert.deepEqual([...out["tally.present"]!], [1, 1, 1, 0]);
});

test("two clients in a call train as each alone", () => {
  const other = { x: numbers(rows * 7), padding: [0, 0, 0, 0], positions: [0, 1, 2, 3], targets: [1, 1, 0, 2] };
  const theirs = numbers(task.layout.size);
  const alone = [
    interpret(step({ views: "av" }), { ...batch, parameters, learningRate: [0.1], inverseCount: [1 / 3] }),
    interpret(step({ views: "av" }), { ...other, parameters: theirs, learningRate: [0.2], inverseCount: [1 / 4] }),
  ];
  const out = interpret(step({ views: "av" }, 2), {
    x: [...batch.x, ...other.x],
    padding: [...batch.padding, ...other.padding],
    positions: [...batch.positions, ...other.positions.map((row) => row + rows)],
    targets: [...batch.targets, ...other.targets],
    parameters: [...parameters, ...theirs],
    learningRate: [0.1, 0.2],
    inverseCount: [1 / 3, 1 / 3, 1 / 3, 1 / 4, 1 / 4, 1 / 4, 1 / 4],
  });
  close(
    out.parameters!,
    alone.flatMap(({ parameters }) => [...parameters!]),
    1e-12,
  );
  close(
    out.loss!,
    alone.flatMap(({ loss }) => [...loss!]),
    1e-12,
  );
  // Group after group, and in each client after client.
  assert.deepEqual([...out.counts!], [3, 4, 3, 4, 3, 4]);
});

test("an evaluation predicts by the views that its budget has", () => {
  const predicted = [1, 2, 3].map((budget) => {
    const program = evaluationProgram(task, task.budget.variant(budget), { rows, length: 1 });
    return interpret(program, { ...batch, parameters });
  });
  for (const [i, views] of ["a", "v", "av"].entries()) {
    const mean = predicted[i]!.losses!.reduce((sum, loss) => sum + loss, 0) / 3;
    assert.ok(Math.abs(mean - lossOf(parameters, views).loss) < 1e-12);
  }
});

test("a key gives the same start to everybody, with biases of 0, and a cost by formula", () => {
  const [first, second] = [task.initial(new Rng(3), 0), task.initial(new Rng(3), 0)];
  assert.deepEqual(second, first);
  assert.notDeepEqual(task.initial(new Rng(4), 0), first);
  assert.equal(first.filter((value) => value === 0).length, 5 + 2 + 5 + 2 + 3);
  // Of a: 3·5, 5·2 and 2·3 products; of v: 4·5 in the first layer. Each is two operations.
  assert.deepEqual(task.cost({ views: "a" }), { training: 2 * 30 + 3 * 32, forward: 62 });
  assert.deepEqual(task.cost({ views: "v" }), { training: 2 * 40 + 3 * 32, forward: 72 });
  assert.deepEqual(task.cost({ views: "av" }), { training: 2 * 70 + 3 * 64, forward: 134 });
});
