/** Padded groups on every executor: what a batched product over them gives is what a product per group would give. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Program } from "../../src/tensor/graph/ir.ts";
import { reduceSum, square } from "../../src/tensor/ops/arithmetic.ts";
import { integerDivide } from "../../src/tensor/ops/discrete.ts";
import { gatherRows, scatterAddRows } from "../../src/tensor/ops/index-ops.ts";
import { reshape } from "../../src/tensor/ops/layout.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import { groupSlots, padGroups, unpadGroups } from "../../src/tensor/ops/padded.ts";
import { sortByGroup } from "../../src/tensor/ops/ragged.ts";
import { executors } from "../support/executors.ts";
import { feedsFor, numbersOf } from "../support/feeds.ts";
import { interpret } from "../support/reference.ts";

const groups = 3;
const copies = 16;

/** Rows of two copies each, sent to groups, through a matrix of their (part, group) and back; with all slopes. */
function program(parts: number): Program {
  const graph = new Graph();
  const x = graph.input("x", "float32", [copies / 2, 2]);
  const labels = graph.input("labels", "int64", [copies]);
  const own = graph.input("own", "float32", [parts * groups, 2, 3]);
  const shared = graph.input("shared", "float32", [groups, 3, 2]);
  const { positions } = sortByGroup(labels, groups);
  const token = integerDivide(positions, 2);
  const slots = groupSlots(positions, labels, { groups, parts });
  const rows = gatherRows(x, token);
  const padded = padGroups(rows, slots);
  const middle = reshape(matmul(padded, own), [parts, groups, slots.size, 3]);
  const products = reshape(matmul(middle, shared), [parts * groups, slots.size, 2]);
  const y = unpadGroups(products, slots);
  const summed = scatterAddRows(y, token, copies / 2);
  const loss = reduceSum(reshape(square(summed), [copies]), [0], true);
  const [dx, dOwn, dShared] = gradients(loss, [x, own, shared]);
  const back = scatterAddRows(unpadGroups(padded, slots), token, copies / 2);
  return {
    name: `padded in ${parts} parts`,
    inputs: { x, labels, own, shared },
    outputs: {
      ...{ counts: slots.counts, longest: slots.longest, back, y, summed },
      ...{ dx: dx!, dOwn: dOwn!, dShared: dShared! },
    },
  };
}

const draws = new Rng(7).at("labels").at(0);
const routings: Readonly<Record<string, number[]>> = {
  "one group with all rows": new Array(copies).fill(1),
  "groups without rows": Array.from({ length: copies }, (_, i) => (i % 2 === 0 ? 2 : 0)),
  "parts without rows": Array.from({ length: copies }, (_, i) => (i < copies / 2 ? i % groups : groups)),
  "no row at all": new Array(copies).fill(groups),
  ...Object.fromEntries(
    Array.from({ length: 6 }, (_, i) => [
      `random counts ${i}`,
      Array.from({ length: copies }, () => draws.below(groups + 2)),
    ]),
  ),
};

const floats = (size: number, salt: number) =>
  Array.from({ length: size }, (_, i) => Math.fround(Math.sin(7 * salt + 1.7 * i + 1)));

for (const { name, create } of executors) {
  describe(name, () => {
    for (const parts of [1, 2, 4]) {
      test(`products over groups in ${parts} parts and their slopes are the reference's, whatever the counts`, async () => {
        const padded = program(parts);
        // One executable serves all counts.
        const executable = await (await create()).compile(padded, null);
        for (const [routing, labels] of Object.entries(routings)) {
          const feeds = {
            ...{ labels, x: floats(copies, 0) },
            ...{ own: floats(parts * groups * 6, 1), shared: floats(groups * 6, 2) },
          };
          const [got, expected] = [await executable.run(feedsFor(padded, feeds)), interpret(padded, feeds)];
          for (const key of Object.keys(expected)) {
            const values = numbersOf(got[key]!);
            assert.equal(values.length, expected[key]!.length, `${routing}: ${key}`);
            for (const [i, value] of values.entries()) {
              const wanted = expected[key]![i]!;
              assert.ok(
                Math.abs(value - wanted) <= 1e-5 * (1 + Math.abs(wanted)),
                `${routing}: ${key}[${i}] is ${value}`,
              );
            }
          }
          const times = Array.from(
            { length: copies / 2 },
            (_, row) => [labels[2 * row]!, labels[2 * row + 1]!].filter((label) => label < groups).length,
          );
          const back = floats(copies, 0).map((value, at) => 0 + Math.fround(value * times[at >> 1]!));
          assert.deepEqual(numbersOf(got.back!), back, `${routing}: padding and back is not the identity`);
        }
        executable.dispose();
      });
    }
  });
}
