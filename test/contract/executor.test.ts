/** What every executor owes a program, run on each of them. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gradients } from "../../src/tensor/autodiff.ts";
import type { Executor, TensorData, WeightSource } from "../../src/tensor/executors/executor.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Program, Tensor } from "../../src/tensor/graph/ir.ts";
import { add, argMax, mul, reduceSum, scale, square, swiglu } from "../../src/tensor/ops/arithmetic.ts";
import { integerDivide } from "../../src/tensor/ops/discrete.ts";
import { gatherRows, scatterAddRows, topK } from "../../src/tensor/ops/index-ops.ts";
import { reshape, split, transpose } from "../../src/tensor/ops/layout.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import { crossEntropy, rotary, softmax } from "../../src/tensor/ops/nn.ts";
import { groupedMatmul, sortByGroup } from "../../src/tensor/ops/ragged.ts";
import { executors } from "../support/executors.ts";
import { feedsFor, numbersOf } from "../support/feeds.ts";
import { interpret, type Numbers } from "../support/reference.ts";

for (const { name, create } of executors) executorContract(name, create);

function executorContract(name: string, create: () => Promise<Executor>): void {
  describe(name, () => {
    const routings: { name: string; k: number; groups: number; labels: number[] }[] = [
      { name: "groups without rows", k: 2, groups: 5, labels: [3, 1, 1, 3, 3, 1, 1, 3] },
      { name: "one group with all rows", k: 2, groups: 3, labels: [1, 1, 1, 1, 1, 1, 1, 1] },
      { name: "one expert per token", k: 1, groups: 3, labels: [2, 0, 1, 2, 2, 0, 0, 1] },
      { name: "a single group", k: 1, groups: 1, labels: [0, 0, 0, 0, 0, 0, 0, 0] },
      { name: "tokens that belong nowhere", k: 2, groups: 3, labels: [3, 3, 0, 1, 4, 5, 2, 0] },
      { name: "no row at all", k: 2, groups: 3, labels: [3, 3, 3, 3, 3, 3, 3, 3] },
    ];
    for (const routing of routings) {
      test(`experts and their gradients are the reference's with ${routing.name}`, async () => {
        const program = expertProgram(routing.k, routing.groups);
        const feeds = { ...randomFeeds(program), labels: routing.labels };
        const executable = await (await create()).compile(program, null);
        assertAgrees(await executable.run(feedsFor(program, feeds)), interpret(program, feeds));
        executable.dispose();
      });
    }

    test("one executable serves any number of rows, and the same rows always give the same bits", async () => {
      const program = expertProgram(2, 3);
      const executable = await (await create()).compile(program, null);
      const run = (labels: number[]) => executable.run(feedsFor(program, { ...randomFeeds(program), labels }));
      const first = await run([0, 1, 2, 0, 1, 2, 0, 1]);
      await run([3, 3, 3, 3, 3, 3, 3, 3]);
      await run([2, 2, 2, 2, 0, 3, 3, 3]);
      assert.deepEqual(await run([0, 1, 2, 0, 1, 2, 0, 1]), first);
      executable.dispose();
    });

    test("runs that share a call give the bits of runs one by one, be their rows as many or not", async () => {
      const program = descent();
      const executable = await (await create()).compile(program, null);
      // Not every executor gains by it.
      if (executable.runAll === undefined) return;
      const start = Float32Array.from({ length: 12 }, (_, i) => Math.sin(1.7 * i));
      const given = { target: Float32Array.of(0.1, -0.2, 0.3) };
      for (const rows of [
        [3, 3, 3],
        [1, 1, 1],
        [2, 4, 1],
        [3, 0, 2],
        [0, 0],
      ]) {
        const steps = rows.map((length, at) => ({
          rate: Float32Array.of(0.1 / (at + 1)),
          rows: Int32Array.from({ length }, (_, i) => (i * (at + 1)) % 4),
          weights: Float32Array.from({ length: 3 * length }, (_, i) => 1 + Math.cos(i + at)),
        }));
        let w: Float32Array = start;
        const losses: TensorData[] = [];
        for (const step of steps) {
          const out = await executable.run({ w, ...given, ...step });
          [w] = [out.w as Float32Array];
          losses.push(out.loss!);
        }
        const expected = { state: { w }, outputs: losses.map((loss) => ({ loss })) };
        assert.deepEqual(await executable.runAll({ w: start }, given, steps), expected);
        const first = await executable.runAll({ w: start }, given, steps.slice(0, 1));
        const { state } = await executable.runAll(first.state, given, steps.slice(1));
        assert.deepEqual(state, { w });
      }
      executable.dispose();
      await assert.rejects(executable.runAll({ w: start }, given, []), /"descent" was disposed/);
    });

    test("steps with unlike numbers of columns do not share a call", async () => {
      const graph = new Graph();
      const w = graph.input("w", "float32", [2]);
      const columns = graph.input("columns", "float32", [2, graph.symbol("columns")]);
      const program = { name: "columns", inputs: { w, columns }, outputs: { w: add(w, reduceSum(columns, [1])) } };
      const executable = await (await create()).compile(program, null);
      assert.equal(executable.runAll, undefined);
      const feeds = { w: Float32Array.of(1, 2), columns: Float32Array.of(1, 2, 3, 4, 5, 6) };
      assert.deepEqual(numbersOf((await executable.run(feeds)).w!), [7, 17]);
      executable.dispose();
    });

    test("ties go to the lower index", async () => {
      const graph = new Graph();
      const x = graph.input("x", "float32", [3, 4]);
      const { values, indices } = topK(x, 3);
      const program = { name: "ties", inputs: { x }, outputs: { values, indices, best: argMax(x) } };
      const executable = await (await create()).compile(program, null);
      const out = await executable.run({ x: Float32Array.from([1, 1, 1, 1, 0, 2, 0, 2, -1, -2, -1, -1]) });
      assert.deepEqual(numbersOf(out.indices!), [0, 1, 2, 1, 3, 0, 0, 2, 3]);
      assert.deepEqual(numbersOf(out.values!), [1, 1, 1, 2, 2, 0, -1, -1, -1]);
      assert.deepEqual(numbersOf(out.best!), [0, 1, 0]);
      executable.dispose();
    });

    test("axes come in any order, those of size 1 among them", async () => {
      const graph = new Graph();
      const x = graph.input("x", "float32", [120]);
      const orders = [0, 1, 2, 3].reduce<number[][]>(
        (all, axis) => all.flatMap((order) => [...order, axis].map((_, at) => order.toSpliced(at, 0, axis))),
        [[]],
      );
      const outputs: Record<string, Tensor> = {};
      for (const shape of [
        [2, 3, 4, 5],
        [6, 1, 4, 5],
      ])
        for (const order of orders) outputs[`${shape} as ${order}`] = transpose(reshape(x, shape), order);
      const program = { name: "orders", inputs: { x }, outputs };
      const executable = await (await create()).compile(program, null);
      const feeds = { x: Array.from({ length: 120 }, (_, i) => i) };
      assertAgrees(await executable.run(feedsFor(program, feeds)), interpret(program, feeds));
      executable.dispose();
    });

    test("a single column is a column", async () => {
      const graph = new Graph();
      const x = graph.input("x", "float32", [3, 1]);
      const targets = graph.input("targets", "int32", [3]);
      const { values } = topK(x, 1);
      const summed = scatterAddRows(square(values), targets, 1);
      const loss = add(reduceSum(crossEntropy(x, targets), [0], true), reshape(summed, [1]));
      const program = { name: "column", inputs: { x, targets }, outputs: { loss, slope: gradients(loss, [x])[0]! } };
      const executable = await (await create()).compile(program, null);
      const feeds = { x: [1, -2, 3], targets: [0, 0, 0] };
      assertAgrees(await executable.run(feedsFor(program, feeds)), { loss: [14], slope: [2, -4, 6] });
      executable.dispose();
    });

    test("rotated by position, a query and a key say the same of each other wherever both stand", async () => {
      const graph = new Graph();
      const [length, size] = [9, 4];
      const rows = {
        query: graph.input("query", "float32", [1, 1, size]),
        key: graph.input("key", "float32", [1, 1, size]),
      };
      // The same everywhere, so that only places differ.
      const everywhere = graph.input("everywhere", "float32", [1, length, 1]);
      const [query, key] = [rows.query, rows.key].map((row) => rotary(mul(everywhere, row), 1, 100));
      const scores = matmul(query!, key!, { transposeB: true });
      const program = { name: "rotation", inputs: { ...rows, everywhere }, outputs: { scores } };
      const executable = await (await create()).compile(program, null);
      const ones = new Array<number>(length).fill(1);
      const feeds = { query: [0.5, -1, 2, 0.25], key: [1, 0.75, -0.5, 1.5], everywhere: ones };
      const at = numbersOf((await executable.run(feedsFor(program, feeds))).scores!);
      const score = (i: number, j: number) => at[i * length + j]!;
      for (let i = 1; i < length; i++)
        for (let j = 1; j < length; j++) assert.ok(Math.abs(score(i, j) - score(i - 1, j - 1)) < 1e-5, `${i}, ${j}`);
      assert.ok(Math.abs(score(3, 0) - score(0, 0)) > 0.1, "how far they are apart matters");
      executable.dispose();
    });

    test("base weights are read from their file, whole and matrix by matrix", async (context) => {
      const folder = mkdtempSync(join(tmpdir(), "flame-executor-"));
      context.after(() => rmSync(folder, { recursive: true, force: true }));
      const stored = Float32Array.from({ length: 12 }, (_, i) => Math.fround(0.1 * (i + 1)));
      const source: WeightSource = {
        path: join(folder, "weights.bin"),
        tensors: new Map([["experts", { offset: 4096, shape: [2, 2, 3] }]]),
      };
      writeFileSync(source.path, Buffer.concat([Buffer.alloc(4096), Buffer.from(stored.buffer)]));

      const graph = new Graph();
      const experts = graph.weight("experts", [2, 2, 3]);
      const x = graph.input("x", "float32", [4, 2]);
      const labels = graph.input("labels", "int64", [4]);
      const { positions } = sortByGroup(labels, 2);
      const y = scatterAddRows(groupedMatmul(gatherRows(x, positions), experts), positions, 4);
      const program = { name: "file", inputs: { x, labels }, outputs: { y, total: reduceSum(experts, [1, 2]) } };
      const feeds = { x: [1, 2, 3, 4, 5, 6, 7, 8], labels: [1, 0, 1, 2] };

      const executor = await create();
      const executable = await executor.compile(program, source);
      assertAgrees(await executable.run(feedsFor(program, feeds)), interpret(program, feeds, { experts: stored }));
      executable.dispose();
      await assert.rejects(executor.compile(program, null), /no tensor "experts"/);
    });

    test("outputs of known shape land in the arrays that are offered, and inputs stay as they are", async () => {
      const { program, feeds } = smallProgram();
      const executable = await (await create()).compile(program, null);
      const arrays = feedsFor(program, feeds);
      const expected = await executable.run(arrays);
      const product = new Float32Array(4);
      const out = await executable.run(arrays, { product });
      assert.equal(out.product, product);
      assert.deepEqual(out, expected);
      assert.deepEqual(arrays, feedsFor(program, feeds));
      executable.dispose();
    });

    test("a missing, short or mistyped input is named, and the executable still works", async () => {
      const { program, feeds } = smallProgram();
      const executable = await (await create()).compile(program, null);
      const good = feedsFor(program, feeds);
      const { x: _, ...without } = good;
      const wrong = async (feeds: typeof good, message: RegExp) =>
        assert.rejects(executable.run(feeds), { name: "InvariantError", message });
      await wrong(without, /program "small": input "x" is missing/);
      await wrong({ ...good, x: new Float32Array(5) }, /"x" expected float32 \[2, 3\], got Float32Array\(5\)/);
      await wrong({ ...good, x: new Int32Array(6) }, /"x" expected float32 \[2, 3\], got Int32Array\(6\)/);
      await wrong(
        { ...good, rows: new Float32Array(5) },
        /"rows" expected float32 \[rows0, 2\], got Float32Array\(5\)/,
      );
      assertAgrees(await executable.run(good), interpret(program, feeds));
      executable.dispose();
    });

    test("a disposed executable refuses to run, and disposing twice does no harm", async () => {
      const { program, feeds } = smallProgram();
      const executable = await (await create()).compile(program, null);
      executable.dispose();
      executable.dispose();
      await assert.rejects(executable.run(feedsFor(program, feeds)), /program "small" was disposed/);
    });

    test("inputs that are no numbers flow through, and leave nothing behind", async () => {
      const program = routedProgram();
      const executable = await (await create()).compile(program, null);
      const feeds = randomFeeds(program);
      const clean = await executable.run(feedsFor(program, { ...feeds, targets: [0, 2] }));
      for (const poison of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const x = Array.from(feeds.x!, (value, i) => (i === 1 ? poison : value));
        const out = await executable.run(feedsFor(program, { ...feeds, x, targets: [0, 2] }));
        assert.ok(numbersOf(out.loss!).every(Number.isNaN), `${poison} became ${out.loss}`);
      }
      assert.deepEqual(await executable.run(feedsFor(program, { ...feeds, targets: [0, 2] })), clean);
      executable.dispose();
    });

    test("an output may be an input, a constant, or have two names", async () => {
      const graph = new Graph();
      const x = graph.input("x", "float32", [2]);
      const twice = scale(x, 2);
      const fixed = graph.constant([3, 4], [2]);
      const program = { name: "names", inputs: { x }, outputs: { x, twice, again: twice, more: add(twice, x), fixed } };
      const executable = await (await create()).compile(program, null);
      const out = await executable.run({ x: Float32Array.of(1, -1) });
      const numbers = Object.fromEntries(Object.entries(out).map(([key, data]) => [key, numbersOf(data)]));
      assert.deepEqual(numbers, { x: [1, -1], twice: [2, -2], again: [2, -2], more: [3, -3], fixed: [3, 4] });
      executable.dispose();
    });
  });
}

/** A step of plain descent on some rows of a matrix, each with a weight for every column. */
function descent(): Program {
  const graph = new Graph();
  const w = graph.input("w", "float32", [4, 3]);
  const target = graph.input("target", "float32", [3]);
  const rate = graph.input("rate", "float32", [1]);
  const some = graph.symbol("rows");
  const rows = graph.input("rows", "int32", [some]);
  const weights = graph.input("weights", "float32", [some, 3]);
  const loss = reduceSum(mul(square(add(gatherRows(w, rows), target)), weights), [0, 1]);
  const [slope] = gradients(loss, [w]);
  return {
    name: "descent",
    inputs: { w, target, rate, rows, weights },
    outputs: { w: add(w, scale(mul(slope!, rate), -1)), loss },
  };
}

/** A two-layer expert with base terms and both orientations, its loss, and the slopes of all that is trainable. */
function expertProgram(k: number, groups: number): Program {
  const graph = new Graph();
  const x = graph.input("x", "float32", [8 / k, 3]);
  const labels = graph.input("labels", "int64", [8]);
  const up = graph.input("up", "float32", [groups, 3, 4]);
  const low = graph.input("low", "float32", [groups, 2, 2]);
  const down = graph.input("down", "float32", [groups, 3, 2]);
  const { positions, counts } = sortByGroup(labels, groups);
  const token = integerDivide(positions, k);
  const rows = gatherRows(x, token);
  const [gate, value] = split(groupedMatmul(rows, up), 1, [2, 2]) as [Tensor, Tensor];
  const hidden = swiglu(gate, groupedMatmul(value, low, { alpha: 0.5, base: value }));
  const y = groupedMatmul(hidden, down, { transposed: true, alpha: -2, base: rows });
  const summed = scatterAddRows(y, token, 8 / k);
  const loss = reduceSum(reshape(square(summed), [(3 * 8) / k]), [0], true);
  const [dx, dUp, dLow, dDown] = gradients(loss, [x, up, low, down]);
  return {
    name: "experts",
    inputs: { x, labels, up, low, down },
    outputs: { y, counts, summed, loss, dx: dx!, dUp: dUp!, dLow: dLow!, dDown: dDown! },
  };
}

/** Router, experts and loss, as a transformer has them. */
function routedProgram(): Program {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 3]);
  const router = graph.input("router", "float32", [3, 4]);
  const experts = graph.input("experts", "float32", [4, 3, 3]);
  const targets = graph.input("targets", "int32", [2]);
  const { values, indices } = topK(softmax(matmul(x, router)), 2);
  const { positions } = sortByGroup(reshape(indices, [4]), 4);
  const token = integerDivide(positions, 2);
  const weighted = mul(groupedMatmul(gatherRows(x, token), experts), gatherRows(reshape(values, [4, 1]), positions));
  // The first row alone is poisoned: its loss is counted, whoever received it.
  const loss = reduceSum(crossEntropy(add(x, scatterAddRows(weighted, token, 2)), targets), [0], true);
  return {
    name: "routed",
    inputs: { x, router, experts, targets },
    outputs: { loss, slope: gradients(loss, [experts])[0]! },
  };
}

function smallProgram(): { program: Program; feeds: Numbers } {
  const graph = new Graph();
  const x = graph.input("x", "float32", [2, 3]);
  const rows = graph.input("rows", "float32", [graph.symbol("rows"), 2]);
  const program = {
    name: "small",
    inputs: { x, rows },
    outputs: { product: matmul(x, x, { transposeB: true }), square: square(rows) },
  };
  return { program, feeds: { x: [1, 2, 3, 4, 5, 6], rows: [1, -2, 3, -4] } };
}

/** The same numbers for every input of a size, in ±1. */
function randomFeeds(program: Program): Record<string, number[]> {
  const floats = Object.entries(program.inputs).filter(([, { dtype }]) => dtype === "float32");
  return Object.fromEntries(
    floats.map(([key, { shape }], salt) => {
      const size = (shape as readonly number[]).reduce((a, b) => a * b, 1);
      return [key, Array.from({ length: size }, (_, i) => Math.fround(Math.sin(7 * salt + 1.7 * i + 1)))];
    }),
  );
}

/** Float32 rounds to 6e-8, and these programs are a dozen operations deep. */
function assertAgrees(got: Readonly<Record<string, TensorData>>, expected: Numbers): void {
  for (const key of Object.keys(expected)) {
    const values = numbersOf(got[key]!);
    assert.equal(values.length, expected[key]!.length, key);
    for (const [i, value] of values.entries()) {
      const wanted = expected[key]![i]!;
      assert.ok(
        Math.abs(value - wanted) <= 1e-5 * (1 + Math.abs(wanted)),
        `${key}[${i}] is ${value}, expected ${wanted}`,
      );
    }
  }
}
