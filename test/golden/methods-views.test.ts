/** BMSFed against numbers worked out by other means: 1e-12 in float64, as all of this is but for a root's 1e-12 inside. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bestOf, costOf, coveredBy, measured, uncovered } from "../../src/fl/strategies/modalities/coverage.ts";
import { byPrototypes, merged } from "../../src/fl/strategies/modalities/prototypes.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import { interpret } from "../support/reference.ts";

const caseOf = goldensOf("bmsfed");

/** All that are left are candidates, in the order of their numbers. */
function greedily(distances: Float64Array, clients: number, count: number) {
  let cover = uncovered(clients);
  let left = Array.from({ length: clients }, (_, client) => client);
  const costs: number[] = [];
  const picks = Array.from({ length: count }, () => {
    const pick = bestOf(left as [number, ...number[]], distances, cover);
    costs.push(costOf(pick, distances, cover));
    cover = coveredBy(pick, distances, cover);
    left = left.filter((client) => client !== pick);
    return pick;
  });
  return { picks, costs };
}

test("BMSFed: clients that cover all, by hand and among points", () => {
  const hand = caseOf("bmsfed", "greedy by hand");
  const table = Float64Array.from(hand.inputs.D.flat());
  const kept = table.slice();
  const found = greedily(table, 5, hand.inputs.pick);
  assert.deepEqual(found.picks, hand.expected.picks);
  close(found.costs, hand.expected.costs, 1e-12);
  assert.deepEqual(table, kept, "covering a client changes no distance");

  const { inputs, expected } = caseOf("bmsfed", "greedy, points");
  const clients = inputs.points.length;
  const zeros = new Float64Array(clients * clients);
  const everybody = inputs.points.map((_: Json, client: number) => client);
  const points = Float64Array.from(inputs.points.flat()) as unknown as Float32Array;
  const distances = measured(zeros, points, everybody, { clients, from: 0, until: inputs.points[0].length });
  const chosen = greedily(distances, clients, inputs.pick);
  assert.deepEqual(chosen.picks, expected.picks);
  close(chosen.costs, expected.costs, 1e-12);
});

test("BMSFed: the prototype loss and its score", () => {
  const { inputs, expected } = caseOf("bmsfed", "prototype loss");
  const { features, prototypes, labels } = inputs;
  const graph = new Graph();
  const [rows, width, classes] = [features.length, features[0].length, prototypes.length];
  const given = {
    features: graph.input("features", "float32", [rows, width]),
    means: graph.input("means", "float32", [classes, width]),
    known: graph.input("known", "float32", [classes]),
    targets: graph.input("targets", "int32", [rows]),
  };
  const outputs = byPrototypes(given.features, given, given.targets);
  const run = (known: readonly number[]) =>
    interpret(
      { name: "prototypes", inputs: given, outputs },
      { features: features.flat(), means: prototypes.flat(), known, targets: labels },
    );
  const { losses, probabilities } = run([1, 1, 1]);
  close([losses!.reduce((a, b) => a + b) / rows], expected.pce);
  close([probabilities!.reduce((a, b) => a + b)], expected.score);
  // A class without a prototype is no wrong answer, and its own examples say nothing.
  const partly = run([1, 1, 0]);
  assert.deepEqual([partly.losses![4], partly.probabilities![4]], [0, 0]);
  for (const row of [0, 1, 2, 3]) assert.ok(partly.losses![row]! < losses![row]!, `row ${row}`);
});

test("BMSFed: prototypes merge by counts, and a class that nobody has keeps what it had", () => {
  const { inputs, expected } = caseOf("bmsfed", "merge");
  const parts = inputs.means.map((means: number[][], client: number) => ({
    means: Float64Array.from(means.flat()),
    counts: Float64Array.from(inputs.counts[client]),
  }));
  const empty = { means: new Float64Array(parts[0].means.length).fill(5), counts: new Float64Array(3) };
  close(merged(empty, parts).means, expected.prototypes.flat(), 1e-12);
  const [first] = parts;
  const alone = merged(empty, [first]);
  const width = first.means.length / 3;
  assert.deepEqual(
    [...alone.means.subarray(width, 2 * width)],
    new Array(width).fill(5),
    "client 0 has none of class 1",
  );
  assert.deepEqual([...alone.counts], [3, 0, 7]);
});
