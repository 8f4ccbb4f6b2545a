/** Router masses on a real executor against sorted probabilities in float64. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { createExecutor } from "../../../src/engine/create.ts";
import { baseWeightShapes } from "../../../src/model/base-weights.ts";
import { forward } from "../../../src/model/transformer.ts";
import { routerMasses } from "../../../src/tasks/llm/router-mass.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { interpret } from "../../support/reference.ts";
import {
  batchNumbers,
  batchOf,
  smallModel as config,
  prepared,
  randomTokens,
  randomWeights,
} from "../../support/small-model.ts";

test("router masses are sums over tokens, without padding, of the largest probabilities", async () => {
  const tensors = randomWeights(config);
  const draws = new Rng(3).at("tokens").at(0);
  const batches = [1, 2].map(() => batchOf([randomTokens(draws, 7), randomTokens(draws, 4)], 8));
  const weights = await prepared(config, tensors);
  try {
    const found = await routerMasses(await createExecutor("onnx", 1), weights, batches);
    const expected = Array.from({ length: config.layers }, () => new Array<number>(config.topK).fill(0));
    for (const batch of batches) {
      for (const [layer, probabilities] of probabilitiesOf(batch, tensors).entries()) {
        for (let token = 0; token < batch.rows * batch.length; token++) {
          if (token % batch.length >= batch.lengths[Math.floor(token / batch.length)]!) continue;
          const row = probabilities
            .slice(token * config.experts, (token + 1) * config.experts)
            .toSorted((a, b) => b - a);
          for (let k = 1; k <= config.topK; k++) {
            expected[layer]![k - 1]! += row.slice(0, k).reduce((sum, p) => sum + p, 0);
          }
        }
      }
    }
    // Float32 sums of 22 probabilities.
    for (const [layer, masses] of expected.entries()) {
      for (const [at, mass] of masses.entries()) assert.ok(Math.abs(found[layer]![at]! - mass) < 1e-5 * mass);
    }
  } finally {
    weights.cleanUp();
  }
});

/** Of each layer, `[tokens, experts]`. */
function probabilitiesOf(batch: ReturnType<typeof batchOf>, tensors: ReturnType<typeof randomWeights>): Float64Array[] {
  const { rows, length } = batch;
  const graph = new Graph();
  const inputs = {
    ids: graph.input("ids", "int32", [rows, length]),
    padding: graph.input("padding", "int32", [rows * length]),
  };
  const shapes = baseWeightShapes(config);
  const weight = (name: string) => graph.weight(name, shapes.get(name)!);
  const { routers } = forward({ config, rows, length, topK: config.topK, weight }, inputs.ids, inputs.padding);
  const outputs = Object.fromEntries(routers.map(({ probabilities }, layer) => [`${layer}`, probabilities]));
  const program = { name: "routers", inputs, outputs };
  return Object.values(interpret(program, batchNumbers(batch, config.experts), Object.fromEntries(tensors)));
}
