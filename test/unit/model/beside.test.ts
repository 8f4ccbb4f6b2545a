/** Adapters beside the experts: they start as nothing, and have the slopes of their own loss, all in float64. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { besideLayers, besideLayout, initialBeside } from "../../../src/model/beside.ts";
import { gradients } from "../../../src/tensor/autodiff.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { cast, mul, reduceSum } from "../../../src/tensor/ops/arithmetic.ts";
import { interpret } from "../../support/reference.ts";
import { smallModel } from "../../support/small-model.ts";

const config = { ...smallModel, layers: 2 };
const pool = { experts: 4, width: 3 };
const layout = besideLayout(config, pool);
const tokens = 5;
/** The last token of each client is padding. */
const padding = (clients: number) =>
  Array.from({ length: clients * tokens }, (_, token) => (token % tokens === tokens - 1 ? config.experts : 0));

const numbers = (name: string, length: number) => {
  const draws = new Rng(3).at(name).at(0);
  return Array.from({ length }, () => 0.7 * draws.normal());
};

/** Σ of the outputs of both layers' pools times random numbers, for one client or several. */
function program(kept: number, renormalise: boolean, clients = 1) {
  const graph = new Graph();
  const rows = clients * tokens;
  const inputs = {
    parameters: graph.input("parameters", "float32", clients === 1 ? [layout.size] : [clients, layout.size]),
    x: graph.input("x", "float32", [rows, config.width]),
    onto: graph.input("onto", "float32", [rows, config.width]),
    padding: graph.input("padding", "int32", [rows]),
  };
  const pools = besideLayers({ layout, clients, kept, renormalise }, inputs.parameters, inputs.padding);
  const [first, second] = pools.map((layer) => layer(inputs.x));
  const loss = reduceSum(mul(mul(first!.output, second!.output), inputs.onto), [0, 1], false);
  const outputs = {
    loss,
    output: first!.output,
    counts: cast(first!.counts, "float32"),
    gradient: gradients(loss, [inputs.parameters])[0]!,
  };
  return { name: "beside", inputs, outputs };
}

const feedsOf = (clients: number) => ({
  parameters: numbers("parameters", clients * layout.size),
  x: numbers("x", clients * tokens * config.width),
  onto: numbers("onto", clients * tokens * config.width),
  padding: padding(clients),
});

/** The output of the first layer's pool by the formula, and how often each expert was kept. */
function plainly(parameters: readonly number[], x: readonly number[], kept: number, renormalise: boolean) {
  const { width: d } = config;
  const of = (name: Parameters<typeof layout.range>[0], expert: number) => {
    const { start, end } = layout.range(name, expert);
    return parameters.slice(start, end);
  };
  const counts = new Array<number>(pool.experts).fill(0);
  const output = Array.from({ length: tokens }, (_, token) => {
    const at = x.slice(token * d, (token + 1) * d);
    const dot = (row: readonly number[]) => row.reduce((sum, value, i) => sum + value * at[i]!, 0);
    const logits = counts.map((_, expert) => dot(of("router", expert)));
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    const p = logits.map((logit) => Math.exp(logit) / total);
    const chosen = [...p.keys()].sort((a, b) => p[b]! - p[a]!).slice(0, kept);
    const sum = renormalise ? chosen.reduce((all, expert) => all + p[expert]!, 0) : 1;
    const y = of("downBias", 0).map(() => 0);
    for (const expert of chosen) {
      if (token < tokens - 1) counts[expert]!++;
      const [up, down, bias] = [of("up", expert), of("down", expert), of("downBias", expert)];
      const hidden = of("upBias", expert).map((u, unit) => {
        const z = u + dot(up.slice(unit * d, (unit + 1) * d));
        return z / (1 + Math.exp(-z));
      });
      for (let i = 0; i < d; i++) {
        const value = hidden.reduce((all, h, unit) => all + h * down[unit * d + i]!, bias[i]!);
        y[i]! += (p[expert]! / sum) * value;
      }
    }
    return y;
  });
  return { output: output.flat(), counts };
}

test("the layout covers the vector once", () => {
  const seen = new Uint8Array(layout.size);
  for (let expert = 0; expert < config.layers * pool.experts; expert++) {
    for (const { name } of layout.blocks) {
      const { start, end } = layout.range(name, expert);
      for (let i = start; i < end; i++) seen[i]!++;
    }
  }
  assert.ok(seen.every((times) => times === 1));
  // Per layer M·(2dh + h + d) for the experts and M·d for the router.
  const { experts, width: h } = pool;
  const d = config.width;
  assert.equal(layout.size, config.layers * (experts * (2 * d * h + h + d) + experts * d));
});

for (const [kept, renormalise] of [
  [1, false],
  [2, true],
  [2, false],
  [4, true],
] as const) {
  const says = `${kept} kept, ${renormalise ? "renormalised" : "raw"}:`;

  test(`${says} a pool is what its formula says`, () => {
    const feeds = feedsOf(1);
    const found = interpret(program(kept, renormalise), feeds);
    const expected = plainly(feeds.parameters, feeds.x, kept, renormalise);
    assertClose(found.output!, expected.output, 1e-12);
    assertClose(found.counts!, expected.counts, 0);
  });

  test(`${says} gradients are the slopes of the loss`, () => {
    const feeds = feedsOf(1);
    const run = program(kept, renormalise);
    const { gradient } = interpret(run, feeds);
    const lossAlone = { ...run, outputs: { loss: run.outputs.loss } };
    // Central differences of a smooth function: the error is of the order of h² and of 1e-16 ÷ h. No choice is that close.
    const h = 1e-5;
    // Every third parameter, which is some of each block of each expert.
    for (let i = 0; i < layout.size; i += 3) {
      const at = (step: number) => {
        const parameters = feeds.parameters.with(i, feeds.parameters[i]! + step);
        return interpret(lossAlone, { ...feeds, parameters }).loss![0]!;
      };
      const slope = (at(h) - at(-h)) / (2 * h);
      assert.ok(Math.abs(slope - gradient![i]!) <= 1e-7, `parameter ${i}: slope ${slope}, gradient ${gradient![i]}`);
    }
  });
}

test("experts that no token keeps have no gradient, and a single renormalised weight teaches the router nothing", () => {
  const feeds = feedsOf(1);
  // Expert 3 of the first layer never wins: its row of the router is far from the tokens' side.
  const { start, end } = layout.range("router", 3);
  const mean = Array.from({ length: config.width }, (_, i) => {
    return feeds.x.reduce((sum, value, at) => (at % config.width === i ? sum + value : sum), 0);
  });
  for (let i = start; i < end; i++) feeds.parameters[i] = -1e3 * mean[i - start]!;
  for (const renormalise of [true, false]) {
    const { gradient, counts } = interpret(program(1, renormalise), feeds);
    for (const expert of [0, 1, 2, 3]) {
      const own = (["up", "upBias", "down", "downBias"] as const).flatMap((name) => {
        const range = layout.range(name, expert);
        return [...gradient!.subarray(range.start, range.end)];
      });
      if (counts![expert] === 0)
        assert.ok(
          own.every((g) => g === 0),
          `expert ${expert}`,
        );
      const router = layout.range("router", expert);
      const pulls = gradient!.subarray(router.start, router.end);
      if (renormalise)
        assert.ok(
          pulls.every((g) => Math.abs(g) < 1e-12),
          `router of expert ${expert}`,
        );
    }
    assert.ok(gradient!.some((g) => g !== 0));
  }
});

test("a new pool adds nothing", () => {
  const parameters = initialBeside(layout, new Rng(1));
  assert.ok(parameters.some((value) => value !== 0));
  const { output } = interpret(program(2, true), { ...feedsOf(1), parameters });
  assert.ok(output!.every((value) => value === 0));
});

test("clients that share a call have what each has alone", () => {
  const clients = 3;
  const feeds = feedsOf(clients);
  const together = interpret(program(2, true, clients), feeds);
  for (let client = 0; client < clients; client++) {
    const part = (values: readonly number[]) => {
      const size = values.length / clients;
      return values.slice(client * size, (client + 1) * size);
    };
    const own = {
      parameters: part(feeds.parameters),
      x: part(feeds.x),
      onto: part(feeds.onto),
      padding: part(feeds.padding),
    };
    const alone = interpret(program(2, true), own);
    assertClose(part([...together.output!]), [...alone.output!], 1e-12);
    assertClose(part([...together.gradient!]), [...alone.gradient!], 1e-12);
    const counts = [0, 1, 2, 3].map((expert) => together.counts![expert * clients + client]!);
    assertClose(counts, [...alone.counts!], 0);
  }
});

function assertClose(got: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  assert.equal(got.length, expected.length);
  for (const [i, value] of expected.entries()) {
    assert.ok(Math.abs(got[i]! - value) <= tolerance, `value ${i} is ${got[i]}, expected ${value}`);
  }
}
