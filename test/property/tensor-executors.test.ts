import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { gradients } from "../../src/tensor/autodiff.ts";
import { reachable } from "../../src/tensor/graph/graph.ts";
import type { Program } from "../../src/tensor/graph/ir.ts";
import { executors } from "../support/executors.ts";
import { feedsFor, numbersOf } from "../support/feeds.ts";
import { Growth, lossOf, programOf, recipes } from "../support/random-programs.ts";
import { interpret, kernels } from "../support/reference.ts";

/**
 * Of the largest value of the tensor, or of 1. One float32 rounding is 6e-8; a program is some twenty operations deep,
 * sums a dozen terms, and its exponentials, quotients and norms magnify what came before by a hundred at most.
 */
const tolerance = 2e-5;

for (const { name, create } of executors) {
  test(`${name} computes what the reference computes`, async () => {
    const executor = await create();
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(recipes, fc.boolean(), async (recipe, smooth) => {
        const growth = new Growth(recipe, smooth);
        const program = programOf(growth, smooth ? gradients(lossOf(growth), growth.parameters) : []);
        for (const { op } of reachable(Object.values(program.outputs))) seen.add(op.name);
        const executable = await executor.compile(program, null);
        const outputs = await executable.run(feedsFor(program, growth.feeds));
        executable.dispose();
        const expected = interpret(program, growth.feeds);
        for (const key of Object.keys(expected)) compare(program, key, numbersOf(outputs[key]!), expected[key]!);
      }),
      { seed: 7, numRuns: 100, includeErrorInReport: true },
    );
    const unseen = Object.keys(kernels).filter((kernel) => !seen.has(kernel));
    assert.deepEqual(unseen, [], "operations that occurred in no program");
  });
}

function compare(program: Program, key: string, got: readonly number[], expected: Float64Array): void {
  const { node, shape } = program.outputs[key]!;
  assert.equal(got.length, expected.length, `${node.op.name} has ${got.length} values, expected ${expected.length}`);
  const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  for (const [i, value] of expected.entries()) {
    const where = `${node.op.name} ${JSON.stringify(shape)}, value ${i}`;
    assert.ok(Math.abs(got[i]! - value) <= tolerance * largest, `${where}: ${got[i]}, expected ${value}`);
  }
}
