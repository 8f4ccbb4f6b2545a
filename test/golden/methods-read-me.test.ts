/** Read-ME's rules against numbers worked out by other means. Masks are float32, hence 1e-6 where a rule passes through them. */
import { test } from "node:test";
import { maskOf, pooled } from "../../src/fl/strategies/read-me/domains.ts";
import { routedPart, shareTarget } from "../../src/fl/strategies/read-me/target.ts";
import { evictions, hitsOf } from "../../src/sim/serving/expert-cache.ts";
import { coveredShare } from "../../src/tasks/refactor/overlap.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { close, goldensOf } from "../support/method-goldens.ts";
import { interpret } from "../support/reference.ts";

const caseOf = goldensOf("read-me");

test("Read-ME: an expert keeps the channels that fire most, and what all keep is no expert's own", () => {
  const { inputs, expected } = caseOf("read-me", "masks");
  const [domains, channels] = [inputs.u.length, inputs.u[0].length];
  const masks = inputs.u.map((means: number[]) => maskOf(means, 1, Math.round(inputs.rho * channels)));
  for (const [domain, mask] of masks.entries()) close(mask, expected.masks[domain], 0);
  const graph = new Graph();
  const mask = graph.input("mask", "float32", [domains, channels]);
  const feeds = { mask: masks.flatMap((one: Float32Array) => [...one]) };
  const { routed } = interpret({ name: "routed", inputs: { mask }, outputs: { routed: routedPart(mask) } }, feeds);
  close(routed!, expected.routed.flat(), 0);
  close(
    expected.shared.map((_: number, channel: number) => feeds.mask[channel] - routed![channel]!),
    expected.shared,
    0,
  );
});

test("Read-ME: a token's target is the softmax of how much of its activation each mask covers", () => {
  const { inputs, expected } = caseOf("read-me", "router target");
  const graph = new Graph();
  const act = graph.input("act", "float32", [inputs.act.length, inputs.act[0].length]);
  const masks = graph.input("masks", "float32", [inputs.masks.length, inputs.masks[0].length]);
  const outputs = { overlap: coveredShare([act], [masks]), target: shareTarget([act], [masks], inputs.beta) };
  const feeds = { act: inputs.act.flat(), masks: inputs.masks.flat() };
  const found = interpret({ name: "target", inputs: { act, masks }, outputs }, feeds);
  close(found.overlap!, expected.overlap.flat(), 1e-12);
  close(found.target!, expected.target.flat(), 1e-12);
});

test("Read-ME: means weighted by tokens are those of the pooled text", () => {
  const { inputs, expected } = caseOf("read-me", "pooled statistics");
  const all = inputs.tokens.map((tokens: number, client: number) => ({ tokens, means: inputs.means[client] }));
  close(pooled(all).means, expected.u, 1e-12);
});

test("Read-ME: three traces through a cache, under each policy and from one slot to four", () => {
  const { inputs, expected } = caseOf("read-me", "cache hits at capacity 1..4");
  for (const [name, trace] of Object.entries(inputs.traces)) {
    for (const eviction of evictions) {
      const wanted: number[] | undefined = expected[name][eviction];
      if (wanted === undefined) continue;
      const hits = wanted.map((_, at) => hitsOf(trace as number[], { capacity: at + 1, eviction }));
      close(hits, wanted, 0);
    }
  }
});
