/** Operations on images, on every executor: against PyTorch, and with no image at all. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Program, Tensor } from "../../src/tensor/graph/ir.ts";
import { sizeOf } from "../../src/tensor/graph/shape.ts";
import { mul, reduceSum } from "../../src/tensor/ops/arithmetic.ts";
import { averagePool, conv, pixelShuffle, stopsOf } from "../../src/tensor/ops/images.ts";
import { concat, reshape, split } from "../../src/tensor/ops/layout.ts";
import { executors } from "../support/executors.ts";
import { feedsFor, numbersOf } from "../support/feeds.ts";
import { interpret, type Numbers } from "../support/reference.ts";

/** As `scripts/image-goldens.py` writes it. */
interface Case extends Readonly<Record<"images" | "height" | "width" | "channels", number>> {
  readonly kind: "conv" | "averagePool" | "pixelShuffle";
  readonly out: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly size: number;
  readonly factor: number;
  readonly x: number[];
  readonly slopes: number[];
  readonly weight?: number[];
  readonly y: number[];
  readonly dx: number[];
  readonly dweight?: number[];
}

const path = join(import.meta.dirname, "../golden/data/images.json");
const { cases } = JSON.parse(readFileSync(path, "utf8")) as { cases: Case[] };

/** Inputs are rounded to float32 once, sums have up to 50 terms of about 1: a few roundings of 6e-8 each. */
const tolerance = 2e-6;

function programOf(golden: Case): Program {
  const graph = new Graph();
  const { images, height, width, channels, out, kernel } = golden;
  const grid = { height, width };
  const x = graph.input("x", "float32", [images, height * width, channels]);
  const weight = golden.weight && graph.input("weight", "float32", [kernel ** 2 * channels, out]);
  const y = {
    conv: () => conv(x, weight!, golden),
    averagePool: () => averagePool(x, grid, golden.size),
    pixelShuffle: () => pixelShuffle(x, grid, golden.factor),
  }[golden.kind]();
  const slopes = graph.input("slopes", "float32", y.shape);
  const loss = reduceSum(reshape(mul(y, slopes), [sizeOf(y.shape)]), [0], true);
  const [dx, dweight] = gradients(loss, [x, ...(weight ? [weight] : [])]) as [Tensor, Tensor?];
  return {
    name: golden.kind,
    inputs: { x, slopes, ...(weight && { weight }) },
    outputs: { y, dx, ...(dweight && { dweight }) },
  };
}

for (const { name, create } of executors) {
  describe(name, () => {
    for (const golden of cases) {
      const { kind, x, slopes, weight, y, dx, dweight } = golden;
      const shape = `${golden.images} x ${golden.height} x ${golden.width} x ${golden.channels}`;
      const { kernel = golden.size ?? golden.factor, stride = "", padding = "" } = golden as Partial<Case>;
      test(`${kind} of ${shape} and its slopes are PyTorch's (${kernel} ${stride} ${padding})`, async () => {
        const program = programOf(golden);
        const feeds = { x, slopes, ...(weight && { weight }) };
        const executable = await (await create()).compile(program, null);
        const got = await executable.run(feedsFor(program, feeds));
        executable.dispose();
        const expected: Numbers = { y, dx, ...(dweight && { dweight }) };
        // The reference has no products of no rows.
        const loops = golden.images === 0 ? null : interpret(program, feeds);
        for (const [key, values] of Object.entries(expected)) {
          assertClose(numbersOf(got[key]!), values, tolerance, key);
          // PyTorch worked in float64, and ten digits were written down.
          if (loops) assertClose(loops[key]!, values, 1e-9, `${key} of plain loops`);
        }
      });
    }

    test("several clients convolve their images each with its own weights, as each alone", async () => {
      const graph = new Graph();
      const window = { height: 3, width: 2, kernel: 3, padding: 1 };
      const x = graph.input("x", "float32", [4, 6, 2]);
      const weight = graph.input("weight", "float32", [2, 18, 3]);
      const together = conv(x, weight, window);
      const images = split(x, 0, [2, 2]);
      const weights = split(weight, 0, [1, 1]);
      const alone = images.map((own, client) => conv(own, reshape(weights[client]!, [18, 3]), window));
      const program = { name: "clients", inputs: { x, weight }, outputs: { together, alone: concat(alone, 0) } };
      const draw = (size: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(i * i + 1));
      const executable = await (await create()).compile(program, null);
      const out = await executable.run({ x: draw(48), weight: draw(108) });
      executable.dispose();
      assertClose(numbersOf(out.together!), numbersOf(out.alone!), tolerance, "together");
    });
  });
}

test("a window that does not fit is refused with its sizes", () => {
  const refused = (window: Parameters<typeof stopsOf>[0], message: RegExp) =>
    assert.throws(() => stopsOf(window), { name: "InvariantError", message });
  refused({ height: 3, width: 5, kernel: 4 }, /fits into 3 x 5, got kernel 4, stride 1, padding 0/);
  refused({ height: 3, width: 3, kernel: 2, padding: 2 }, /got kernel 2, stride 1, padding 2/);
  refused({ height: 3, width: 3, kernel: 2, stride: 0 }, /got kernel 2, stride 0/);
  const x = new Graph().input("x", "float32", [1, 6, 3]);
  const squares = () => averagePool(x, { height: 2, width: 3 }, 2);
  assert.throws(squares, { message: /a grid of whole squares of 2, got \[2, 3\]/ });
  const shuffled = () => pixelShuffle(x, { height: 2, width: 3 }, 2);
  assert.throws(shuffled, { message: /a multiple of 4 channels, got \[1, 6, 3\]/ });
  const weight = x.node.graph.zeros([18, 1]);
  const convolved = () => conv(x, weight, { height: 2, width: 2, kernel: 3, padding: 1 });
  assert.throws(convolved, { message: /patches: expected \[images, 4, channels\], got \[1, 6, 3\]/ });
});

function assertClose(got: ArrayLike<number>, wanted: ArrayLike<number>, relative: number, what: string): void {
  assert.equal(got.length, wanted.length, what);
  const largest = Array.from(wanted).reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  for (let i = 0; i < wanted.length; i++) {
    const where = `${what}[${i}] is ${got[i]}, expected ${wanted[i]}`;
    assert.ok(Math.abs(got[i]! - wanted[i]!) <= relative * largest, where);
  }
}
