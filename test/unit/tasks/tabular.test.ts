/**
 * Logistic regression on tables against plain loops. Programs run in float64 on the interpreter, so that losses and
 * gradients agree to 1e-12.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { digits } from "../../../src/data/images/source.ts";
import { split } from "../../../src/data/split.ts";
import { csv, loadTable, table } from "../../../src/data/tables/source.ts";
import type { DataSource } from "../../../src/tasks/sources.ts";
import { tabular } from "../../../src/tasks/tabular/kind.ts";
import { tabularTask } from "../../../src/tasks/tabular/task.ts";
import { evaluationProgram, type StepOptions, trainingStep } from "../../../src/tasks/training-step.ts";
import { folderOfFile } from "../../support/folders.ts";
import { interpret } from "../../support/reference.ts";

const [features, classes, rows] = [4, 3, 5];
const task = tabularTask({ features, classes });
const options: StepOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: false, decay: false };
const step = (clients: number, perClient: number, of = task) =>
  trainingStep(of, {}, { clients, rows: perClient, length: 1 }, options, { optimizer: "sgd" });
const draws = new Rng(7).at("tabular test").at(0);
const numbers = (length: number) => Float64Array.from({ length }, () => draws.normal());

/** The last row of the batch is empty. */
const batchOf = (targets: readonly number[]) => ({
  x: numbers(rows * features).fill(0, targets.length * features),
  padding: Array.from({ length: rows }, (_, row) => Number(row >= targets.length)),
  positions: [...targets.keys()],
  targets,
});

/** Mean of −log p, and its slope (p_c − 1 of the row's own class)·x, row by row. */
function expected(theta: ArrayLike<number>, { x, targets }: ReturnType<typeof batchOf>) {
  const slope = new Float64Array(theta.length);
  let loss = 0;
  for (const [row, target] of targets.entries()) {
    const own = [...x.slice(row * features, (row + 1) * features), 1];
    const z = Array.from({ length: classes }, (_, c) => own.reduce((sum, v, i) => sum + v * theta[c * 5 + i]!, 0));
    const sum = z.reduce((all, logit) => all + Math.exp(logit), 0);
    loss += (Math.log(sum) - z[target]!) / targets.length;
    for (let c = 0; c < classes; c++) {
      const off = (Math.exp(z[c]!) / sum - Number(c === target)) / targets.length;
      for (const [i, value] of own.entries()) slope[c * 5 + i]! += off * value;
    }
  }
  return { loss, slope };
}

const close = (got: ArrayLike<number>, wanted: ArrayLike<number>, tolerance = 1e-12) => {
  assert.equal(got.length, wanted.length);
  for (let i = 0; i < wanted.length; i++) assert.ok(Math.abs(got[i]! - wanted[i]!) <= tolerance, `value ${i}`);
};

test("loss and gradient are those of loops, for two clients in a call as for each, and empty rows count for nothing", () => {
  const [one, other] = [batchOf([2, 0, 1, 2]), batchOf([1, 1, 0])];
  const [mine, theirs] = [numbers(task.layout.size), numbers(task.layout.size)];
  const wanted = [expected(mine, one), expected(theirs, other)];
  const alone = interpret(step(1, rows), { ...one, parameters: mine, learningRate: [1], inverseCount: [1 / 4] });
  close(alone.loss!, [wanted[0]!.loss]);
  close(
    alone.parameters!,
    mine.map((value, i) => value - wanted[0]!.slope[i]!),
  );
  const both = interpret(step(2, rows), {
    x: [...one.x, ...other.x],
    padding: [...one.padding, ...other.padding],
    positions: [...one.positions, ...other.positions.map((row) => row + rows)],
    targets: [...one.targets, ...other.targets],
    parameters: [...mine, ...theirs],
    learningRate: [1, 0.5],
    inverseCount: [...Array(4).fill(1 / 4), ...Array(3).fill(1 / 3)],
  });
  close(
    both.loss!,
    wanted.map(({ loss }) => loss),
  );
  close(both.parameters!, [
    ...mine.map((value, i) => value - wanted[0]!.slope[i]!),
    ...theirs.map((value, i) => value - 0.5 * wanted[1]!.slope[i]!),
  ]);
  // Group after group, and in each client after client.
  assert.deepEqual([...both.counts!], [4, 3, 4, 3, 4, 3]);
  assert.deepEqual(task.cost({}), { forward: 2 * 4 * 3, training: 4 * 4 * 3 });
});

test("weight decay takes its share of every parameter off, with plain steps and with momentum as with AdamW", () => {
  const batch = batchOf([2, 0, 1, 2]);
  const [parameters, parametersVelocity] = [numbers(task.layout.size), numbers(task.layout.size)];
  const { slope } = expected(parameters, batch);
  const inputs = { ...batch, parameters, learningRate: [0.1], decay: [0.02], inverseCount: [1 / 4] };
  for (const optimizer of ["sgd", { momentum: 0.9 }] as const) {
    const program = trainingStep(task, {}, { clients: 1, rows, length: 1 }, { ...options, decay: true }, { optimizer });
    const found = interpret(program, optimizer === "sgd" ? inputs : { ...inputs, parametersVelocity });
    const velocity = (i: number) => (optimizer === "sgd" ? 0 : 0.9 * parametersVelocity[i]!);
    close(
      found.parameters!,
      parameters.map((value, i) => 0.98 * value - 0.1 * (velocity(i) + slope[i]!)),
    );
  }
});

test("training on irises begins at log 3, lowers the loss in every step, and most are told apart in the end", () => {
  const { columns, labels, examples } = loadTable(table("iris"));
  const iris = tabularTask({ features: 4, classes: 3 });
  const batch = {
    x: columns.x!.values,
    padding: new Array<number>(examples).fill(0),
    positions: [...Array(examples).keys()],
    targets: labels,
  };
  let parameters: ArrayLike<number> = iris.initial(new Rng(1), 0);
  const program = step(1, examples, iris);
  const losses: number[] = [];
  for (let at = 0; at < 40; at++) {
    const out = interpret(program, { ...batch, parameters, learningRate: [0.5], inverseCount: [1 / examples] });
    losses.push(out.loss![0]!);
    parameters = out.parameters!;
  }
  assert.ok(Math.abs(losses[0]! - Math.log(3)) < 1e-12);
  assert.ok(losses.every((loss, at) => at === 0 || loss < losses[at - 1]!));
  const { predicted } = interpret(evaluationProgram(iris, {}, { rows: examples, length: 1 }), { ...batch, parameters });
  const right = predicted!.filter((label, e) => label === labels[e]).length;
  assert.ok(right > 0.9 * examples, `${right} of ${examples}`);
});

test("columns have mean 0 and variance 1 over all rows, classes are categories, and equal rows share a side", () => {
  for (const [name, count, width, names] of [
    ["breast-cancer", 569, 30, ["benign", "malignant"]],
    ["wine", 178, 13, ["class_0", "class_1", "class_2"]],
    ["iris", 150, 4, ["setosa", "versicolor", "virginica"]],
  ] as const) {
    const data = loadTable(table(name));
    assert.deepEqual([data.examples, data.columns.x!.width, data.categoryNames], [count, width, names]);
    assert.deepEqual([...data.category], [...data.labels]);
    for (let at = 0; at < width; at++) {
      const column = Float64Array.from(data.columns.x!.values).filter((_, i) => i % width === at);
      const mean = column.reduce((sum, value) => sum + value, 0) / count;
      const variance = column.reduce((sum, value) => sum + value ** 2, 0) / count;
      // Sums of float32, of numbers of about 1.
      assert.ok(Math.abs(mean) < 1e-5 && Math.abs(variance - 1) < 1e-5, `${name} ${data.features[at]!.name}`);
    }
  }
  const iris = loadTable(table("iris"));
  // Two flowers of virginica have the same four numbers.
  assert.equal(iris.questionHash[101], iris.questionHash[142]);
  assert.equal(new Set(iris.questionHash).size, 149);
  assert.ok(split(iris, { heldOut: 0.2 }).heldOut.length > 0);
});

const folder = folderOfFile();
const written = (text: string): string => {
  const path = join(folder, "own.csv");
  writeFileSync(path, text);
  return path;
};

test("a table of one's own is read whatever stands between its cells, and says which column teaches nothing", () => {
  const data = loadTable(csv(written("kind;a;same\nx;1;0.1\ny;3;0.1\n\nx;1;0.1\n"), { label: "kind" }));
  assert.deepEqual(data.categoryNames, ["x", "y"]);
  assert.deepEqual(
    data.features.map(({ name, deviation }) => [name, deviation > 0]),
    [
      ["a", true],
      ["same", false],
    ],
  );
  close(
    data.columns.x!.values,
    [-1, 0, 2, 0, -1, 0].map((value) => value / Math.SQRT2),
    1e-7,
  );
  assert.deepEqual(data.notes, ["column same is the same in every line: nothing is learned from it"]);
});

test("what is wrong with a table is named with file, line and column", () => {
  for (const [text, message] of [
    ["a,b\n1,2\n", /own\.csv line 1: expected a column class, got "a, b"/],
    ["a,class\n1,x\n\n2x,y\n", /own\.csv line 4: a is "2x", expected a number/],
    ["a,class\n1,x\n,y\n", /own\.csv line 3: a is "", expected a number/],
    ["a,class\n1,x\n2,\n", /own\.csv line 3: class is missing/],
    ["a,class\n1,x\n2\n", /own\.csv line 3: has 1 cells, expected 2/],
    ["a,class\n1,x\n2,x\n", /own\.csv lines 2 to 3: class has 1 different values, expected 2 to 1000 classes/],
    ["a,class\n", /own\.csv lines 2 to 2: class has 0 different values/],
    ["class\nx\ny\n", /own\.csv line 1: expected columns of numbers beside class, got none/],
    ["a,class\n1e200,x\n-1e200,y\n", /own\.csv: the numbers of column a are too large/],
  ] as const)
    assert.throws(() => loadTable(csv(written(text))), { name: "InputError", message });
});

test("images are refused, as is a budget that is none", async () => {
  const opened = (source: DataSource) => {
    const at = { name: "t", seed: 1, shape: {}, timingOnly: false, embedded: "", cache: "" };
    return tabular.open({}, { ...at, data: { source, heldOut: 0.2 } });
  };
  await assert.rejects(opened(digits()), /data.source is digits, but the task tabular learns rows of a table/);
  const { budgetProblem, layout } = await opened(table("wine"));
  assert.deepEqual([budgetProblem(1), layout.size], [null, 3 * 14]);
  assert.match(budgetProblem(2)!, /whole model/);
});

test("the page on adding a task shows code as it is", () => {
  const textOf = (path: string) => readFileSync(join(import.meta.dirname, "../../..", path), "utf8");
  const shown = [...textOf("docs/add-a-task.md").matchAll(/^`(src[^`]+)`:\n\n```ts\n([\s\S]*?)^```$/gm)];
  assert.equal(shown.length, 6);
  for (const [, path, code] of shown) assert.ok(textOf(path!).includes(code!), `${path} has changed`);
});
