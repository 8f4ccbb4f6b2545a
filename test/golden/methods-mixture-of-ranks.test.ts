/** Ranks as experts, against numbers worked out by other means, and against what they reduce to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { balanceLoss, mixtureOfRanks } from "../../src/fl/strategies/ranks/mixture-of-ranks.ts";
import { initialRanks, type RankChoice, rankedChanges, ranksLayout } from "../../src/tasks/ranks.ts";
import { scalarsOf } from "../../src/tasks/scope.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { reshape } from "../../src/tensor/ops/layout.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import { aggregate, serverOf, settingOf, updateOf } from "../support/quadratic.ts";
import { interpret } from "../support/reference.ts";

const caseOf = goldensOf("mixture-of-ranks");

const column = (matrix: number[][], at: number): number[] => matrix.map((row) => row[at]!);
const product = (matrix: number[][], x: number[]): number[] =>
  matrix.map((row) => row.reduce((sum, value, i) => sum + value * x[i]!, 0));

/** The change of one product for each input, A, B and router as the files give them. */
function changeOf(choice: Omit<RankChoice, "clients" | "scale">, { A, B, routerWeight, routerBias, x, s }: Json) {
  const [rows, inputs, outputs] = [x.length, x[0].length, B.length];
  const flat = [
    ...A.flat(),
    ...A.flatMap((_: unknown, rank: number) => column(B, rank)),
    ...(routerWeight ?? []).flatMap((row: number[], at: number) => [...row, routerBias[at]]),
  ];
  const graph = new Graph();
  const given = {
    parameters: graph.input("parameters", "float32", [flat.length]),
    degradation: graph.input("degradation", "float32", [rows, s[0].length]),
    x: graph.input("x", "float32", [rows, inputs]),
  };
  const products = [{ name: "W", inputs, outputs }];
  const [change] = rankedChanges({ ...choice, scale: 1, clients: 1 }, products, given.parameters, given.degradation);
  const outputsOf = { y: change!.of(reshape(given.x, [rows, 1, inputs])), ...change!.routing };
  const { routed: _, ...tensors } = outputsOf as typeof outputsOf & { routed?: number };
  return interpret(
    { name: "change", inputs: given, outputs: tensors },
    { parameters: flat, degradation: s.flat(), x: x.flat() },
  );
}

test("Mixture of Ranks: gates, what is chosen, and what comes out, with both norms", () => {
  const { inputs, expected } = caseOf("mixture-of-ranks", "forward");
  const { shared, routed, zero, topK: most, W, x } = inputs;
  for (const gateNorm of ["topk", "none"] as const) {
    const found = changeOf({ ranks: { shared, routed, zero }, most, gateNorm }, inputs);
    close(found.probabilities!, expected.gate.flat(), 1e-12);
    const chosen = expected.selected.flatMap((own: number[]) =>
      expected.gate[0].map((_: number, i: number) => Number(own.includes(i))),
    );
    assert.deepEqual([...found.selected!], chosen);
    const whole = x
      .flatMap((input: number[]) => product(W, input))
      .map((value: number, i: number) => value + found.y![i]!);
    close(whole, expected.y[gateNorm].flat(), 1e-12);
  }
});

test("Mixture of Ranks: all ranks shared, or none routed away and gates of one, is plain LoRA", () => {
  const { inputs } = caseOf("mixture-of-ranks", "forward");
  const { A, B, x, s } = inputs;
  const plain = x.flatMap((input: number[]) => product(B, product(A, input)));
  const none = { ranks: { shared: A.length, routed: 0, zero: 0 }, most: 1, gateNorm: "topk" } as const;
  close(changeOf(none, { A, B, x, s }).y!, plain, 1e-12);
  // Equal gates 1/N of all N: N times them is one each.
  const even = { routerWeight: A.map(() => s[0].map(() => 0)), routerBias: A.map(() => 0) };
  const all = { ranks: { shared: 0, routed: A.length, zero: 0 }, most: A.length + 5, gateNorm: "none" } as const;
  const scaled = B.map((row: number[]) => row.map((value) => value * A.length));
  close(changeOf(all, { A, B: scaled, x, s, ...even }).y!, plain, 1e-12);
});

test("Mixture of Ranks: where only zero slots are chosen the change is that of the shared ranks", () => {
  const { inputs } = caseOf("mixture-of-ranks", "forward");
  const { A, B, x, s, shared, routed, zero } = inputs;
  const routerBias = [...new Array(routed).fill(0), ...new Array(zero).fill(50)];
  const choice = { ranks: { shared, routed, zero }, most: 1, gateNorm: "topk" } as const;
  const found = changeOf(choice, { ...inputs, routerBias });
  const own = B.map((row: number[]) => row.slice(0, shared));
  close(
    found.y!,
    x.flatMap((input: number[]) => product(own, product(A.slice(0, shared), input))),
    1e-12,
  );
  assert.equal(s.length * zero, found.selected!.filter((is) => is === 1).length);
});

test("Mixture of Ranks: what is chosen follows degradation alone, not what an input shows", () => {
  const { inputs } = caseOf("mixture-of-ranks", "forward");
  const { shared, routed, zero, topK: most, x, s } = inputs;
  const choice = { ranks: { shared, routed, zero }, most, gateNorm: "topk" } as const;
  const same = { ...inputs, s: s.map(() => s[0]) };
  const [straight, reversed] = [changeOf(choice, same), changeOf(choice, { ...same, x: x.toReversed() })];
  assert.deepEqual(reversed.selected, straight.selected);
  assert.notDeepEqual(reversed.y, straight.y);
});

/** L and its slope in p, of f and p as they stand: one input whose chosen candidates are f. */
function balanced(f: number[], p: number[], sbar: number, real: number, penalty: "batch" | "input" | "even" = "batch") {
  const graph = new Graph();
  const inputs = {
    p: graph.input("p", "float32", [1, p.length]),
    f: graph.input("f", "float32", [1, f.length]),
    severity: graph.input("severity", "float32", [1, 1]),
    present: graph.input("present", "float32", [1, 1]),
  };
  const pass = { probabilities: inputs.p, selected: inputs.f, routed: real };
  const loss = balanceLoss(pass, inputs.severity, inputs.present, penalty);
  const outputs = { loss, gradient: gradients(loss, [inputs.p])[0]! };
  return interpret({ name: "balance", inputs, outputs }, { p, f, severity: [sbar], present: [1] });
}

test("Mixture of Ranks: the balance loss and its slope in p; by hand .01, .00875 and .0075, collapsed .04", () => {
  const { inputs, expected } = caseOf("mixture-of-ranks", "balance loss");
  const { f, p, alpha, sbar, real } = inputs;
  for (const penalty of ["batch", "input"] as const) {
    const { loss, gradient } = balanced(f, p, sbar, real, penalty);
    close([alpha * loss![0]!], expected.loss, 1e-12);
    close(
      gradient!.map((slope) => alpha * slope),
      expected.gradientOfP,
      1e-12,
    );
  }
  const hand = caseOf("mixture-of-ranks", "by hand");
  const even = hand.inputs;
  for (const [own, wanted] of Object.entries(hand.expected)) {
    close([even.alpha * balanced(even.f, even.p, Number(own), even.real).loss![0]!], wanted as number, 1e-12);
    close([even.alpha * balanced(even.f, even.p, Number(own), even.real, "even").loss![0]!], hand.expected[1], 1e-12);
  }
  close([even.alpha * balanced([1, 0, 0, 0], [1, 0, 0, 0], 0.3, 3).loss![0]!], 0.04, 1e-12);
  close([even.alpha * balanced([0, 0, 0, 1], [0, 0, 0, 1], 0.3, 3).loss![0]!], 0.04 * 0.3, 1e-12);
});

test("Mixture of Ranks: s̄ of each input differs from that of the batch where p does, and absent rows say nothing", () => {
  const graph = new Graph();
  const inputs = {
    p: graph.input("p", "float32", [3, 2]),
    f: graph.input("f", "float32", [3, 2]),
    severity: graph.input("severity", "float32", [3, 1]),
    present: graph.input("present", "float32", [3, 1]),
  };
  const pass = { probabilities: inputs.p, selected: inputs.f, routed: 1 };
  const outputs = {
    batch: balanceLoss(pass, inputs.severity, inputs.present, "batch"),
    input: balanceLoss(pass, inputs.severity, inputs.present, "input"),
  };
  const feeds = { p: [0.2, 0.8, 0.6, 0.4, 9, 9], f: [0, 1, 1, 0, 1, 0], severity: [0.9, 0.1, 9], present: [1, 1, 0] };
  const found = interpret({ name: "balance", inputs, outputs }, feeds);
  // N·(½·mean p_1 + ½·mean s̄p_2), and with s̄ the mean 0.5.
  close(found.input!, 2 * (0.5 * 0.4 + 0.5 * ((0.9 * 0.8 + 0.1 * 0.4) / 2)), 1e-12);
  close(found.batch!, 2 * (0.5 * 0.4 + 0.5 * 0.5 * 0.6), 1e-12);
});

test("Mixture of Ranks: zero slots hold nothing but their rows of the router", () => {
  const products = [
    { name: "a", inputs: 5, outputs: 4 },
    { name: "b", inputs: 3, outputs: 7 },
  ];
  const scores = 2;
  for (const zero of [0, 1, 4]) {
    const layout = ranksLayout(products, { shared: 2, routed: 3, zero }, scores, 1);
    const factors = (2 + 3) * (5 + 4 + 3 + 7);
    assert.equal(layout.size, factors + products.length * (3 + zero) * (scores + 1));
    // A product has its shared ranks, three routed ones and a router.
    assert.equal(layout.groups.length, products.length * 5);
    assert.deepEqual(layout.routedRanks, [0, 1, 2, 3, 4, 5]);
    const covered = layout.groups.flatMap(({ ranges }) => ranges).reduce((sum, { start, end }) => sum + end - start, 0);
    assert.equal(covered, layout.size);
    const ofRank = scalarsOf(layout, { groups: [0] });
    assert.equal(ofRank, 5 + 4);
    const initial = initialRanks(products, { shared: 2, routed: 3, zero }, scores, (at) =>
      new Rng(1).at("ranks").at(at),
    );
    assert.equal(initial.length, layout.size);
    for (const { b, outputs } of layout.pairs) assert.ok(initial.slice(b, b + outputs).every((value) => value === 0));
  }
});

const small = ranksLayout([{ name: "W", inputs: 2, outputs: 3 }], { shared: 1, routed: 2, zero: 1 }, 1, 1);
const setting = settingOf(small);

/** What a client of `examples` sends whose ranks were chosen so often. */
function sentBy(
  client: number,
  examples: number,
  chosen: readonly [number, number],
  base: Float32Array,
  own: Float32Array,
) {
  const counts = Float64Array.from([...chosen, examples, examples]);
  const trained = Uint8Array.from(counts, (count) => Number(count > 0));
  const values = own.slice();
  for (const [group, { ranges }] of small.groups.entries())
    if (trained[group] === 0) for (const { start, end } of ranges) values.set(base.subarray(start, end), start);
  return updateOf(base, values, { client: clientId(client), examples, counts, trained });
}

test("Mixture of Ranks: a routed rank is averaged by who chose it, all else by examples; nobody's rank rests", async () => {
  const draws = new Rng(3).at("values").at(0);
  const vector = () => Float32Array.from({ length: small.size }, () => draws.normal());
  const [base, first, second] = [vector(), vector(), vector()];
  const updates = (strategy: ReturnType<typeof mixtureOfRanks>, chosen: readonly (readonly [number, number])[]) =>
    chosen.map((own, client) => {
      const update = sentBy(client, [10, 30][client]!, own, base, [first, second][client]!);
      const view = { examples: update.examples } as Parameters<NonNullable<typeof strategy.reply>>[2];
      return { ...update, ...strategy.reply!({ ...update, found: {} }, update.plan, view, setting) };
    });
  const mean = (group: number, weights: readonly number[], got: Float32Array) => {
    const total = weights[0]! + weights[1]!;
    for (const { start, end } of small.groups[group]!.ranges) {
      const wanted = Array.from({ length: end - start }, (_, i) =>
        total === 0 ? base[start + i]! : (weights[0]! * first[start + i]! + weights[1]! * second[start + i]!) / total,
      );
      close(got.slice(start, end), wanted);
    }
  };
  for (const [routedWeights, ofRouted] of [
    ["counts", [4, 16]],
    ["examples", [10, 30]],
  ] as const) {
    const strategy = mixtureOfRanks({ routedWeights });
    const server = serverOf(strategy, base, setting);
    const sent = updates(strategy, [
      [4, 0],
      [16, 0],
    ]);
    const { parameters, notes } = await aggregate(strategy, server, sent, setting);
    mean(0, ofRouted, parameters);
    mean(1, [0, 0], parameters);
    mean(2, [10, 30], parameters);
    mean(3, [10, 30], parameters);
    assert.deepEqual(parameters.slice(...bounds(1)), base.slice(...bounds(1)), "bit for bit");
    assert.deepEqual(notes, { idle: [0, 1], trained: { 0: 1, 1: 1 } });
    const { parameters: alone } = await aggregate(
      strategy,
      server,
      updates(strategy, [
        [4, 1],
        [0, 0],
      ]),
      setting,
    );
    mean(0, [1, 0], alone);
  }
});

const bounds = (group: number): [number, number] => [
  small.groups[group]!.ranges[0]!.start,
  small.groups[group]!.ranges[0]!.end,
];

test("Mixture of Ranks: merged as products, a rank is the best rank one of the mean of B·A", async () => {
  const draws = new Rng(4).at("values").at(0);
  const vector = () => Float32Array.from({ length: small.size }, () => draws.normal());
  const [base, first, second] = [vector(), vector(), vector()];
  const strategy = mixtureOfRanks({ merge: "products" });
  const weights = Float64Array.from([3, 5, 10, 10]);
  const sent = [first, second].map((values, client) =>
    updateOf(base, values, { client: clientId(client), sent: { weights: weights.map((w) => w * (1 + client)) } }),
  );
  const { parameters } = await aggregate(strategy, serverOf(strategy, base, setting), sent, setting);
  const outer = (values: Float32Array, { a, b }: (typeof small.pairs)[number]) =>
    [0, 1, 2].flatMap((row) => [0, 1].map((col) => values[b + row]! * values[a + col]!));
  for (const pair of small.pairs) {
    const mean = outer(first, pair).map((value, i) => (value + 2 * outer(second, pair)[i]!) / 3);
    const got = outer(parameters, pair);
    const error = (of: number[]) => Math.hypot(...mean.map((value, i) => value - of[i]!));
    // The smaller singular value of the 3×2 mean is what no rank one can have: σ₁² + σ₂² = ‖M‖², σ₁σ₂ = √det MᵀM.
    const dot = (i: number, j: number) =>
      [0, 1, 2].reduce((sum, row) => sum + mean[2 * row + i]! * mean[2 * row + j]!, 0);
    const [trace, det] = [dot(0, 0) + dot(1, 1), dot(0, 0) * dot(1, 1) - dot(0, 1) ** 2];
    const smaller = Math.sqrt((trace - Math.sqrt(trace * trace - 4 * det)) / 2);
    close([error(got)], smaller, 1e-5);
  }
  const same = [first, first].map((values, client) =>
    updateOf(base, values, { client: clientId(client), sent: { weights } }),
  );
  const { parameters: agreed } = await aggregate(strategy, serverOf(strategy, base, setting), same, setting);
  for (const pair of small.pairs) close(outer(agreed, pair), outer(first, pair));
});
