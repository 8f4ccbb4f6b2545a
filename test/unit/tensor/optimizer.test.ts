import assert from "node:assert/strict";
import { test } from "node:test";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import type { Tensor } from "../../../src/tensor/graph/ir.ts";
import { adamW, clipFactor } from "../../../src/tensor/optimizer.ts";
import { type Numbers, Reference } from "../../support/reference.ts";

const options = { beta1: 0.9, beta2: 0.99, epsilon: 0.1 };

function step(feeds: Numbers, decayed: boolean) {
  const graph = new Graph();
  const vector = (name: string) => graph.input(name, "float32", [2]);
  const scalar = (name: string) => graph.input(name, "float32", [1]);
  const state = { parameters: vector("parameters"), mean: vector("mean"), variance: vector("variance") };
  const rates = {
    learningRate: scalar("learningRate"),
    decay: scalar("decay"),
    correction1: scalar("correction1"),
    correction2: scalar("correction2"),
  };
  const next = adamW(state, vector("gradient"), rates, options, decayed);
  const run = new Reference(feeds);
  const read = (tensor: Tensor) => [...run.value(tensor).data];
  return { parameters: read(next.parameters), mean: read(next.mean), variance: read(next.variance) };
}

function assertClose(got: readonly number[], expected: readonly number[]): void {
  assert.equal(got.length, expected.length);
  for (const [i, value] of expected.entries()) assert.ok(Math.abs(got[i]! - value) < 1e-12, `${got} and ${expected}`);
}

const first = {
  parameters: [1, 2],
  mean: [0, 0],
  variance: [0, 0],
  gradient: [3, -4],
  learningRate: [0.5],
  decay: [0.5 * 0.2],
  correction1: [1 / (1 - 0.9)],
  correction2: [1 / (1 - 0.99)],
};

test("the first AdamW step moves by the rate times the sign, softened by epsilon, and decays on its own", () => {
  // m = 0.1·g and v = 0.01·g², kept as m ÷ 0.1 and v ÷ 0.01; m̂ = g and √v̂ = |g|.
  const { parameters, mean, variance } = step(first, true);
  assertClose(mean, [3, -4]);
  assertClose(variance, [9, 16]);
  assertClose(parameters, [1 - (0.5 * 3) / 3.1 - 0.1 * 1, 2 + (0.5 * 4) / 4.1 - 0.1 * 2]);
});

test("a later AdamW step remembers the earlier ones", () => {
  const correction1 = [1 / (1 - 0.9 ** 2)];
  const correction2 = [1 / (1 - 0.99 ** 2)];
  const { parameters } = step({ ...first, mean: [10, 0], variance: [400, 0], correction1, correction2 }, true);
  // m = 0.9·1 + 0.1·3 = 1.2, m̂ = 1.2/0.19; v = 0.99·4 + 0.01·9 = 4.05, v̂ = 4.05/0.0199.
  const m = [1.2 / 0.19, -0.4 / 0.19];
  const v = [4.05 / 0.0199, 0.16 / 0.0199];
  const moved = (theta: number, i: number) => theta - (0.5 * m[i]!) / (Math.sqrt(v[i]!) + 0.1) - 0.1 * theta;
  assertClose(parameters, [moved(1, 0), moved(2, 1)]);
});

test("without decay the parameters are only moved, and a zero gradient leaves them as they are", () => {
  assertClose(step(first, false).parameters, [1 - (0.5 * 3) / 3.1, 2 + (0.5 * 4) / 4.1]);
  assert.deepEqual(step({ ...first, gradient: [0, 0] }, false).parameters, [1, 2]);
});

test("clipping scales the joint norm down to its maximum, and never up", () => {
  const graph = new Graph();
  const a = graph.input("a", "float32", [1]);
  const b = graph.input("b", "float32", [2]);
  const factor = clipFactor([a, b], graph.input("maximum", "float32", [1]));
  const factorFor = (feeds: Numbers) => [...new Reference(feeds).value(factor).data];
  // ‖(2, 3, 6)‖ = 7
  assertClose(factorFor({ a: [2], b: [3, 6], maximum: [1] }), [1 / (7 + 1e-6)]);
  assertClose(factorFor({ a: [2], b: [3, 6], maximum: [8] }), [1]);
  assertClose(factorFor({ a: [0], b: [0, 0], maximum: [1] }), [1]);
});
