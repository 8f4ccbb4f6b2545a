/** What FL Games owes: where play ends, that it is FedAvg until then, and who moves what when. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round as roundOf } from "../../../src/base/ids.ts";
import { flGames } from "../../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../../src/fl/strategy.ts";
import type { Setting } from "../../../src/tasks/task.ts";
import { fresh, gameSetting, meanHead, playRound, type Risk, seenIn, wanting } from "../../support/games.ts";
import { close } from "../../support/method-goldens.ts";
import { drawsOf, emptyMemory, plainLayout, settingOf, updateOf } from "../../support/quadratic.ts";

const means = async (
  strategy: Strategy,
  risks: readonly Risk[],
  setting: Setting,
  rounds: number,
  move?: "gradient" | "best",
) => {
  let server = fresh(strategy, setting);
  const seen: number[][] = [];
  for (let round = 1; round <= rounds; round++) {
    server = await playRound(strategy, server, risks, setting, round, move);
    seen.push(meanHead(server, risks.length));
  }
  return seen;
};

test("play first reaches what FedAvg would, and ends at the equilibrium once heads reach the box", async () => {
  const risks = [0.2, 0.8, -0.5].map(wanting);
  const strategy = flGames({ smooth: "off", box: 20, optimizer: "sgd" });
  const seen = await means(strategy, risks, gameSetting(3, 1, { rate: 0.5 }), 300);
  // (0.2 + 0.8 − 0.5) ÷ 3, and the median. Heads are float32 of up to 20, each off by 1e-6.
  close(seen[20]!, 0.5 / 3, 1e-4);
  close(seen.at(-1)!, 0.2, 1e-4);
});

test("exact answers swing from one side to the other until the box stops them; with buffers they come to rest", async () => {
  const [one, other] = [wanting(1), wanting(0.4)];
  const setting = gameSetting(2, 1);
  const plain = await means(flGames({ smooth: "off", box: 20 }), [one, other], setting, 100, "best");
  close(plain.slice(0, 4).flat(), [1.4, 0, 1.4, 0]);
  close(plain.at(-1)!, 0.4);
  for (const ts of [
    [1, 0.4],
    [0.2, 0.8, -0.5],
  ]) {
    const m = ts.length;
    const risks = ts.map(wanting);
    const wild = await means(flGames({ smooth: "off", box: 20 }), risks, gameSetting(m, 1), 400, "best");
    const calm = await means(flGames({ box: 20 }), risks, gameSetting(m, 1), 500, "best");
    if (m === 3) assert.ok(Math.abs(wild.at(-1)![0]! - wild.at(-2)![0]!) > 20, "three alternate between the sides");
    close(calm.at(-1)!, m === 2 ? 0.4 : 0.2, 1e-3);
  }
  const four = await means(flGames({ box: 20 }), [0.2, 0.8, 0.5, -0.1].map(wanting), gameSetting(4, 1), 300, "best");
  assert.ok(Math.abs(four.at(-1)![0]! - four.at(-2)![0]!) > 1, "four still alternate");
});

test("as printed, SMOOTH counts opponents twice and ends elsewhere for an even number of clients", async () => {
  const strategy = flGames({ smooth: "asPrinted", box: 20, optimizer: "sgd" });
  const settle = async (ts: readonly number[]) =>
    (await means(strategy, ts.map(wanting), gameSetting(ts.length, 1, { rate: 0.5 }), 600)).at(-1)!;
  close(await settle([1, 0.4]), 0, 1e-3);
  close(await settle([0.2, 0.8, 0.5, -0.1]), 0, 1e-3);
  close(await settle([0.2, 0.8, -0.5]), 0.2, 1e-3);
});

/** y = x₁ + e, x₂ = β·y + noise of ½: what a client with endless data wants of (x₁, x₂). */
const causal = (beta: number): Risk => ({
  curvature: [
    [1, beta],
    [beta, 2 * beta ** 2 + 0.25],
  ],
  slope: [1, 2 * beta],
});

test("a spurious feature is dropped where clients disagree on its sign in equal numbers, and only there", async () => {
  const rows = [
    { betas: [1, -0.5], game: [0.999, 0] },
    { betas: [1, -1], game: [1.003, 0] },
    { betas: [1, 0.5], game: [0.2, 0.798] },
    { betas: [1, 0.8, -0.5], game: [0.468, 0.667] },
  ];
  for (const { betas, game } of rows) {
    const m = betas.length;
    const strategy = flGames({ box: 2, optimizer: "sgd", smooth: "off" });
    const seen = await means(strategy, betas.map(causal), gameSetting(m, 2, { rate: 0.2 }), 500);
    // The numbers are of 20,000 examples a client: off by about 1 ÷ √20,000.
    close(seen.at(-1)!, game, 0.02);
  }
});

test("one client plays plain training; clients that agree come to what they want", async () => {
  const alone = flGames({ optimizer: "sgd", smooth: "off", box: null });
  const setting = gameSetting(1, 1);
  let [value, server] = [0, fresh(alone, setting)];
  for (let round = 1; round <= 20; round++) {
    server = await playRound(alone, server, [wanting(0.7)], setting, round);
    value = Math.fround(value - setting.rate * (value - 0.7));
  }
  close(server.parameters, [value]);
  const same = await means(flGames({ optimizer: "sgd" }), [0.7, 0.7, 0.7].map(wanting), gameSetting(3, 1), 400);
  close(same.at(-1)!, 0.7, 1e-5);
});

test("who is away keeps its head, which counts; and buffers hold the last plays of each, the oldest making room", async () => {
  const strategy = flGames({ buffer: 2, box: null });
  const setting = gameSetting(2, 1, { rate: 0.5 });
  const risks = [wanting(1), wanting(-1)];
  let server = await playRound(strategy, fresh(strategy, setting, 0.25), risks, setting, 1);
  const before = server.parameters.slice();
  const first: number[] = [0.25];
  for (let round = 2; round <= 4; round++) {
    first.push(server.parameters[0]!);
    server = await playRound(strategy, server, risks, setting, round, "gradient", [0]);
  }
  assert.equal(server.parameters[1], before[1]);
  assert.deepEqual(server.notes, { plays: [4, 1], stopped: null });
  assert.deepEqual([...server.vectors.plays!].slice(0, 2).sort(), first.slice(2).sort());
  assert.equal(server.vectors.plays![2], 0.25);
});

const layers = { ...plainLayout(4, 3), heads: { groups: [1, 2], linear: true } };
const withPhi = settingOf(layers, { clients: 2, rate: 0.01 });
const invited = (client: number, round: number) => ({
  client: clientId(client),
  participation: participationId(0),
  budget: 1,
  examples: 1 + client,
  round: roundOf(round),
  memory: emptyMemory,
  draws: drawsOf(round),
});

test("odd rounds move heads and even ones the representation, by the mean gradient; and each is charged for what travels", async () => {
  const strategy = flGames({ representationRate: 0.5 });
  const server = fresh(strategy, withPhi, 1);
  const odd = strategy.plan!(invited(1, 1), server, withPhi);
  assert.deepEqual(odd.kind.variant, { trains: "heads", past: 1 });
  assert.deepEqual(odd.bytes, { down: 4 * 12 + 4 * 8, up: 4 * 4 });
  assert.deepEqual([...(odd.inputs!.own as Float32Array)], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
  const { bytes: off } = flGames({ smooth: "off" }).plan!(invited(1, 1), server, withPhi);
  assert.deepEqual(off, { down: 4 * 12, up: 4 * 4 });

  const even = strategy.plan!(invited(0, 2), server, withPhi);
  assert.deepEqual(even, { kind: { variant: { trains: "representation" } }, bytes: { down: 4 * 12, up: 4 * 4 } });
  const gradients = [
    [1, 2, 3, 4],
    [5, 6, 7, 8],
  ];
  const updates = gradients.map((gradient, client) => {
    const view = invited(client, 2);
    const plan = strategy.plan!(view, server, withPhi);
    const trained = updateOf(server.parameters, server.parameters, { ...view, plan, trained: Uint8Array.of(1, 0, 0) });
    const found = { gradient: Float64Array.of(...gradient, 9, 9, 9, 9, 9, 9, 9, 9), seen: Float64Array.of(2) };
    return { ...trained, ...strategy.reply!({ ...trained, found }, plan, view, withPhi), sent: {} };
  });
  let sum = strategy.begin(server, withPhi);
  const at = { round: roundOf(2), draws: drawsOf(2), work: async () => assert.fail() };
  for (const update of updates) strategy.fold(sum, update, withPhi, at);
  const next = await strategy.finish(sum, server, withPhi, at as never);
  // n is 1 and 2, of gradients that are sums over two examples.
  close(
    next.parameters,
    [...gradients[0]!.map((g, i) => 1 - (0.5 * (g + 2 * gradients[1]![i]!)) / 6), ...new Array<number>(8).fill(1)],
    1e-6,
  );
  sum = strategy.begin(server, withPhi);
  assert.equal(await strategy.finish(sum, server, withPhi, at as never), server, "nobody came");

  const slow = flGames({ fast: false }).plan!(invited(0, 2), server, withPhi);
  assert.equal(slow.learningRate, 0.1 * 0.01);
});

test("where clients take turns, one head moves in a round", async () => {
  const strategy = flGames({ play: "sequential", smooth: "off" });
  const setting = gameSetting(3, 1);
  let server = fresh(strategy, setting);
  for (let round = 1; round <= 4; round++) {
    const next = await playRound(strategy, server, [1, 2, 3].map(wanting), setting, round);
    const moved = [0, 1, 2].filter((client) => next.parameters[client] !== server.parameters[client]);
    assert.deepEqual(moved, [(round - 1) % 3]);
    server = next;
  }
});

test("play stops when training accuracy has fallen to the threshold, not before the warm start, and nothing moves any more", async () => {
  const strategy = flGames({ stop: { after: 3, accuracy: 0.6 } });
  const setting = gameSetting(2, 1);
  const roundWith = (right: number, round: number, server = fresh(strategy, setting)) => {
    const plan = strategy.plan!(invited(0, round), server, setting);
    const trained = Uint8Array.of(1, 0);
    const update = updateOf(server.parameters, Float32Array.of(1, 0), { plan, trained, sent: { right, seen: 10 } });
    const sum = strategy.begin(server, setting);
    const at = { round: roundOf(round), draws: drawsOf(round), work: async () => assert.fail() };
    strategy.fold(sum, update, setting, at);
    return strategy.finish(sum, server, setting, at as never);
  };
  assert.equal((await roundWith(5, 2)).parameters[0], 1, "still warming up");
  assert.equal((await roundWith(7, 3)).parameters[0], 1);
  const stopped = await roundWith(6, 3);
  assert.equal(stopped.parameters[0], 0);
  assert.equal((await roundWith(9, 4, stopped)).parameters[0], 0);
});

test("a task with too few heads is refused", () => {
  assert.match(flGames().problems!({ ...withPhi, clients: 3 })[0]!.text, /the task has 2 for 3 clients/);
  assert.deepEqual(flGames().problems!(withPhi), []);
});

test("linear opponents come as one mean, others one by one, and both are the same ensemble", async () => {
  const setting = gameSetting(3, 1, { rate: 0.5 });
  const curved = { ...setting, layout: { ...setting.layout, heads: { groups: [0, 1, 2], linear: false } } };
  const strategy = flGames({ buffer: 4, optimizer: "sgd" });
  let server = fresh(strategy, setting);
  for (let round = 1; round <= 3; round++) {
    server = await playRound(strategy, server, [1, 2, 4].map(wanting), setting, round);
  }
  for (const client of [0, 1, 2]) {
    const [one, many] = [setting, curved].map((of) => strategy.plan!(invited(client, 4), server, of));
    assert.equal(many!.kind.variant.past, 4);
    close(seenIn(many!.inputs!, server, 3), seenIn(one!.inputs!, server, 3), 1e-6);
  }
});

test("of more than 20 heads linear ones come as their sum, and of others 19 are drawn, who count for all", () => {
  const many = gameSetting(24, 2);
  const curved = { ...many, layout: { ...many.layout, heads: { ...many.layout.heads!, linear: false } } };
  const plain = flGames({ smooth: "off" });
  const server = fresh(plain, many, 1);
  for (let i = 0; i < server.parameters.length; i++) server.parameters[i] = Math.sin(i);
  const planOf = (strategy: Strategy, round: number, setting: Setting) =>
    strategy.plan!({ ...invited(3, round), draws: drawsOf(round) }, server, setting);
  const [head, float] = [2, 4];
  assert.equal(planOf(plain, 1, many).bytes!.down, float * 2 * head);
  assert.equal(planOf(flGames({ smooth: "off", opponents: "all" }), 1, many).bytes!.down, float * 24 * head);
  assert.deepEqual(planOf(plain, 1, many).inputs!.shares, undefined, "the sum is what all of them are");
  const drawn = planOf(plain, 1, curved);
  assert.equal(drawn.bytes!.down, float * 20 * head);
  assert.equal(drawn.kind.variant.past, 0);
  const shares = Array.from(drawn.inputs!.shares as Float32Array);
  close([shares[3]!], 1 / 24, 1e-7);
  assert.equal(shares.filter((share) => share > 0).length, 20);
  close([shares.reduce((sum, share) => sum + share, 0)], 1, 1e-6);
  // Over many rounds a drawn ensemble is on average that of all.
  const rounds = 4_000;
  const mean = [0, 0];
  for (let round = 1; round <= rounds; round++) {
    const seen = seenIn(planOf(flGames({ smooth: "off", opponents: 6 }), 2 * round - 1, curved).inputs!, server, 24);
    for (const i of [0, 1]) mean[i]! += seen[i]! / rounds;
  }
  const all = meanHead(server, 24);
  // Of six of 23 numbers of spread 0.7 the mean has a deviation of about 0.25; 4,000 rounds make 0.004 of it.
  for (const i of [0, 1]) assert.ok(Math.abs(mean[i]! - all[i]!) < 0.02, `${mean} and ${all}`);
  assert.match(flGames({ opponents: "sum" }).problems!(curved)[0]!.text, /which only linear heads have/);
  // In a round of φ they are drawn as well, without what they played before.
  const layout = { ...plainLayout(4, 4), heads: { groups: [1, 2, 3], linear: false } };
  const three = settingOf(layout, { clients: 3 });
  const even = flGames({ opponents: 1 }).plan!(invited(0, 2), fresh(flGames(), three, 1), three);
  assert.deepEqual([even.kind.variant.past, even.inputs!.past], [0, undefined]);
});

test("drawn opponents count by their past plays in the same shares", async () => {
  const setting = gameSetting(4, 1, { rate: 0.5 });
  const curved = { ...setting, layout: { ...setting.layout, heads: { groups: [0, 1, 2, 3], linear: false } } };
  const strategy = flGames({ buffer: 2, optimizer: "sgd", opponents: 2 });
  let server = fresh(strategy, setting);
  for (let round = 1; round <= 3; round++) {
    server = await playRound(strategy, server, [1, 2, 4, 5].map(wanting), setting, round);
  }
  const { shares } = strategy.plan!({ ...invited(1, 4), draws: drawsOf(4) }, server, curved).inputs as {
    shares: Float32Array;
  };
  const of = (other: number) => [shares[other]!, ...shares.slice(4 + 2 * other, 6 + 2 * other)];
  close(of(1), [0.25, 0, 0], 1e-7);
  for (const other of [0, 2, 3].filter((one) => of(one)[0]! > 0)) {
    // Three opponents for two: 1.5 · ¼, a half as it is and a half as its two last plays.
    close(of(other), [0.1875, 0.09375, 0.09375], 1e-7);
  }
  close([shares.reduce((sum, share) => sum + share, 0)], 1, 1e-6);
});
