/** Heads on a representation against float64 loops, and what the task's variants owe. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { type ColouredOptions, colouredTask } from "../../../src/tasks/coloured/task.ts";
import type { Variant } from "../../../src/tasks/task.ts";
import { evaluationProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import type { TensorData } from "../../../src/tensor/executors/executor.ts";
import { executors } from "../../support/executors.ts";
import { close } from "../../support/method-goldens.ts";
import { interpret, type Numbers } from "../../support/reference.ts";

const inputs = 6;
const heads = 3;
const models: Readonly<Record<string, ColouredOptions>> = {
  "linear heads on the image": { inputs, representation: [], hidden: 0, heads },
  "linear heads on two layers": { inputs, representation: [5, 4], hidden: 0, heads },
  "heads of two layers on one": { inputs, representation: [5], hidden: 3, heads },
};
const rows = 4;
const options = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };

const normals = (purpose: string, length: number) => {
  const draws = new Rng(3).at(purpose).at(0);
  return Array.from({ length }, () => Math.fround(draws.normal()));
};

/** Three images of a client, with one row to spare. */
function batchOf(clients: number) {
  const each = Array.from({ length: clients }, (_, client) => client * rows);
  return {
    x: normals("images", clients * rows * inputs),
    padding: each.flatMap(() => [0, 0, 0, 1]),
    positions: each.flatMap((first) => [first, first + 1, first + 2]),
    targets: each.flatMap((_, client) => [client % 2, 1, 0]),
  };
}

const silu = (x: number) => x / (1 + Math.exp(-x));

/** One affine layer; its matrix is `[inputs, outputs]`, or the other way round. */
function affine(
  x: readonly number[],
  values: ArrayLike<number>,
  at: number,
  outputs: number,
  turned = false,
): number[] {
  return Array.from({ length: outputs }, (_, o) =>
    x.reduce(
      (sum, value, i) => sum + value * values[at + (turned ? o * x.length + i : i * outputs + o)]!,
      values[at + x.length * outputs + o]!,
    ),
  );
}

/** What the mean, or another weighted sum, of all heads says of one image. */
function plainLogits(
  { representation, hidden }: ColouredOptions,
  parameters: ArrayLike<number>,
  image: readonly number[],
  past: readonly number[] = [],
  shares: readonly number[] = new Array<number>(heads).fill(1 / heads),
): number[] {
  let at = 0;
  let x = image;
  for (const width of representation) {
    const next = affine(x, parameters, at, width).map(silu);
    at += (x.length + 1) * width;
    x = next;
  }
  const all = [...Array.from(parameters).slice(at), ...past];
  const size = all.length / shares.length;
  const sum = [0, 0];
  for (const [head, share] of shares.entries()) {
    const start = head * size;
    const seen = hidden === 0 ? x : affine(x, all, start, hidden, true).map(silu);
    const from = hidden === 0 ? start : start + (x.length + 1) * hidden;
    for (const [c, logit] of affine(seen, all, from, 2).entries()) sum[c]! += share * logit;
  }
  return sum;
}

const lossOf = (logits: readonly number[], target: number) =>
  Math.log(logits.reduce((sum, z) => sum + Math.exp(z), 0)) - logits[target]!;

for (const [name, model] of Object.entries(models)) {
  const task = colouredTask(model);
  const { size, groups } = task.layout;
  const parameters = normals(`parameters ${name}`, size).map((value) => 0.5 * value);
  const headSize = groups.at(-1)!.ranges[0]!.end - groups.at(-1)!.ranges[0]!.start;
  const shape = { clients: 1, rows, length: 1 };
  const batch = batchOf(1);
  const imageAt = (row: number) => batch.x.slice(row * inputs, (row + 1) * inputs);

  test(`${name}: logits are those of plain loops, and every gradient is a difference quotient`, () => {
    const seen = interpret(evaluationProgram(task, {}, shape, true), { parameters, ...batch });
    close(
      seen.logits!,
      batch.positions.flatMap((row) => plainLogits(model, parameters, imageAt(row))),
      1e-12,
    );
    const step = trainingStep(task, {}, shape, options, { optimizer: "sgd" });
    const feeds = { parameters, ...batch, inverseCount: [1 / 3], learningRate: [1] };
    const found = interpret(step, feeds).parameters!;
    const meanLoss = (values: readonly number[]) =>
      batch.positions.reduce((sum, row, at) => {
        return sum + lossOf(plainLogits(model, values, imageAt(row)), batch.targets[at]!) / 3;
      }, 0);
    // A central difference of width 2e-4 is off by 1e-8 of a third derivative of about 1, and 1e-12 of rounding.
    const slopes = parameters.map((_, i) => {
      const at = (by: number) => meanLoss(parameters.map((value, j) => (i === j ? value + by : value)));
      return (at(1e-4) - at(-1e-4)) / 2e-4;
    });
    close(
      parameters.map((value, i) => value - found[i]!),
      slopes,
      1e-7,
    );
  });

  test(`${name}: earlier heads count as much as the shares say, and no share is the mean of today's`, () => {
    const past = normals("past", heads * 2 * headSize);
    const shares = [0.5, 0.1, -0.2, 0.3, 0, 0.25, 0.05, 0, 1];
    const variant: Variant = { trains: "heads", past: 2 };
    const program = evaluationProgram(task, variant, shape, true);
    const { logits } = interpret(program, { parameters, ...batch, past, shares });
    close(
      logits!,
      batch.positions.flatMap((row) => plainLogits(model, parameters, imageAt(row), past, shares)),
      1e-12,
    );
  });

  test(`${name}: what a variant does not train has no gradient, and what it does has the whole model's`, () => {
    const step = (variant: Variant) => {
      const feeds = { parameters, ...batch, inverseCount: [1 / 3], learningRate: [1] };
      return interpret(trainingStep(task, variant, shape, options, { optimizer: "sgd" }), feeds);
    };
    const whole = step({});
    const first = size - heads * headSize;
    for (const trains of ["heads", "representation"] as const) {
      if (trains === "representation" && first === 0) continue;
      const part = step({ trains });
      const isTrained = (i: number) => i >= first === (trains === "heads");
      for (let i = 0; i < size; i++) {
        assert.equal(part.parameters![i], isTrained(i) ? whole.parameters![i] : parameters[i], `${trains}, ${i}`);
      }
      const counts = groups.map(({ ranges }) => (isTrained(ranges[0]!.start) ? 3 : 0));
      assert.deepEqual([...part.counts!].map(Number), counts);
    }
  });

  test(`${name}: two clients in a call are as one after the other`, () => {
    const both = batchOf(2);
    const own = [parameters, parameters.map((value) => -0.7 * value)];
    const given = own.map((_, client) => ({
      past: normals(`past ${client}`, heads * headSize),
      shares: normals(`shares ${client}`, 2 * heads),
    }));
    const variant: Variant = { trains: "heads", past: 1 };
    const stepOf = (clients: number) =>
      trainingStep(task, variant, { ...shape, clients }, options, { optimizer: "sgd" });
    const together = interpret(stepOf(2), {
      ...both,
      parameters: own.flat(),
      past: given.flatMap(({ past }) => past),
      shares: given.flatMap(({ shares }) => shares),
      inverseCount: new Array<number>(6).fill(1 / 3),
      learningRate: [1, 1],
    });
    const alone = own.flatMap((values, client) => {
      const x = both.x.slice(client * rows * inputs, (client + 1) * rows * inputs);
      const targets = both.targets.slice(3 * client, 3 * client + 3);
      const feeds = { ...batchOf(1), x, targets, ...given[client]!, parameters: values };
      return [...interpret(stepOf(1), { ...feeds, inverseCount: [1 / 3], learningRate: [1] }).parameters!];
    });
    close(together.parameters!, alone, 1e-12);
  });
}

for (const { name, create } of executors) {
  test(`executors agree with float64: ${name}`, async () => {
    for (const model of Object.values(models)) {
      const task = colouredTask(model);
      const parameters = task.initial(new Rng(2), 0);
      const program = trainingStep(task, { trains: "heads" }, { clients: 1, rows, length: 1 }, options, {
        optimizer: "sgd",
      });
      const feeds = { ...batchOf(1), parameters, inverseCount: [1 / 3], learningRate: [1] };
      const whole = new Set(["padding", "positions", "targets"]);
      const typed = Object.entries(feeds).map(([key, values]): [string, TensorData] => [
        key,
        whole.has(key) ? Int32Array.from(values) : Float32Array.from(values),
      ]);
      const executable = await (await create()).compile(program, null);
      const out = await executable.run(Object.fromEntries(typed));
      // Float32 rounds to 6e-8, some ten operations deep.
      close(out.parameters as Float32Array, [...interpret(program, feeds as Numbers).parameters!], 1e-6);
      executable.dispose();
    }
  });
}

test("all heads begin alike, layers do not, and linear heads are cheap whatever their number", () => {
  const task = colouredTask(models["heads of two layers on one"]!);
  const parameters = task.initial(new Rng(1), 0);
  const of = (group: number) => {
    const { start, end } = task.layout.groups[group]!.ranges[0]!;
    return parameters.slice(start, end);
  };
  assert.deepEqual(of(1), of(2));
  assert.deepEqual(of(1), of(3));
  assert.ok(new Set(parameters).size > parameters.length / heads);
  // Twice the products: 6·5 into the representation; 5·3 and 3·2 for each of three heads, or of six.
  assert.equal(task.cost({}).forward, 2 * (30 + 3 * 21));
  assert.equal(task.cost({ trains: "heads", past: 1 }).forward, 2 * (30 + 6 * 21));
  assert.equal(task.cost({ trains: "heads" }).training, 2 * (30 + 3 * 21) + 2 * (21 + 6));
  assert.equal(task.cost({ trains: "representation" }).training, 2 * (30 + 3 * 21) + 2 * (30 + 3 * 21));
  const cost = (count: number) =>
    colouredTask({ ...models["linear heads on two layers"]!, heads: count }).cost({}).forward;
  assert.equal(cost(3), cost(30));
});
