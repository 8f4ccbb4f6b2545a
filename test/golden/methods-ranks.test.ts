/** Methods that give clients different ranks, against numbers worked out by other means. Parameters are float32, hence 1e-6 where a rule passes through them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId } from "../../src/base/ids.ts";
import { addProduct, emptySum, matrixOf, squaredProductNorm, triplesOf } from "../../src/fl/low-rank/products.ts";
import { emptyMemory } from "../../src/fl/plan.ts";
import { flexlora } from "../../src/fl/strategies/ranks/flexlora.ts";
import { flora } from "../../src/fl/strategies/ranks/flora.ts";
import { fslora } from "../../src/fl/strategies/ranks/fslora.ts";
import { hetlora } from "../../src/fl/strategies/ranks/hetlora.ts";
import { tailStrength, tailStrengthOf } from "../../src/fl/strategies/ranks/tail-strength.ts";
import { lensOf } from "../../src/tasks/scope.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { mul, reduceSum, scale } from "../../src/tensor/ops/arithmetic.ts";
import { reshape, split } from "../../src/tensor/ops/layout.ts";
import { matmul } from "../../src/tensor/ops/matrix.ts";
import {
  byBudget,
  byColumns,
  byRows,
  factorsIn,
  layoutOfPairs,
  type Matrix,
  product,
  productIn,
  rankedSetting,
  sentBy,
  setFactors,
} from "../support/low-rank.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import { aggregate, serverOf } from "../support/quadratic.ts";
import { interpret } from "../support/reference.ts";

const caseOf = goldensOf("hetlora", "flexlora", "flora", "fslora");

function hetloraCase() {
  const { inputs, expected } = caseOf("hetlora", "aggregate");
  const ranks: number[] = inputs.ranks;
  const shapes = inputs.modules.map(({ B, A }: Json) => ({ outputs: B[0].length, inputs: A[0][0].length }));
  const layout = layoutOfPairs(shapes, Math.max(...ranks));
  const factors = ranks.map((_, client) => {
    const values = new Float64Array(layout.size);
    for (const [at, { B, A }] of inputs.modules.entries()) setFactors(values, layout.pairs[at]!, B[client], A[client]);
    return values;
  });
  return { ranks, layout, factors, expected, modules: inputs.modules };
}

test("HetLoRA: scores, weights, the padded mean and its views", async () => {
  const { ranks, layout, factors, expected, modules } = hetloraCase();
  const setting = rankedSetting(layout, ranks);
  const strategy = hetlora({ ...byBudget(ranks), prune: false, lambda: 0 });
  const updates = ranks.map((rank, client) => sentBy(strategy, client, rank, factors[client]!, setting));
  const scores = updates.map((update) => strategy.weight(update, 0, layout));
  close(scores, expected.scores, 1e-12);
  const total = scores.reduce((sum, score) => sum + score, 0);
  close(
    scores.map((score) => score / total),
    expected.weights,
    1e-12,
  );
  const server = serverOf(strategy, new Float32Array(layout.size), setting);
  const { parameters } = await aggregate(strategy, server, updates, setting);
  for (const [at, pair] of layout.pairs.entries()) {
    const { A, B } = factorsIn(parameters, pair);
    close(A.flat(), expected.modules[at].A.flat());
    close(B.flat(), expected.modules[at].B.flat());
    for (const [rank, view] of Object.entries<Json>(expected.views[at])) {
      const seen = factorsIn(parameters, pair, Number(rank));
      close(seen.A.flat(), view.A.flat());
      close(seen.B.flat(), view.B.flat());
    }
    // The merged product misses the ideal one by exactly the covariance of the factors.
    const { idealProduct, covariance } = expected.identity[at];
    const ideal = emptySum(pair);
    for (const [client] of ranks.entries()) addProduct(ideal, factors[client]!, pair, expected.weights[client]);
    close(byRows(matrixOf(ideal), pair), idealProduct.flat(), 1e-12);
    const merged = product(expected.modules[at].B, expected.modules[at].A).flat();
    close(
      merged.map((value, i) => byRows(matrixOf(ideal), pair)[i]! - value),
      covariance.flat(),
      1e-12,
    );
    assert.equal(modules.length, layout.pairs.length);
  }
});

test("HetLoRA: the tail's strength, and its gradient, also for several clients in a call", () => {
  const { ranks, layout, factors } = hetloraCase();
  const strengths = caseOf("hetlora", "tail strength");
  const { gamma } = strengths.inputs;
  const tails = ranks.map((rank) => ({ from: Math.floor(gamma * rank), until: rank }));
  close(
    tails.map((tail, client) => tailStrength(factors[client]!, layout, tail)),
    strengths.expected.tau,
    1e-12,
  );
  const graph = new Graph();
  const clients = ranks.length;
  const inputs = {
    parameters: graph.input("parameters", "float32", [clients, layout.size]),
    from: graph.input("from", "float32", [clients, 1]),
    until: graph.input("until", "float32", [clients, 1]),
  };
  const tau = tailStrengthOf(inputs.parameters, layout, inputs);
  const outputs = { tau, gradient: gradients(reduceSum(tau, [0], true), [inputs.parameters])[0]! };
  const found = interpret(
    { name: "tail", inputs, outputs },
    {
      parameters: factors.flatMap((values) => [...values]),
      from: tails.map(({ from }) => from),
      until: tails.map(({ until }) => until),
    },
  );
  close(found.tau!, strengths.expected.tau, 1e-12);
  const { expected } = caseOf("hetlora", "gradient of tau, client 0, module 0");
  const { A, B } = factorsIn(found.gradient!, layout.pairs[0]!, ranks[0]);
  close(A.flat(), expected.A.flat(), 1e-12);
  close(B.flat(), expected.B.flat(), 1e-12);
});

for (const scaled of ["classic", "constant"] as const) {
  test(`FlexLoRA, scale ${scaled}: the mean of products, its singular values, and what each rank is left with`, async () => {
    const { inputs, expected } = caseOf("flexlora", `scale ${scaled}`);
    const { ranks, n, scales, B, A } = inputs;
    const [outputs, width] = [B[0].length, A[0][0].length];
    const full = Math.min(outputs, width);
    const alpha = scaled === "classic" ? scales[0] * ranks[0] : scales[0] * full;
    const layout = layoutOfPairs([{ outputs, inputs: width }], full, alpha / full);
    const [pair] = layout.pairs as [(typeof layout.pairs)[0]];
    const factors = ranks.map((_: number, client: number) => {
      const values = new Float64Array(layout.size);
      setFactors(values, pair, B[client], A[client]);
      return values;
    });
    const all = n.reduce((sum: number, own: number) => sum + own, 0);
    const sum = emptySum(pair);
    for (const [client, values] of factors.entries()) {
      addProduct(sum, values, pair, (n[client] / all) * scales[client], ranks[client]);
    }
    close(byRows(matrixOf(sum), pair), expected.product.flat(), 1e-12);
    const { sigma, left, right } = triplesOf(sum, full);
    close(sigma, expected.singularValues.slice(0, sigma.length), 1e-12);
    for (const [rank, error] of Object.entries<number>(expected.errorAtRank)) {
      const cut = { ...emptySum(pair), left: left.slice(0, Number(rank)), right: right.slice(0, Number(rank)) };
      const missed = byRows(matrixOf(cut), pair).map((value, i) => value - expected.product.flat()[i]);
      close(
        missed,
        expected.product.flat().map((value: number, i: number) => expected.scaledProductAtRank[rank].flat()[i] - value),
        1e-10,
      );
      close([Math.hypot(...missed)], [error], 1e-10);
    }
    // Through the strategy: what a client of each rank, and a deployment, make of the server's factors.
    const setting = rankedSetting(layout, [...ranks, full]);
    const strategy = flexlora({ ...byBudget(setting.budgets), scale: scaled });
    const updates = factors.map((values: Float64Array, client: number) =>
      sentBy(strategy, client, ranks[client], values, setting, { examples: n[client] }),
    );
    const server = serverOf(strategy, new Float32Array(layout.size), setting);
    const next = await aggregate(strategy, server, updates, setting);
    const view = {
      client: clientId(0),
      examples: 1,
      round: 2 as never,
      memory: emptyMemory,
      draws: setting.draws,
      participation: participationId(0),
    };
    for (const rank of ranks) {
      const plan = strategy.plan!({ ...view, budget: rank }, next, setting);
      const lens = plan.scope?.components?.scale ?? 1;
      const seen = productIn(plan.start ?? next.parameters, pair, rank).flat();
      close(
        seen.map((value) => pair.scale * lens * value),
        expected.scaledProductAtRank[rank].flat(),
      );
      const [model] = strategy.deploy!(rank, next, setting).models;
      close(
        productIn(model.parameters, pair, rank)
          .flat()
          .map((value) => pair.scale * value),
        expected.scaledProductAtRank[rank].flat(),
      );
    }
  });
}

test("FLoRA: stacks add up to the products of all ranks, over two rounds, and are charged as such", async () => {
  for (const title of ["round 1", "round 2"]) {
    const { inputs, expected } = caseOf("flora", title);
    const { n, scales, B, A } = inputs;
    const ranks: number[] = A.map((rows: Matrix) => rows.length);
    const [outputs, width] = [B[0].length, A[0][0].length];
    const layout = layoutOfPairs([{ outputs, inputs: width }], Math.max(...ranks));
    const [pair] = layout.pairs as [(typeof layout.pairs)[0]];
    const all = n.reduce((sum: number, own: number) => sum + own, 0);
    // The stack itself: the weight lies on A, once.
    const stack = emptySum(pair);
    for (const [client, rank] of ranks.entries()) {
      const values = new Float64Array(layout.size);
      setFactors(values, pair, B[client], A[client]);
      // Each apart: together they are more than the matrix is wide.
      const own = emptySum(pair);
      addProduct(own, values, pair, (n[client] / all) * scales[client], rank);
      stack.left.push(...own.left);
      stack.right.push(...own.right);
    }
    close(
      stack.right.flatMap((row) => [...row]),
      expected.stackA.flat(),
      1e-12,
    );
    for (const [q, column] of stack.left.entries()) {
      close(
        column,
        expected.stackB.map((row: number[]) => row[q]),
        1e-12,
      );
    }
    // The strategy: scales of clients are theirs by the lens of their plan.
    const setting = rankedSetting(layout, ranks);
    const strategy = flora(byBudget(ranks));
    const fresh = serverOf(strategy, new Float32Array(layout.size), setting);
    const delta = Float32Array.from(byColumns(inputs.delta.flat(), pair));
    const server = { ...fresh, vectors: { ...fresh.vectors, delta } };
    const updates = ranks.map((rank, client) => {
      const values = new Float64Array(layout.size);
      setFactors(values, pair, B[client], A[client]);
      const plan = {
        kind: { variant: {} },
        scope: { components: { first: rank, scale: scales[client] } },
      };
      return sentBy(strategy, client, rank, values, setting, { examples: n[client], plan });
    });
    const next = await aggregate(strategy, server, updates, setting);
    close(byRows(next.vectors.delta!, pair), expected.delta.flat());
    const view = {
      client: clientId(0),
      examples: 1,
      round: 2 as never,
      memory: emptyMemory,
      draws: setting.draws,
      participation: participationId(0),
    };
    const plans = ranks.map((rank) => strategy.plan!({ ...view, budget: rank }, next, setting));
    assert.deepEqual(
      plans.map(({ bytes }) => bytes!.up! / 4),
      expected.scalars.upload,
    );
    for (const { bytes } of plans) assert.equal(bytes!.down! / 4, expected.scalars.download);
  }
});

test("FSLoRA: the mean of scattered changes, and the gradient of a sketched adapter", async () => {
  const { inputs, expected } = caseOf("fslora", "aggregate");
  const { B, A, indexSets, dB, dA, n } = inputs;
  const layout = layoutOfPairs([{ outputs: B.length, inputs: A[0].length }], A.length);
  const [pair] = layout.pairs as [(typeof layout.pairs)[0]];
  const base = new Float64Array(layout.size);
  setFactors(base, pair, B, A);
  const setting = rankedSetting(layout, [A.length]);
  for (const [weighting, wanted] of [
    ["uniform", expected.uniform],
    ["examples", expected.bySize],
  ] as const) {
    const strategy = fslora({ weighting });
    const updates = indexSets.map((of: number[], client: number) => {
      const values = base.slice();
      for (const [at, q] of of.entries()) {
        for (const [i, change] of dA[client][at].entries()) values[pair.a + q * pair.inputs + i]! += change;
        for (const [row, changes] of dB[client].entries()) values[pair.b + row * pair.rank + q]! += changes[at];
      }
      const plan = { kind: { variant: {} }, scope: { components: { of, scale: A.length / of.length } } };
      return sentBy(strategy, client, A.length, values, setting, { base, examples: n[client], plan });
    });
    const { parameters } = await aggregate(strategy, serverOf(strategy, base, setting), updates, setting);
    const found = factorsIn(parameters, pair);
    close(found.A.flat(), wanted.A.flat());
    close(found.B.flat(), wanted.B.flat());
  }
  const sketched = caseOf("fslora", "gradient of loss(W0 + s B S A) given G = dLoss/dW");
  const { G, scale: s, indexSet, sketch } = sketched.inputs;
  setFactors(base, pair, sketched.inputs.B, sketched.inputs.A);
  const lens = lensOf(layout, { components: { of: indexSet, scale: sketch } });
  const graph = new Graph();
  const vector = (name: string) => graph.input(name, "float32", [layout.size]);
  const fed = { parameters: vector("parameters"), lens: vector("lens") };
  const [partA, partB] = split(mul(fed.parameters, fed.lens), 0, [pair.b, layout.size - pair.b]);
  const change = matmul(reshape(partB!, [pair.outputs, pair.rank]), reshape(partA!, [pair.rank, pair.inputs]));
  const slope = graph.constant(G.flat(), [pair.outputs, pair.inputs]);
  const loss = scale(reduceSum(reshape(mul(change, slope), [G.flat().length]), [0], true), s);
  const { gradient } = interpret(
    { name: "sketch", inputs: fed, outputs: { gradient: gradients(loss, [fed.parameters])[0]! } },
    { parameters: base, lens },
  );
  const found = factorsIn(gradient!, pair);
  // Inside the sketch; outside, the step holds B's gradient back, which a zero of A's lens makes zero anyway.
  close(found.A.flat(), sketched.expected.A.flat(), 1e-12);
  close(found.B.flat(), sketched.expected.B.flat(), 1e-12);
});

test("FSLoRA: over all index sets the sketch is unbiased, with the variance of its formula", () => {
  const { inputs, expected } = caseOf("fslora", "all index sets");
  const { rank, size, B, A } = inputs;
  const layout = layoutOfPairs([{ outputs: B.length, inputs: A[0].length }], rank);
  const [pair] = layout.pairs as [(typeof layout.pairs)[0]];
  const values = new Float64Array(layout.size);
  setFactors(values, pair, B, A);
  const sets: number[][] = [];
  for (let mask = 0; mask < 2 ** rank; mask++) {
    const of = [...Array(rank).keys()].filter((q) => (mask >> q) & 1);
    if (of.length === size) sets.push(of);
  }
  const products = sets.map((of) => {
    const lens = lensOf(layout, { components: { of, scale: rank / size } });
    return productIn(
      values.map((value, i) => value * lens[i]!),
      pair,
    ).flat();
  });
  const mean = products[0]!.map((_, i) => products.reduce((sum, one) => sum + one[i]! / sets.length, 0));
  close(mean, expected.meanProduct.flat(), 1e-6);
  const spread = products.reduce(
    (sum, one) => sum + one.reduce((square, value, i) => square + (value - mean[i]!) ** 2, 0) / sets.length,
    0,
  );
  close([spread], expected.variance, 1e-6);
});

test("the norm of a product without the product", () => {
  const { layout, factors } = hetloraCase();
  for (const values of factors) {
    for (const pair of layout.pairs) {
      const square = productIn(values, pair)
        .flat()
        .reduce((sum, value) => sum + value * value, 0);
      close([squaredProductNorm(values, pair)], square, 1e-12);
    }
  }
});
