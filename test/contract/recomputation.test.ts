/** Layers that are computed again for the backward pass give the gradients of layers that are kept, to the bit. */
import assert from "node:assert/strict";
import { after as afterwards, describe, test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { adapterLayout } from "../../src/model/adapter.ts";
import { fittingStep, stepBytes } from "../../src/tasks/client-memory.ts";
import { llmTask } from "../../src/tasks/llm/task.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { encodeProgram } from "../../src/tensor/codec.ts";
import { OnnxExecutor } from "../../src/tensor/executors/onnx.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Program, Tensor } from "../../src/tensor/graph/ir.ts";
import { add, mul, reduceSum, scale, square, swiglu } from "../../src/tensor/ops/arithmetic.ts";
import { after, integerDivide } from "../../src/tensor/ops/discrete.ts";
import { gatherRows, scatterAddRows, topK } from "../../src/tensor/ops/index-ops.ts";
import { reshape, split } from "../../src/tensor/ops/layout.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import { rmsNorm, softmax } from "../../src/tensor/ops/nn.ts";
import { groupedMatmul, sortByGroup } from "../../src/tensor/ops/ragged.ts";
import { executors } from "../support/executors.ts";
import { feedsFor } from "../support/feeds.ts";
import { stepOf } from "../support/llm-programs.ts";
import {
  batchNumbers,
  batchOf,
  prepared,
  randomAdapter,
  randomTokens,
  randomWeights,
  smallModel,
} from "../support/small-model.ts";

const tokens = 6;
const options = { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, clip: true, decay: true };

/** Layers of routed experts with a loss on the last one and on what the routers said, and the slopes of all parameters. */
function layered(recomputes: boolean): Program {
  const graph = new Graph({ recomputes });
  const x = graph.input("x", "float32", [tokens, 3]);
  const routers = graph.input("routers", "float32", [2, 3, 4]);
  const norm = graph.input("norm", "float32", [3]);
  const experts = graph.input("experts", "float32", [2, 4 * 3 * 6]);
  const down = graph.input("down", "float32", [4, 3, 3]);
  const said: Tensor[] = [];
  let h = x;
  for (const layer of [0, 1]) {
    const [router, up] = [routers, experts].map((all) => reshape(split(all, 0, [1, 1])[layer]!, all.shape.slice(1)));
    h = graph.segment(() => {
      const normed = rmsNorm(h, norm, 1e-5);
      const probabilities = softmax(matmul(normed, router!));
      said.push(probabilities);
      const { values, indices } = topK(probabilities, 2);
      const { positions } = sortByGroup(reshape(indices, [2 * tokens]), 4);
      const token = integerDivide(positions, 2);
      const weight = gatherRows(reshape(values, [2 * tokens, 1]), positions);
      const [gate, value] = split(groupedMatmul(gatherRows(normed, token), reshape(up!, [4, 3, 6])), 1, [3, 3]);
      return scatterAddRows(groupedMatmul(mul(swiglu(gate!, value!), weight), down), token, tokens, h);
    });
  }
  const loss = reshape(add(reduceSum(square(h), [0, 1]), reduceSum(square(add(said[0]!, said[1]!)), [0, 1])), [1]);
  const [dx, dRouters, dNorm, dExperts, dDown] = gradients(loss, [x, routers, norm, experts, down]);
  return {
    name: "layers",
    inputs: { x, routers, norm, experts, down },
    outputs: { loss, dx: dx!, dRouters: dRouters!, dNorm: dNorm!, dExperts: dExperts!, dDown: dDown! },
  };
}

for (const { name, create } of executors) {
  describe(name, () => {
    test("segments change no bit of a loss and its gradients", async () => {
      const executor = await create();
      const found = [];
      for (const recomputes of [false, true]) {
        const program = layered(recomputes);
        const executable = await executor.compile(program, null);
        found.push(await executable.run(feedsFor(program, randomNumbers(program))));
        executable.dispose();
      }
      assert.deepEqual(found[1], found[0]);
    });

    test("a value that waits is the value to the bit, whatever it waits for", async () => {
      const graph = new Graph();
      const x = graph.input("x", "float32", [5]);
      const first = graph.input("first", "float32", [1, 2]);
      const rows = graph.input("rows", "float32", [graph.symbol("rows"), 3]);
      const waits = add(after(scale(x, 1 / 2), [scale(first, 2), scale(rows, 2)]), graph.zeros([5]));
      const program = { name: "waits", inputs: { x, first, rows }, outputs: { waits } };
      const executable = await (await create()).compile(program, null);
      const values = [2, Number.NaN, Number.POSITIVE_INFINITY, -(2 ** -140), 6e38];
      for (const awaited of [0, -1, Number.NaN, Number.NEGATIVE_INFINITY]) {
        for (const count of [0, 1]) {
          const feeds = { x: values, first: [awaited, 1], rows: new Array<number>(3 * count).fill(awaited) };
          const out = await executable.run(feedsFor(program, feeds));
          const expected = Float32Array.from(values, (value) => Math.fround(value) / 2);
          assert.deepEqual(out.waits, expected, `${count} rows of ${awaited}`);
        }
      }
      executable.dispose();
    });
  });
}

describe("a step of the language model", async () => {
  const weights = await prepared(smallModel, randomWeights(smallModel));
  afterwards(weights.cleanUp);
  const layout = adapterLayout(smallModel, { rank: 2, alpha: 4 });
  const length = 6;

  for (const form of ["factored", "merged", "padded"] as const) {
    for (const clients of [1, 2]) {
      test(`leaves the same bits, ${form}, with ${clients === 1 ? "one client" : "two clients"}`, async () => {
        const draws = new Rng(5).at("tokens").at(clients);
        const rows = Array.from({ length: 2 * clients }, (_, row) => randomTokens(draws, length - (row % 2)));
        const batch = batchNumbers(batchOf(rows, length), smallModel.experts);
        const adapters = Array.from({ length: clients }, (_, client) => [...randomAdapter(layout, client + 1)]).flat();
        const found = [];
        for (const recomputes of [false, true]) {
          const shape = { rows: 2, length, topK: 2, clients };
          const program = stepOf(smallModel, layout, shape, { ...options, form, recomputes });
          const executable = await new OnnxExecutor().compile(program, weights);
          const feeds = { ...randomNumbers(program, 0.01), ...batch, parameters: adapters };
          const inverseCount = new Array<number>(clients === 1 ? 1 : batch.targets.length).fill(batch.inverseCount[0]!);
          found.push(await executable.run(feedsFor(program, { ...feeds, inverseCount })));
          executable.dispose();
        }
        assert.deepEqual(found[1], found[0]);
      });
    }
  }
});

test("a step is taken as it is while it fits, and with its layers computed again where it does not", () => {
  const config = { ...smallModel, layers: 6, width: 16, expertWidth: 32, maxTokens: 64 };
  const task = llmTask({ config, lora: { rank: 2, alpha: 4 }, form: "factored" });
  const [variant, shape] = [{ topK: 3 }, { clients: 1, rows: 2, length: 64 }];
  const step = (memory: number) => fittingStep(task, variant, shape, options, memory);
  const digest = ({ program }: ReturnType<typeof step>) => encodeProgram(program).digest;
  const kept = step(Number.POSITIVE_INFINITY);
  const bytes = stepBytes(kept.program, task, variant, shape);
  assert.equal(kept.tooLarge, null);
  assert.equal(digest(step(bytes)), digest(kept));
  // With a token or two, the optimizer's vectors are most of it.
  const few = { ...shape, rows: 1, length: 2 };
  assert.equal(fittingStep(task, variant, few, options, 0).tooLarge, null);
  const again = step(bytes - 1);
  assert.equal(again.tooLarge, bytes);
  assert.ok(stepBytes(again.program, task, variant, shape) < bytes / 2);
});

/** Positive numbers for every input, the same for inputs of one name. */
function randomNumbers({ inputs }: Program, size = 1): Record<string, number[]> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, { shape }]) => {
      const draws = new Rng(3).at(name).at(0);
      const count = shape.reduce<number>((product, dim) => product * (typeof dim === "number" ? dim : 1), 1);
      return [name, Array.from({ length: count }, () => size * (0.1 + draws.uniform()))];
    }),
  );
}
