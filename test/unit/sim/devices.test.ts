/** Fleets: what devices are drawn, and which budgets they get. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { problemsOf } from "../../../src/base/problem.ts";
import { Rng } from "../../../src/base/random.ts";
import { type Millis, minutes, seconds } from "../../../src/base/units.ts";
import { buildFleet, type FleetSpec, type RoundCost } from "../../../src/sim/fleet/devices.ts";
import type { Fleet } from "../../../src/sim/fleet/fleet.ts";
import {
  checkRegions,
  defaultRoundCost,
  regionsSchema,
  type TierSpec,
  tiersSchema,
} from "../../../src/sim/fleet/fleet-spec.ts";
import { flashLink } from "../../../src/sim/fleet/links.ts";
import { aiBenchmark, flashPhones, type SpeedLaw } from "../../../src/sim/fleet/speed-laws.ts";
import { moments, shareError } from "../../support/sim-world.ts";

const tier = (change: Partial<TierSpec> = {}): TierSpec => ({
  name: "phone",
  clients: 1_000,
  budget: 2,
  speed: { type: "tokens-per-second", law: 400 },
  link: { type: "rates", down: 4e6, up: 1e6 },
  ...change,
});
const sizes = { examplesPerClient: 100, tokensPerExample: 64 } as const;
const build = (tiers: readonly TierSpec[], cost?: RoundCost, regions?: FleetSpec["regions"]): Fleet =>
  buildFleet({ tiers, ...(regions && { regions }) }, sizes, new Rng(5), cost);
const speeds = (speed: SpeedLaw, clients = 20_000): number[] => [...build([tier({ speed, clients })]).tokensPerSecond];

test("rows go tier by tier, with the numbers the tiers give", () => {
  const fleet = build([tier(), tier({ name: "edge", clients: 10, budget: 4, latency: 20, dropout: 0.2 })]);
  assert.equal(fleet.size, 1_010);
  assert.deepEqual([...fleet.tier.slice(998, 1_002)], [0, 0, 1, 1]);
  const row = (column: ArrayLike<number>) => column[1_005];
  assert.deepEqual(
    [
      fleet.budget,
      fleet.tokensPerSecond,
      fleet.downlink,
      fleet.uplink,
      fleet.latency,
      fleet.examples,
      fleet.tokens,
    ].map(row),
    [4, 400, 4e6, 1e6, 20, 100, 6_400],
  );
  assert.deepEqual(fleet.tierDropout, [0, 0.2]);
});

test("a tier added at the end changes no device before it", () => {
  const phone = tier({ speed: aiBenchmark(400), link: flashLink(), latency: { type: "exponential", mean: 50 } });
  const regions = [
    { name: "east", share: 1 },
    { name: "west", share: 2 },
  ];
  const alone = build([phone], undefined, regions);
  const both = build(
    [phone, tier({ name: "edge", speed: { type: "zipf", fastest: 1, exponent: 1 } })],
    undefined,
    regions,
  );
  for (const column of ["tokensPerSecond", "downlink", "uplink", "latency", "region"] as const) {
    assert.deepEqual(both[column].slice(0, 1_000), alone[column]);
  }
});

test("a client costs at most 64 bytes", () => {
  const columns = Object.values(build([tier({ clients: 1_000 })])).filter(ArrayBuffer.isView);
  assert.ok(columns.reduce((sum, { byteLength }) => sum + byteLength, 0) <= 64_000);
});

test("phones are log-normal, as spread as AI Benchmark's", () => {
  const logs = moments(speeds(aiBenchmark(400)).map((speed) => Math.log(speed / 400)));
  assert.ok(Math.abs(logs.mean) < 4 * logs.error);
  assert.ok(Math.abs(Math.sqrt(logs.variance) - 0.93) < 4 * (0.93 / Math.sqrt(2 * 20_000)));
});

test("Zipf speeds are N^a apart from fastest to slowest, in no order", () => {
  for (const [exponent, ratio] of [
    [0.5, 10],
    [1, 100],
    [1.2, 251],
  ] as const) {
    const found = speeds({ type: "zipf", fastest: 900, exponent }, 100);
    assert.equal(Math.round(Math.max(...found) / Math.min(...found)), ratio);
    assert.notDeepEqual(
      found,
      found.toSorted((a, b) => b - a),
    );
  }
});

test("Pareto devices take t or longer with probability (fastest · t)^−alpha", () => {
  const found = speeds({ type: "pareto", fastest: 100, alpha: 2 });
  const slow = found.filter((speed) => speed < 100 / 3).length / found.length;
  assert.ok(Math.abs(slow - 1 / 9) < 4 * shareError(1 / 9, found.length), `${slow}`);
  assert.ok(Math.max(...found) <= 100);
});

test("FLASH's phones come in its shares, each with its own seconds per batch", () => {
  const found = speeds(flashPhones("celeba-cnn", 1_000)).map((speed) => 1_000 / speed);
  const between = (low: number, high: number) => found.filter((t) => t >= low && t < high);
  const share = (part: number[]) => part.length / found.length;
  const [low, mid] = [between(2.5, 20), between(1, 2.5)];
  assert.ok(Math.abs(share(low) - 0.532) < 4 * shareError(0.532, found.length));
  assert.ok(Math.abs(share(mid) - 0.464) < 4 * shareError(0.464, found.length));
  assert.ok(Math.abs(moments(low).mean - 5.392) < 4 * moments(low).error);
  assert.ok(Math.abs(moments(mid).mean - 1.355) < 4 * moments(mid).error);
});

test("FLOPs and utilisation give tokens per second, and only active experts cost", () => {
  const flopsPerToken = (k: number) => 1e6 + k * 5e5;
  const cost = { ...defaultRoundCost, flopsPerToken };
  const speed: SpeedLaw = { type: "flops", flops: 1e10, utilisation: 0.3 };
  for (const budget of [1, 4]) {
    const found = build([tier({ clients: 1, budget, speed })], cost).tokensPerSecond[0]!;
    assert.ok(Math.abs(found - 3e9 / flopsPerToken(budget)) < 1e-9);
  }
  // Quoted at one expert, used with four.
  const quoted = build([tier({ clients: 1, budget: 4, speedAtBudget: 1 })], cost).tokensPerSecond[0]!;
  assert.equal(quoted, (400 * 1.5e6) / 3e6);
});

test("a fast downlink tends to come with a fast uplink, as in FLASH's profiles", () => {
  const fleet = build([tier({ clients: 20_000, link: flashLink() })]);
  const down = [...fleet.downlink].map(Math.log);
  const up = [...fleet.uplink].map(Math.log);
  const [d, u] = [moments(down), moments(up)];
  assert.ok(Math.abs(d.mean - Math.log(4.318e6)) < 4 * d.error && Math.abs(u.mean - Math.log(3.286e6)) < 4 * u.error);
  const covariance = down.reduce((sum, x, i) => sum + (x - d.mean) * (up[i]! - u.mean), 0) / 20_000;
  const correlation = covariance / Math.sqrt(d.variance * u.variance);
  assert.ok(Math.abs(correlation - 0.45) < 4 * ((1 - 0.45 ** 2) / Math.sqrt(20_000)), `${correlation}`);
});

test("clients follow measured devices: one after the other, or at random", () => {
  const records = [
    { tokensPerSecond: 10, downlink: 100, uplink: 50 },
    { tokensPerSecond: 20, downlink: 7 },
  ];
  const traced = (assignment: "cycle" | "random") =>
    build([
      tier({ clients: 200 }),
      tier({
        name: "traced",
        clients: 400,
        speed: { type: "trace" },
        link: { type: "trace" },
        trace: { records, assignment },
      }),
    ]);
  const cycle = traced("cycle");
  assert.deepEqual([...cycle.tokensPerSecond.slice(200, 204)], [10, 20, 10, 20]);
  // A record with one rate uses it both ways.
  assert.deepEqual([cycle.uplink[200], cycle.uplink[201]], [50, 7]);
  const random = traced("random");
  for (let c = 200; c < 600; c++) assert.equal(random.downlink[c], random.tokensPerSecond[c] === 10 ? 100 : 7);
  const share = random.tokensPerSecond.slice(200).filter((speed) => speed === 10).length / 400;
  assert.ok(Math.abs(share - 0.5) < 4 * shareError(0.5, 400));
});

test("a user's own law is asked once per client, with chance of the client's own", () => {
  const law: SpeedLaw = { type: "function", of: (client, draws) => client + draws.uniform() };
  const fleet = build([tier({ clients: 5, speed: law }), tier({ name: "other", clients: 5, speed: law })]);
  assert.deepEqual([...fleet.tokensPerSecond].map(Math.floor), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(new Set([...fleet.tokensPerSecond].map((speed) => speed % 1)).size, 10);
});

test("a device that nothing can be is refused with its tier and number, whichever law it came from", () => {
  const refused = (change: Partial<TierSpec>, message: RegExp) =>
    assert.throws(() => build([tier({ clients: 3 }), tier({ name: "own", clients: 2, ...change })]), message);
  const speed = (value: unknown): Partial<TierSpec> => ({ speed: { type: "function", of: () => value as number } });
  refused(speed(-1), /tier "own", client 3: the speed in tokens per second is -1, expected a finite number above 0/);
  refused(speed(NaN), /the speed in tokens per second is NaN/);
  refused(speed("fast"), /the speed in tokens per second is NaN/);
  refused({ link: { type: "function", of: () => ({ down: 1, up: 0 }) } }, /the uplink in bytes per second is 0/);
  refused({ link: { type: "function", of: () => undefined as never } }, /the downlink in bytes per second is NaN/);
  refused({ speed: { type: "seconds-per-token", law: { type: "log-normal", median: 1, sigma: 1e6 } } }, /the speed/);
  refused(
    { clients: 20, latency: { type: "log-normal", median: 1, sigma: 1e6 } },
    /the latency in milliseconds is Inf/,
  );
});

test("memory caps the budget", () => {
  const memory = (available: number) => ({ available, fixed: 1_000, perExpert: 300 });
  const budget = (available: number) => build([tier({ clients: 1, budget: 8, memory: memory(available) })]).budget[0];
  assert.deepEqual([10_000, 3_400, 2_199, 500].map(budget), [8, 8, 3, 1]);
});

test("a budget from the deadline is the largest with which a round fits", () => {
  const trainedTokens = (_: number, tokens: number) => 2 * tokens;
  const cost = { ...defaultRoundCost, trainedTokens, downloadBytes: 4e6, uploadBytes: 1e6 };
  // 1 s down, 1 s up, 0.2 s latency, and 12,800 tokens at 400/s for k = 8: 32 s · k / 8.
  const budget = (deadline: Millis, change: Partial<TierSpec> = {}) =>
    build(
      [tier({ clients: 1, latency: 100, budget: { type: "deadline", deadline, allowed: [1, 2, 4, 8] }, ...change })],
      cost,
    );
  assert.deepEqual(
    [35, 34, 18.3, 18.1, 10.2, 3].map((s) => budget(seconds(s)).budget[0]),
    [8, 4, 4, 2, 2, 1],
  );
  // The speed is that of the budget chosen.
  assert.equal(budget(seconds(10.2)).tokensPerSecond[0], 1_600);
  const small = { available: 5, fixed: 0, perExpert: 1 };
  assert.equal(budget(minutes(10), { memory: small }).budget[0], 4);
});

test("regions are shared out, and a tier can have a region of its own", () => {
  const regions = [
    { name: "east", share: 1 },
    { name: "west", share: 3 },
  ];
  const fleet = build([tier({ clients: 8_000 }), tier({ name: "edge", region: "west" })], undefined, regions);
  const east = fleet.region.slice(0, 8_000).filter((region) => region === 0).length / 8_000;
  assert.ok(Math.abs(east - 0.25) < 4 * shareError(0.25, 8_000));
  assert.ok(fleet.region.slice(8_000).every((region) => region === 1));
});

test("fleets that cannot be are named with their fields", () => {
  const found = (change: Partial<TierSpec>) => problemsOf(tiersSchema, [tier(change)]).map(({ path }) => path);
  assert.deepEqual(found({ latency: 0 }), []);
  assert.deepEqual(found({ clients: 0, budget: 0, dropout: 1.2 }), ["[0].clients", "[0].budget", "[0].dropout"]);
  assert.deepEqual(found({ name: "all" }), ["[0].name"]);
  assert.deepEqual(found({ link: { type: "rates", down: 1, up: 0 } }), ["[0].link.up"]);
  assert.deepEqual(found({ uplink: 1 }), ["[0]"]);
  assert.deepEqual(found({ speed: { type: "flops", flops: 1e9, utilisation: 1.5 } }), ["[0].speed.utilisation"]);
  assert.deepEqual(found({ speed: { type: "trace" } }), ["[0].trace"]);
  assert.deepEqual(found({ speed: { type: "trace" }, trace: { records: [{ uplink: 1 }], assignment: "cycle" } }), [
    "[0].trace.records[0].tokensPerSecond",
  ]);
  assert.deepEqual(found({ link: { type: "trace" }, trace: { records: [{}], assignment: "cycle" } }), [
    "[0].trace.records[0].downlink",
  ]);
  assert.deepEqual(found({ budget: { type: "deadline", deadline: seconds(0), allowed: [] } }), [
    "[0].budget.deadline",
    "[0].budget.allowed",
  ]);
  assert.deepEqual(found({ clients: 1e12 }), ["[0].clients", ""]);
  assert.deepEqual(found({ latency: -5 }), ["[0].latency"]);
  assert.deepEqual(found({ speed: { type: "tokens-per-second", law: { type: "uniform", min: 0, max: 0 } } }), [
    "[0].speed.law.max",
  ]);
  assert.deepEqual(found({ memory: { available: 3, fixed: 2, perExpert: 2 } }), ["[0].memory.available"]);
  assert.deepEqual(problemsOf(tiersSchema, [tier(), tier()]), [
    { path: "[1].name", text: 'is "phone", expected a name that no other one has' },
  ]);
});

test("regions that cannot be are named, and a tier that lies in none of them", () => {
  assert.deepEqual(problemsOf(regionsSchema, [{ name: "east", share: 0 }]), [
    { path: "", text: 'is [{"name":"east","share":0}], expected at least one region with a share above 0' },
  ]);
  assert.deepEqual(checkRegions([tier(), tier({ region: "atlantis" })], [{ name: "east", share: 1 }]), [
    { path: "fleet[1].region", text: 'is "atlantis", expected one of the regions east' },
  ]);
});
