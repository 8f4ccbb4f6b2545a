import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Rng } from "../../src/base/random.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { reachable } from "../../src/tensor/graph/graph.ts";
import type { Tensor } from "../../src/tensor/graph/ir.ts";
import { Growth, lossOf, recipes } from "../support/random-programs.ts";
import { kernels, Reference } from "../support/reference.ts";

/**
 * Central differences with h = 1e-5 in float64: their own error is about h²·f‴/6, some 1e-10 of the terms, and 1e-16·f/h.
 * The values that decide a branch are kept 1e-2 away from it (`random-programs.ts`).
 */
const h = 1e-5;
const tolerance = 1e-6;

test("gradients are the slopes of the program", () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(recipes, (recipe) => {
      const growth = new Growth(recipe, true);
      const loss = lossOf(growth);
      const slopes = gradients(loss, growth.parameters);
      for (const { op } of reachable([loss, ...slopes])) seen.add(op.name);
      for (const [i, parameter] of growth.parameters.entries()) {
        const gradient = growth.value(slopes[i]!).data;
        const direction = Float64Array.from(gradient, () => 0);
        const draws = new Rng(recipe.seed).at("direction", i).at(0);
        for (const at of direction.keys()) direction[at] = draws.normal();
        const slope = dot(gradient, direction);
        const difference =
          (lossAt(growth, loss, parameter, direction, h) - lossAt(growth, loss, parameter, direction, -h)) / (2 * h);
        const scale = 1 + gradient.reduce((sum, g, at) => sum + Math.abs(g * direction[at]!), 0);
        assert.ok(
          Math.abs(slope - difference) <= tolerance * scale,
          `parameter ${i} of shape [${parameter.shape}]: gradient ${slope}, slope ${difference}`,
        );
      }
    }),
    { seed: 20_240_612, numRuns: 150, includeErrorInReport: true },
  );
  const unseen = Object.keys(kernels).filter(
    (name) => !seen.has(name) && !["minimum", "cast", "argMax"].includes(name),
  );
  assert.deepEqual(unseen, [], "operations that have a derivative and occurred in no program");
});

function lossAt({ feeds }: Growth, loss: Tensor, parameter: Tensor, direction: Float64Array, step: number): number {
  const name = parameter.node.attributes.name as string;
  const moved = feeds[name]!.map((value, at) => value + step * direction[at]!);
  return new Reference({ ...feeds, [name]: moved }).value(loss).data[0]!;
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
