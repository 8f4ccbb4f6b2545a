/** A head in panels says what the whole head says. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { saidInPanels } from "../../src/model/head.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Program } from "../../src/tensor/graph/ir.ts";
import { argMax, mul, reduceSum } from "../../src/tensor/ops/arithmetic.ts";
import { concat } from "../../src/tensor/ops/layout.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import { crossEntropy } from "../../src/tensor/ops/nn.ts";
import { executors } from "../support/executors.ts";
import { feedsFor, numbersOf } from "../support/feeds.ts";
import { interpret, type Numbers } from "../support/reference.ts";

const width = 3;
const panels = 3;
const columns = 4;

/** Losses, predictions, logits and slopes of a loss that weighs each position; by the whole head, or panel by panel. */
function program(how: "whole" | "panels", recomputes = false): Program {
  const graph = new Graph({ recomputes });
  const positions = graph.symbol("positions");
  const x = graph.input("x", "float32", [positions, width]);
  const targets = graph.input("targets", "int32", [positions]);
  const weighs = graph.input("weighs", "float32", [positions]);
  const heads = Array.from({ length: panels }, (_, at) => graph.input(`head${at}`, "float32", [width, columns]));
  const whole = () => matmul(x, concat(heads, 1));
  const said =
    how === "panels"
      ? saidInPanels(x, heads, targets)
      : { losses: () => crossEntropy(whole(), targets), predicted: () => argMax(whole()), logits: whole };
  const losses = said.losses();
  const [dx, ...dHeads] = gradients(reduceSum(mul(losses, weighs), [0]), [x, ...heads]);
  const named = (name: string, tensors: readonly (typeof x)[]) =>
    Object.fromEntries(tensors.map((tensor, at) => [`${name}${at}`, tensor]));
  return {
    name: how,
    inputs: { x, targets, weighs, ...named("head", heads) },
    outputs: { losses, predicted: said.predicted(), logits: said.logits(), dx: dx!, ...named("dHead", dHeads) },
  };
}

/** A target in every column, and logits so large that only sums shifted by the largest stay finite. */
function feeds(size: number): Numbers {
  const draws = new Rng(11).at("head").at(0);
  const vocabulary = panels * columns;
  const random = (count: number, scale: number) => Array.from({ length: count }, () => scale * draws.normal());
  return {
    x: random(vocabulary * width, size),
    targets: [...Array(vocabulary).keys()],
    weighs: random(vocabulary, 1),
    ...Object.fromEntries(Array.from({ length: panels }, (_, at) => [`head${at}`, random(width * columns, 1)])),
  };
}

for (const { name, create } of executors) {
  describe(name, () => {
    for (const [size, what] of [
      [1, "small"],
      [200, "large"],
    ] as const) {
      test(`losses, predictions and slopes of ${what} logits are those of the whole head`, async () => {
        const panelled = program("panels");
        const expected = interpret(program("whole"), feeds(size));
        const executable = await (await create()).compile(panelled, null);
        const out = await executable.run(feedsFor(panelled, feeds(size)));
        for (const [key, values] of Object.entries(expected)) {
          const scale = Math.max(1, ...values.map(Math.abs));
          for (const [i, found] of numbersOf(out[key]!).entries()) {
            // Inputs are rounded to float32, and sums run over a dozen terms.
            assert.ok(Math.abs(found - values[i]!) <= 4e-6 * scale, `${key}[${i}]: ${found}, not ${values[i]}`);
          }
        }
        executable.dispose();
      });
    }

    test("panels that are computed again leave the same bits, and no position at all is no trouble", async () => {
      const executor = await create();
      const none = { ...feeds(1), x: [], targets: [], weighs: [] };
      const found = [];
      for (const recomputes of [false, true]) {
        const panelled = program("panels", recomputes);
        const executable = await executor.compile(panelled, null);
        found.push([
          await executable.run(feedsFor(panelled, feeds(1))),
          await executable.run(feedsFor(panelled, none)),
        ]);
        executable.dispose();
      }
      assert.deepEqual(found[1], found[0]);
    });

    test("of equally likely tokens in different panels the lower one is predicted", async () => {
      const panelled = program("panels");
      const executable = await (await create()).compile(panelled, null);
      const flat = Object.fromEntries(
        Object.entries(feeds(1)).map(([key, values]) => [key, Array.from(values, () => 0)]),
      );
      const likely = { ...flat, x: [1, 0, 0, 0, 0, 0], targets: [0, 0], weighs: [1, 1] };
      // Tokens 5 and 9 of the first position have a logit of 1, all others 0; all of the second are equal.
      const second = [0, 1, 0, 0, ...new Array<number>(8).fill(0)];
      const out = await executable.run(feedsFor(panelled, { ...likely, head1: second, head2: second }));
      assert.deepEqual(numbersOf(out.predicted!), [5, 0]);
      executable.dispose();
    });
  });
}
