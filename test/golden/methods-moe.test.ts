/** Methods that choose among experts, against numbers worked out by other means. What passes through float32 is within 1e-6. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../../src/base/ids.ts";
import { bestOf, expertScores } from "../../src/fl/experts/scores.ts";
import { adviceFor, largestWithin } from "../../src/fl/experts/sub-models.ts";
import { hfedmoe } from "../../src/fl/strategies/hfedmoe.ts";
import type { ParameterLayout } from "../../src/tasks/layout.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { scale, sub } from "../../src/tensor/ops/arithmetic.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import { aggregate, serverOf, settingOf, updateOf } from "../support/quadratic.ts";
import { interpret } from "../support/reference.ts";

const caseOf = goldensOf("hfedmoe", "fedmoe");

test("HFedMoE: scores of experts, and which are active at each budget", () => {
  const { inputs, expected } = caseOf("hfedmoe", "scores");
  const [tokens, experts] = [inputs.G.length, inputs.G[0].length];
  const scored = (lambda: number) => {
    const graph = new Graph();
    const g = graph.input("g", "float32", [tokens, experts]);
    const present = graph.input("present", "float32", [tokens, 1]);
    const used = graph.input("used", "float32", [experts]);
    const { importance, redundancy } = expertScores(g, present, lambda);
    const score = sub(importance, scale(redundancy, inputs.beta));
    const active = Array.from(
      { length: experts },
      (_, most) => [`${most + 1}`, bestOf(score, used, most + 1)] as const,
    );
    const outputs = { importance, redundancy, score, ...Object.fromEntries(active) };
    const feeds = { g: inputs.G.flat(), present: Array(tokens).fill(1), used: Array(experts).fill(1) };
    return interpret({ name: "scores", inputs: { g, present, used }, outputs }, feeds);
  };
  close(scored(1).importance!, expected.cumulative, 1e-12);
  close(scored(0).importance!, expected.specific, 1e-12);
  const found = scored(inputs.lam);
  close(found.importance!, expected.s, 1e-12);
  close(found.redundancy!, expected.kl, 1e-12);
  close(found.score!, expected.I, 1e-12);
  for (const [budget, active] of Object.entries(expected.activeAtBudget)) {
    assert.deepEqual(
      [...found[budget]!.keys()].filter((e) => found[budget]![e] === 1),
      active,
    );
  }
});

test("HFedMoE: experts and routers merge by who uses them", async () => {
  const { inputs, expected } = caseOf("hfedmoe", "merge");
  const [experts, width, routerWidth] = [
    inputs.usage[0].length,
    inputs.oldExperts[0].length,
    inputs.oldRouter[0].length,
  ];
  const layout = oneLayer(experts, width, routerWidth);
  const setting = settingOf(layout, { mixture: { topK: 2, expert: 1, rest: 1 } });
  const flat = (ofExperts: number[][], router: number[][]) =>
    Float32Array.from([...ofExperts.flat(), ...router.flat()]);
  const base = flat(inputs.oldExperts, inputs.oldRouter);
  const updates = inputs.n.map((examples: number, c: number) =>
    updateOf(base, flat(inputs.experts[c], inputs.routers[c]), {
      client: clientId(c),
      examples,
      plan: { kind: { variant: {} }, notes: { tau: inputs.tau } },
      sent: { usage: Float64Array.from(inputs.usage[c]), importance: Float64Array.from(inputs.importance[c]) },
    }),
  );
  const merged = async (strategy: ReturnType<typeof hfedmoe>) => {
    const { parameters } = await aggregate(strategy, serverOf(strategy, base, setting), updates, setting);
    return [parameters.subarray(0, experts * width), parameters.subarray(experts * width)] as const;
  };
  const [normalised, router] = await merged(hfedmoe());
  close(normalised, expected.experts.flat());
  close(router, expected.routerNormalised.flat());
  const [, printed] = await merged(hfedmoe({ normalise: false }));
  close(printed, expected.routerPrinted.flat());

  const users = expected.kept.map((own: Json) => own.filter(Boolean).length);
  const all = new Set(expected.kept.flatMap((own: Json) => own.flatMap((is: Json, e: Json) => (is ? [e] : [])))).size;
  const strategy = hfedmoe();
  const { notes } = await aggregate(strategy, serverOf(strategy, base, setting), updates, setting);
  assert.deepEqual(notes, { consistency: Object.fromEntries(users.map((own: number, c: number) => [c, own / all])) });
  close(
    updates.map((update: Json) => strategy.weight(update, experts, setting.layout) / all),
    expected.a,
    1e-12,
  );
});

for (const memory of [6, 8, 10, 13]) {
  test(`FedMoE: the best sub-model within a memory of ${memory}`, () => {
    const { inputs, expected } = caseOf("fedmoe", `search, memory ${memory}`);
    const room = { expert: inputs.expertMemory, rest: inputs.denseMemory, limit: inputs.memory };
    const { theta, kept } = largestWithin(inputs.p, room);
    close([theta], expected.theta, 1e-12);
    assert.deepEqual(kept, expected.kept);
  });
}

test("FedMoE: what the clients most like one advise it to add and to remove", () => {
  const { inputs, expected } = caseOf("fedmoe", "recommendation for client 0");
  const others = inputs.p.slice(1).map((p: number[], at: number) => ({ p, experts: inputs.sizes[at + 1] }));
  const advice = adviceFor({ p: inputs.p[0], experts: inputs.own }, others, inputs.neighbours)!;
  close(advice.similarity, expected.similarity, 1e-12);
  // The file numbers clients, of whom the one that asks is the first.
  assert.deepEqual(
    advice.nearest.map((at) => at + 1),
    expected.nearest,
  );
  close(advice.estimate, expected.estimate, 1e-12);
  assert.equal(advice.change, expected.change);
  assert.deepEqual(advice.addFirst, expected.addFirst);
  assert.deepEqual(advice.removeFirst, expected.removeFirst);
});

/** A layer of experts with `width` numbers each, and a router with `routerWidth` an expert. */
function oneLayer(experts: number, width: number, routerWidth: number): ParameterLayout {
  const size = experts * (width + routerWidth);
  const groups = Array.from({ length: experts }, (_, e) => ({
    name: `expert ${e}`,
    ranges: [{ start: e * width, end: (e + 1) * width }],
  }));
  const router = { name: "router", ranges: [{ start: experts * width, end: size }] };
  return {
    size,
    groups: [...groups, router],
    pairs: [],
    mixtures: [{ experts: groups.map((_, e) => e), router: experts }],
  };
}
