import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type ClientId, clientId, participationId, round } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { domainsOf, maskOf, pooled, type Statistics } from "../../../src/fl/strategies/read-me/domains.ts";
import { readMe } from "../../../src/fl/strategies/read-me/read-me.ts";
import { rankIndicator, rankTarget, routedPart } from "../../../src/fl/strategies/read-me/target.ts";
import type { ParameterLayout } from "../../../src/tasks/layout.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { close } from "../../support/method-goldens.ts";
import { aggregate, drawsOf, emptyMemory, serverOf, settingOf, updateOf } from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";

const [layers, channels] = [2, 10];

/** Clients of a domain fire in its own stretch of five channels, and a little everywhere. */
const clientOf = (domain: number, seed: number, tokens = 100): Statistics => {
  const draws = new Rng(seed).at("client").at(domain);
  const means = Float64Array.from({ length: layers * channels }, (_, at) =>
    Math.floor((at % channels) / 5) === domain ? 1 + 0.3 * draws.uniform() : 0.3 * draws.uniform(),
  );
  return { means, tokens };
};

test("an expert keeps exactly its share of every layer, and at ties the lower channels", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { minLength: 20, maxLength: 20 }), fc.nat(10), (means, kept) => {
      const mask = maskOf(means, layers, kept);
      for (const layer of [0, 1]) {
        const own = mask.subarray(layer * channels, (layer + 1) * channels);
        assert.equal(
          own.reduce((sum, bit) => sum + bit, 0),
          kept,
        );
        const least = Math.min(...means.slice(10 * layer, 10 * layer + 10).filter((_, at) => own[at] === 1));
        for (const [at, bit] of own.entries()) {
          const mean = means[10 * layer + at]!;
          if (bit === 0) assert.ok(mean <= least);
          if (bit === 0 && mean === least)
            assert.ok(
              !own.subarray(at + 1).some((later, i) => later === 1 && means[10 * layer + at + 1 + i] === least),
            );
        }
      }
    }),
  );
});

test("clients of one domain come together, the domain of most tokens first, in whatever order they answer", () => {
  const all = [clientOf(0, 1), clientOf(1, 2, 300), clientOf(0, 3), clientOf(1, 4), clientOf(0, 5)];
  assert.deepEqual(domainsOf(all, 2), [
    [1, 3],
    [0, 2, 4],
  ]);
  assert.deepEqual(domainsOf(all, 1), [[0, 1, 2, 3, 4]]);
  assert.equal(domainsOf(all, 9).length, 5);
  const turned = domainsOf(all.toReversed(), 2).map((places) => places.map((at) => 4 - at).sort());
  assert.deepEqual(turned, [
    [1, 3],
    [0, 2, 4],
  ]);
});

const masks = [
  [1, 0, 1, 0, 0, 1, 0, 0, 1, 1],
  [1, 1, 1, 0, 0, 0, 0, 1, 1, 0],
  [1, 0, 0, 1, 1, 0, 1, 1, 0, 0],
];

test("the published code's target: ranks of the signed activation within the routed parts, in plain loops", () => {
  const draws = new Rng(3).at("act").at(0);
  const act = Array.from({ length: 6 }, () => Array.from({ length: channels }, () => draws.normal()));
  const routed = masks.map((mask) => mask.map((bit, at) => (masks.every((other) => other[at] === 1) ? 0 : bit)));
  const count = routed[0]!.reduce((sum, bit) => sum + bit, 0);
  const wanted = act.map((token) => {
    const falling = token.toSorted((a, b) => b - a);
    const ranks = [count - 1, ...[4, 3, 2, 1].map((fifths) => Math.floor((fifths * count) / 5))];
    const indicator = token.map((value) => ranks.filter((rank) => value >= falling[rank]!).length / (3 * count));
    const overlap = routed.map((mask) => mask.reduce((sum, bit, at) => sum + bit * indicator[at]!, 0));
    const whole = overlap.reduce((sum, o) => sum + Math.exp(10 * o), 0);
    const label = overlap.indexOf(Math.max(...overlap));
    const q = overlap.map((o, c) => 0.75 * ((c === label ? 0.5 : 0) + 0.5 / 3) + (0.25 * Math.exp(10 * o)) / whole);
    return { indicator, q };
  });
  const graph = new Graph();
  const inputs = {
    act: graph.input("act", "float32", [6, channels]),
    masks: graph.input("masks", "float32", [3, channels]),
  };
  const outputs = {
    indicator: rankIndicator(inputs.act, routedPart(inputs.masks)),
    q: rankTarget([inputs.act, inputs.act], [inputs.masks, inputs.masks]),
  };
  const found = interpret({ name: "ranks", inputs, outputs }, { act: act.flat(), masks: masks.flat() });
  close(
    found.indicator!,
    wanted.flatMap(({ indicator }) => indicator),
    1e-12,
  );
  close(
    found.q!,
    wanted.flatMap(({ q }) => q.map((value) => 2 * value)),
    1e-12,
  );
});

test("experts of one and the same domain have nothing of their own, and no target prefers one", () => {
  const graph = new Graph();
  const act = graph.input("act", "float32", [1, channels]);
  const same = graph.input("masks", "float32", [2, channels]);
  const outputs = { routed: routedPart(same), q: rankTarget([act], [same]) };
  const feeds = { act: masks[2]!, masks: [...masks[0]!, ...masks[0]!] };
  const { routed, q } = interpret({ name: "same", inputs: { act, masks: same }, outputs }, feeds);
  assert.ok(routed!.every((bit) => bit === 0));
  // The label still falls on the lower of the two.
  close(q!, [0.75 * 0.75 + 0.125, 0.75 * 0.25 + 0.125], 1e-12);
});

const routerNumbers = 7;
const layout: ParameterLayout = {
  size: routerNumbers + 2 * layers * channels,
  groups: [
    { name: "router", ranges: [{ start: 0, end: routerNumbers }] },
    { name: "expert 0", ranges: [{ start: 7, end: 27 }] },
    { name: "expert 1", ranges: [{ start: 27, end: 47 }] },
  ],
  pairs: [],
  cut: { layers, channels, kept: 5, router: 0, experts: [1, 2] },
};
const setting = settingOf(layout, { clients: 4 });
const strategy = readMe();
const before = serverOf(strategy, new Float32Array(layout.size).fill(1), setting);

const planOf = (client: ClientId, server = before) =>
  strategy.plan!(
    {
      participation: participationId(0),
      client,
      budget: 1,
      examples: 1,
      round: updateOf([], []).round,
      memory: emptyMemory,
      draws: drawsOf(1),
    },
    server,
    setting,
  );

/** What a client that measured sends. */
function measuredBy(client: number, { means, tokens }: Statistics) {
  const trained = updateOf(before.parameters, before.parameters);
  const plan = planOf(clientId(client));
  const found = { activity: Float64Array.from(means, (mean) => mean * tokens), tokens: Float64Array.of(tokens) };
  const view = {
    client: clientId(client),
    budget: 1,
    examples: 1,
    round: trained.round,
    memory: emptyMemory,
    draws: drawsOf(1),
  };
  const { sent } = strategy.reply!({ ...trained, found }, plan, view, setting);
  return updateOf(before.parameters, before.parameters, { client: clientId(client), plan, sent: sent! });
}

const answers = [clientOf(0, 1), clientOf(1, 2, 300), clientOf(0, 3), clientOf(1, 4)];

test("what clients measured once is what one pass over each domain's text measures, and cuts the model", async () => {
  const cut = await aggregate(
    strategy,
    before,
    answers.map((one, client) => measuredBy(client, one)),
    setting,
  );
  const domain = (places: number[]) => [...maskOf(pooled(places.map((at) => answers[at]!)).means, layers, 5)];
  assert.deepEqual([...cut.parameters.subarray(routerNumbers)], [...domain([1, 3]), ...domain([0, 2])]);
  assert.deepEqual(cut.parameters.subarray(0, routerNumbers), before.parameters.subarray(0, routerNumbers));
  assert.deepEqual(cut.notes, {
    domains: [
      [1, 3],
      [0, 2],
    ],
  });
  // Then the router travels, and the masks as bits.
  assert.deepEqual(planOf(clientId(0)).bytes, { down: 0, up: 4 * layers * channels + 8 });
  assert.deepEqual(planOf(clientId(0), cut).bytes, { down: 4 * routerNumbers + 5, up: 4 * routerNumbers });
});

test("an expert whose domain did not answer is cut by what everybody else measured", async () => {
  const cut = await aggregate(strategy, before, [measuredBy(1, answers[1]!)], setting);
  const own = [...maskOf(answers[1]!.means, layers, 5)];
  assert.deepEqual([...cut.parameters.subarray(routerNumbers)], [...own, ...own]);
  const uncut = await aggregate(strategy, before, [], setting);
  assert.deepEqual(planOf(clientId(0), uncut).kind.part, "measure", "nobody answered, so that the next round measures");
});

test("who measures after the model is cut does not cut it again, and only the router is averaged", async () => {
  const cut = await aggregate(
    strategy,
    before,
    answers.map((one, client) => measuredBy(client, one)),
    setting,
  );
  const values = cut.parameters.map((value, i) => (i < routerNumbers ? value + 1 : value));
  const routed = updateOf(cut.parameters, values, { plan: planOf(clientId(0), cut) });
  const next = await aggregate(strategy, cut, [measuredBy(0, answers[1]!), routed], setting, 2);
  assert.deepEqual(next.parameters, values);
  assert.deepEqual(next.notes, cut.notes);
});

test("there have to be as many clients as there are experts", () => {
  assert.deepEqual(strategy.problems!(setting), []);
  assert.match(strategy.problems!({ ...setting, clients: 1 })[0]!.text, /1 clients to cut 2 experts/);
});

test("rounds of the router and of the experts take turns, and experts travel as gains of what they keep", async () => {
  const own = readMe({ alternate: { router: 1, experts: 2 } });
  const cut = await aggregate(
    own,
    before,
    answers.map((one, client) => measuredBy(client, one)),
    setting,
  );
  const slotted = { ...setting, variant: (slots: number) => ({ slots, active: 1 }) };
  const planIn = (at: number) => {
    const view = { client: clientId(0), budget: 1, examples: 1, round: round(at), memory: emptyMemory };
    return own.plan!({ ...view, participation: participationId(0), draws: drawsOf(1) }, cut, slotted);
  };
  const parts = [1, 2, 3, 4, 5].map((at) => planIn(at).kind.part);
  assert.deepEqual(parts, ["route", "experts", "experts", "route", "experts"]);
  assert.deepEqual(planIn(2).bytes, { down: 4 * (routerNumbers + 5 * layers), up: 4 * 5 * layers });
  assert.deepEqual(own.deploy!(1, cut, slotted).models[0].variant, { slots: 1, active: 1, gains: 1 });
});
