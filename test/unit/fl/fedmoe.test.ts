/** FedMoE: which experts a client holds, who is heard about an expert, and whose advice counts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { clientId, participationId, round as roundOf } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { loadBalance, smoothed } from "../../../src/fl/experts/losses.ts";
import { adviceFor, advised, fits, largestWithin } from "../../../src/fl/experts/sub-models.ts";
import type { ClientMemory, Plan } from "../../../src/fl/plan.ts";
import { fedmoe } from "../../../src/fl/strategies/fedmoe.ts";
import { flame } from "../../../src/fl/strategies/flame.ts";
import type { ServerState } from "../../../src/fl/strategy.ts";
import { gradients } from "../../../src/tensor/autodiff.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { reduceSum, scale } from "../../../src/tensor/ops/arithmetic.ts";
import { crossEntropy, softmax } from "../../../src/tensor/ops/nn.ts";
import { aggregate, drawsOf, emptyMemory, serverOf, settingOf, updateOf } from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/** Layers of shares that sum to 1. */
function shares(layers: number, experts: number, seed: number): number[][] {
  const draws = new Rng(seed).at("p").at(0);
  return Array.from({ length: layers }, () => {
    const raw = Array.from({ length: experts }, () => draws.uniform() ** 2);
    return raw.map((value) => value / sum(raw));
  });
}

test("no other choice of experts within memory covers more of every layer", () => {
  const law = fc.property(fc.nat(), fc.integer({ min: 3, max: 12 }), (seed, room) => {
    const p = shares(3, 4, seed);
    const memory = { expert: 1, rest: 2, limit: 2 + room };
    const { theta, kept } = largestWithin(p, memory);
    let best = 0;
    for (let subset = 0; subset < 2 ** 12; subset++) {
      const layers = p.map((layer, l) => layer.filter((_, e) => (subset >> (4 * l + e)) & 1));
      if (!fits(sum(layers.map(({ length }) => length)), memory)) continue;
      best = Math.max(best, Math.min(...layers.map(sum)));
    }
    assert.ok(Math.abs(theta - best) < 1e-12, `${theta} and ${best}`);
    for (const [l, own] of kept.entries()) assert.ok(sum(own.map((e) => p[l]![e]!)) >= theta - 1e-12);
  });
  fc.assert(law, { numRuns: 30 });
});

test("with more memory the covered share rises, and what was kept stays", () => {
  for (let seed = 0; seed < 20; seed++) {
    const p = shares(3, 6, seed);
    let before = largestWithin(p, { expert: 1, rest: 0, limit: 3 });
    for (let limit = 4; limit <= 18; limit++) {
      const now = largestWithin(p, { expert: 1, rest: 0, limit });
      assert.ok(now.theta >= before.theta);
      for (const [l, own] of before.kept.entries()) assert.ok(own.every((e) => now.kept[l]!.includes(e)));
      before = now;
    }
    assert.equal(sum(before.kept.map(({ length }) => length)), 18);
  }
});

test("each layer keeps an expert, whatever the memory, and ties go to the lower index", () => {
  const { theta, kept } = largestWithin(
    [
      [0.5, 0.5],
      [0.25, 0.75],
    ],
    { expert: 1, rest: 9, limit: 1 },
  );
  assert.deepEqual([theta, kept], [0, [[0], [1]]]);
});

test("a client with a wrong expert is advised one of its own group's", () => {
  // Two groups of clients with experts 0–3 and 4–7; the one that asks is of the first, and began with expert 7.
  const of = (group: number) => Array.from({ length: 8 }, (_, e) => (Math.floor(e / 4) === group ? 0.25 : 0));
  const others = [0, 0, 0, 1, 1, 1].map((group) => ({ p: of(group), experts: 4 }));
  const p = [0.4, 0.3, 0, 0, 0, 0, 0, 0.1];
  const advice = adviceFor({ p, experts: [0, 1, 7] }, others, 3)!;
  assert.deepEqual(advice.nearest, [0, 1, 2]);
  const memory = { expert: 1, rest: 0, limit: 8 };
  const layerOf = () => 0;
  assert.deepEqual(advised([0, 1, 7], advice, { most: 2, memory, layerOf }), [0, 1, 2, 7]);
  assert.equal(advice.removeFirst[0], 7);
  const fewer = { ...advice, change: -1.4 };
  assert.deepEqual(advised([0, 1, 7], fewer, { most: 2, memory, layerOf }), [0, 1]);
});

test("advice goes no further than memory, the most that may change, and one expert a layer", () => {
  const advice = { similarity: [], nearest: [], estimate: [], addFirst: [3, 5, 1], removeFirst: [2, 4, 0] };
  const layerOf = (expert: number) => Math.floor(expert / 3);
  const at = (change: number, most: number, limit: number) =>
    advised([0, 2, 4], { ...advice, change }, { most, memory: { expert: 2, rest: 1, limit }, layerOf });
  assert.deepEqual(at(2.5, 9, 99), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(at(2.5, 2, 99), [0, 2, 3, 4, 5]);
  assert.deepEqual(at(2.5, 9, 9), [0, 2, 3, 4]);
  assert.deepEqual(at(-3, 9, 99), [0, 4], "2 goes, 4 is the last of its layer and so is then 0");
  const same = [0, 2, 4];
  assert.equal(
    advised(same, { ...advice, change: 0.4 }, { most: 9, memory: { expert: 1, rest: 0, limit: 9 }, layerOf }),
    same,
  );
  assert.equal(adviceFor({ p: [1, 0], experts: [0] }, [{ p: [0, 1], experts: 1 }], 3), null, "nobody is like it");
});

/** Two layers of two experts, a number each, and routers of two rows of one number. */
const groups = [0, 1, 2, 3].map((e) => ({ name: `expert ${e}`, ranges: [{ start: e, end: e + 1 }] }));
const layout = {
  size: 8,
  groups: [
    ...groups,
    { name: "router 0", ranges: [{ start: 4, end: 6 }] },
    { name: "router 1", ranges: [{ start: 6, end: 8 }] },
  ],
  pairs: [],
  mixtures: [
    { experts: [0, 1], router: 4 },
    { experts: [2, 3], router: 5 },
  ],
};
const setting = settingOf(layout, {
  clients: 3,
  mixture: { topK: 2, expert: 10, rest: 5 },
  examples: (client) => [10, 30, 60][client]!,
  variant: (budget) => ({ topK: budget }),
});

interface Told {
  readonly experts: readonly number[];
  readonly stage?: string;
  readonly p?: readonly number[];
}

const heard = (client: number, values: readonly number[], { experts, stage = "settled", p = [1, 0, 1, 0] }: Told) =>
  updateOf([0, 0, 0, 0, 0, 0, 0, 0], values, {
    client: clientId(client),
    examples: setting.examples(client),
    plan: { kind: { variant: { topK: 1, masked: 1 } }, notes: { experts, stage } },
    sent: { p: Float64Array.from(p), score: 1 },
  });

test("an expert and its router row are those of who holds it: alone a copy, several a mean, nobody's stays", async () => {
  const strategy = fedmoe();
  const start = serverOf(strategy, [0, 0, 0, -0, 0, 0, 0, -0], setting);
  const one = heard(0, [1, 9, 2, 9, 3, 9, 4, 9], { experts: [0, 2] });
  const two = heard(1, [9, 5, 6, 9, 9, 7, 8, 9], { experts: [1, 2] });
  const { parameters } = await aggregate(strategy, start, [one, two], setting);
  const shared = (a: number, b: number) => (10 * a + 30 * b) / 40;
  assert.deepEqual([...parameters], [1, 5, shared(2, 6), -0, 3, 7, shared(4, 8), -0]);
  const byTokens = fedmoe({ weighting: "tokens" });
  const busy = { ...one, counts: one.counts.with(2, 3) };
  const { parameters: counted } = await aggregate(byTokens, start, [busy, two], setting);
  assert.equal(counted[2], (3 * 2 + 6) / 4);
});

const view = (client: number, round: number, memory: ClientMemory = emptyMemory, budget = 1) => ({
  client: clientId(client),
  budget,
  examples: setting.examples(client),
  round: roundOf(round),
  memory,
  draws: drawsOf(round),
  participation: participationId(0),
});
const part = (plan: Plan) => plan.notes as unknown as { experts: number[]; stage: string };

test("in stage one those with room measure the whole model, and the others train what these are known to use", async () => {
  const strategy = fedmoe({ warmUp: 2, usable: 1 });
  let server = serverOf(strategy, new Array(8).fill(0), setting);
  const strong = strategy.plan!(view(1, 1, emptyMemory, 2), server, setting);
  assert.deepEqual(part(strong), { experts: [0, 1, 2, 3], stage: "measured" });
  assert.deepEqual(part(strategy.plan!(view(0, 1), server, setting)), { experts: [0, 2], stage: "provisional" });
  const told = [
    heard(1, new Array(8).fill(1), { ...part(strong), p: [0.2, 0.8, 0.9, 0.1] }),
    heard(2, new Array(8).fill(1), { ...part(strong), p: [0.6, 0.4, 0, 1] }),
  ];
  server = await aggregate(strategy, server, told, setting);
  // Means 0.2/3 + 0.6·2/3 = 0.47 and 0.9/3 = 0.3 of the first experts, by examples 30 and 60.
  const weak = strategy.plan!(view(0, 3), server, setting);
  assert.deepEqual(part(weak), { experts: [1, 3], stage: "settled" });
  assert.deepEqual([...(weak.inputs!.routerBias as Float32Array)], [-1e9, 0, -1e9, 0].map(Math.fround));
  assert.deepEqual(part(strategy.plan!(view(1, 3), server, setting)).experts, [1, 2], "its own p, once it has one");
  // Two experts and two rows each way, and up an estimate for each of four experts and the score.
  assert.deepEqual(weak.bytes, { down: 16, up: 16 + 16 + 8 });
});

/** One participation in stage two with that validation loss. */
function lived(
  strategy: ReturnType<typeof fedmoe>,
  server: ServerState,
  memory: ClientMemory,
  loss: number,
): { plan: Plan; memory: ClientMemory; sent: Readonly<Record<string, number | Float64Array>> } {
  const seen = view(0, 9, memory);
  const plan = strategy.plan!(seen, server, setting);
  const found = { loss: Float64Array.of(loss), targets: Float64Array.of(1), used: Float64Array.of(6, 2, 3, 1) };
  const trained = { found, trained: Uint8Array.of(1, 1, 1, 1, 1, 1) } as never;
  const reply = strategy.reply!(trained, plan, seen, setting);
  return { plan, memory: reply.memory!, sent: reply.sent! };
}

test("a change that does not help is undone, and the client never changes again", () => {
  const strategy = fedmoe({ warmUp: 0, usable: 1, patience: 2, mostChanged: 1, memory: { 1: 0.8 } });
  const start = serverOf(strategy, new Array(8).fill(0), setting);
  // Others hold more: an expert is advised.
  const server = {
    ...start,
    vectors: {
      p: Float64Array.of(1, 0, 1, 0, 0.7, 0.3, 0.7, 0.3, 0.6, 0.4, 0.6, 0.4),
      held: Float64Array.of(2, 3, 3),
      whole: Float64Array.of(0, 0, 0),
    },
  };
  let { plan, memory, sent } = lived(strategy, server, emptyMemory, 2);
  const first = part(plan).experts;
  assert.deepEqual(first, [0, 2]);
  assert.deepEqual([...(sent.p as Float64Array)], [1, 0, 1, 0], "experts that are not held have no say");
  assert.equal(sent.score, -2);
  for (const loss of [2, 3]) ({ plan, memory } = lived(strategy, server, memory, loss));
  assert.deepEqual(part(plan), { experts: first, stage: "settled" });
  const better = lived(strategy, server, memory, 1);
  assert.deepEqual(part(better.plan), { experts: [0, 1, 2], stage: "trial" });
  assert.deepEqual((better.memory.notes as { experts: number[] }).experts, [0, 1, 2]);
  ({ plan, memory } = lived(strategy, server, memory, 2));
  assert.equal(part(plan).stage, "trial");
  for (let round = 0; round < 5; round++) {
    ({ plan, memory } = lived(strategy, server, memory, 5));
    assert.deepEqual(part(plan), { experts: first, stage: "settled" });
  }
});

test("label smoothing and load balance are their formulas, and so are their slopes", () => {
  const graph = new Graph();
  const [tokens, experts, classes] = [4, 3, 5];
  const draws = new Rng(5).at("logits").at(0);
  const normals = (count: number) => Array.from({ length: count }, () => draws.normal());
  const logits = graph.input("logits", "float32", [tokens, classes]);
  const targets = graph.input("targets", "int32", [tokens]);
  const router = graph.input("router", "float32", [tokens, experts]);
  const counts = graph.input("counts", "int64", [experts]);
  const present = graph.input("present", "float32", [tokens, 1]);
  const pass = {
    logits,
    losses: crossEntropy(logits, targets),
    routers: [{ logits: router, probabilities: softmax(router), counts }],
    tokens: () => present,
  };
  const smooth = reduceSum(smoothed(pass as never, 0.2), [0], true);
  const balance = loadBalance({ pass } as never, [graph.constant([3], [1])]);
  // FLAME asks for the same beside its loss, and knows by itself how many experts there are.
  const given = { graph, pass, loss: scale(smooth, 1) } as never;
  const ofFlame = flame({ balance: 0.5 }).steps!({ variant: {} }, {} as never).objective!(given);
  const [ofLogits] = gradients(smooth, [logits]);
  const [ofRouter] = gradients(balance, [router]);
  const program = {
    name: "loss",
    inputs: { logits, targets, router, counts, present },
    outputs: { smooth, balance, ofFlame, ofLogits: ofLogits!, ofRouter: ofRouter! },
  };
  const feeds = {
    logits: normals(20),
    targets: [1, 0, 4, 2],
    router: normals(12),
    counts: [4, 1, 1],
    present: [1, 1, 1, 0],
  };
  const at = interpret(program, feeds);
  const softmaxOf = (row: number[]) => row.map((z) => Math.exp(z) / sum(row.map(Math.exp)));
  const rows = (values: number[], width: number) =>
    Array.from({ length: values.length / width }, (_, r) => softmaxOf(values.slice(r * width, (r + 1) * width)));
  const expected = rows(feeds.logits, classes).map(
    (q, t) => -0.8 * Math.log(q[feeds.targets[t]!]!) - (0.2 / classes) * sum(q.map(Math.log)),
  );
  assert.ok(Math.abs(at.smooth![0]! - sum(expected)) < 1e-12);
  const mean = (e: number) =>
    sum(
      rows(feeds.router, experts)
        .slice(0, 3)
        .map((q) => q[e]!),
    ) / 3;
  const even = 3 * (mean(0) * (4 / 6) + mean(1) / 6 + mean(2) / 6);
  assert.ok(Math.abs(at.balance![0]! - even) < 1e-12);
  assert.ok(Math.abs(at.ofFlame![0]! - (at.smooth![0]! + 0.5 * even)) < 1e-12);
  // Of three experts: 1 where all are used alike, 3 ÷ k where k of them are all that is used.
  const balanceOf = (row: number[], counts: number[]) =>
    interpret(program, { ...feeds, router: [row, row, row, row].flat(), counts }).balance![0]!;
  assert.ok(Math.abs(balanceOf([0, 0, 0], [2, 2, 2]) - 1) < 1e-12);
  assert.ok(Math.abs(balanceOf([40, 0, 0], [6, 0, 0]) - 3) < 1e-12);
  assert.ok(Math.abs(balanceOf([40, 40, 0], [3, 3, 0]) - 3 / 2) < 1e-12);
  for (const [name, of, gradient] of [
    ["logits", "smooth", "ofLogits"],
    ["router", "balance", "ofRouter"],
  ] as const) {
    for (const i of [0, 5, 11]) {
      const moved = (by: number) =>
        interpret(program, { ...feeds, [name]: feeds[name].map((v, j) => (j === i ? v + by : v)) })[of]![0]!;
      const slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
      assert.ok(Math.abs(at[gradient]![i]! - slope) < 1e-9, `${name} ${i}: ${at[gradient]![i]} and ${slope}`);
    }
  }
});
