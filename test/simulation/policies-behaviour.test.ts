/** What each policy, sampler and kind of trouble means for the clients, in whole simulated federations. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { type ClientId, clientId } from "../../src/base/ids.ts";
import { minutes, seconds } from "../../src/base/units.ts";
import { fedbuff, semiSynchronous, synchronous } from "../../src/fl/policies/registry.ts";
import type { RoundPolicy } from "../../src/fl/policy.ts";
import type { ClientSampler } from "../../src/fl/sampler.ts";
import { oort, powerOfChoice, roundRobin, tifl, uniform, weighted } from "../../src/fl/samplers/registry.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { crash, serverRestart } from "../../src/sim/script/effects.ts";
import { at } from "../../src/sim/script/timeline.ts";
import { temporaryFolder } from "../support/folders.ts";
import { mean, type Played, playTiming } from "../support/play.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { timingOnly } from "../support/scenarios.ts";

/** Half the devices take about 10 s, half about 100 s. */
const twoSpeeds = [
  { name: "fast", clients: 40, budget: 1, tokensPerSecond: 240, uplink: 1e9, latency: 10 },
  { name: "slow", clients: 40, budget: 1, tokensPerSecond: 24, uplink: 1e9, latency: 10 },
] as const;
const sizes = { sizes: { examplesPerClient: 40, tokensPerExample: 60 } } as const;

const twoTiers = (rounds: ScenarioInput["rounds"], more: Partial<ScenarioInput> = {}) =>
  timingOnly({ fleet: [...twoSpeeds], data: sizes, rounds, ...more });

const tiersOf = ({ parts }: Played): Map<number, Set<string>> => {
  const tiers = new Map<number, Set<string>>();
  for (const { round, tier } of parts) tiers.set(round, (tiers.get(round) ?? new Set()).add(tier));
  return tiers;
};
const roundTime = ({ rounds }: Played) => mean(rounds.slice(1).map(({ startedAt, closedAt }) => closedAt - startedAt));

test("a straggler that has reported may be invited again", async () => {
  // Every round needs 8 of 16 invitations, so 8 stragglers a round are left behind; 80 clients would last ten rounds.
  const rounds = { count: 60, cohort: 8, overSelection: 2, minUpdates: 8, deadline: minutes(5) };
  const played = await playTiming(twoTiers(rounds));
  assert.ok(played.rounds.slice(1).every(({ counted }) => counted === 8));
  assert.ok(played.parts.filter(({ outcome }) => outcome === "late").length > 200);
});

test("TiFL takes a round's clients from one latency tier, so most rounds do not wait for slow devices", async () => {
  const rounds = { count: 60, cohort: 8, minUpdates: 1 };
  const mixed = await playTiming(twoTiers({ ...rounds, sampler: uniform() }));
  const tiered = await playTiming(twoTiers({ ...rounds, sampler: tifl({ tiers: 2 }) }));
  const inOneTier = (played: Played) => [...tiersOf(played).values()].filter(({ size }) => size === 1).length;
  assert.ok(inOneTier(mixed) < 10, `${inOneTier(mixed)}`);
  assert.equal(inOneTier(tiered), 60);
  // Half of the tiered rounds take 10 s and half 100 s; of the mixed ones nearly all take 100 s.
  assert.ok(roundTime(tiered) < 0.75 * roundTime(mixed), `${roundTime(tiered)} and ${roundTime(mixed)}`);
});

test("FedBuff: of updates that arrive at one time those of the lower clients are counted first", async () => {
  const fast = [{ ...twoSpeeds[0], latency: 0 }];
  const rounds = { count: 3, cohort: 10, policy: fedbuff({ concurrency: 10, buffer: 4 }) };
  const { parts, endedIn } = await playTiming(timingOnly({ fleet: fast, data: sizes, rounds }));
  const clientsOf = (some: typeof parts) => some.map(({ client }) => client);
  const firstArrival = Math.min(...parts.flatMap(({ arrivedAt }) => arrivedAt ?? []));
  const together = parts.filter(({ arrivedAt }) => arrivedAt === firstArrival);
  assert.equal(together.length, 10);
  const counted = parts.filter(({ outcome }, at) => outcome === "counted" && endedIn[at] === 1);
  assert.deepEqual(clientsOf(counted), clientsOf(together).sort().slice(0, 4));
});

test("a sampler of the user's may answer with a typed array", async () => {
  const inOrder = (of: (clients: ClientId[]) => ClientId[]): ClientSampler => ({
    name: "in-order",
    spec: { type: "in-order" },
    needsLosses: false,
    select: ({ fleet, isEligible }, count) =>
      of(
        Array.from({ length: fleet.size }, (_, row) => clientId(row))
          .filter(isEligible)
          .slice(0, count),
      ),
  });
  const rounds = { count: 3, cohort: 8, minUpdates: 1 };
  const typed = (clients: ClientId[]) => Uint32Array.from(clients) as unknown as ClientId[];
  const listed = await playTiming(twoTiers({ ...rounds, sampler: inOrder((clients) => clients) }));
  assert.deepEqual((await playTiming(twoTiers({ ...rounds, sampler: inOrder(typed) }))).parts, listed.parts);
});

test("TiFL's credits run out: the server keeps what the sampler remembers from round to round", async () => {
  // Tier 0 has 12 credits and tier 1 has 6, so 18 rounds take 12 from the fast and 6 from the slow, then it begins anew.
  const rounds = { count: 36, cohort: 8, minUpdates: 1, sampler: tifl({ tiers: 2, credits: 12, interval: 100 }) };
  const tiers = [...tiersOf(await playTiming(twoTiers(rounds))).values()].map((names) => [...names][0]);
  const fast = (names: (string | undefined)[]) => names.filter((name) => name === "fast").length;
  assert.deepEqual([fast(tiers.slice(0, 18)), fast(tiers.slice(18))], [12, 12]);
});

test("Oort prefers fast clients once it knows them, and never stops trying new ones", async () => {
  const rounds = { count: 40, cohort: 8, minUpdates: 1 };
  const plain = await playTiming(twoTiers(rounds));
  const guided = await playTiming(twoTiers({ ...rounds, sampler: oort({ exploration: 0.5, percentile: 40 }) }));
  const slowShare = ({ parts }: Played) => {
    const late = parts.filter(({ round }) => round > 20);
    return late.filter(({ tier }) => tier === "slow").length / late.length;
  };
  assert.ok(Math.abs(slowShare(plain) - 0.5) < 0.15, `${slowShare(plain)}`);
  assert.ok(slowShare(guided) < slowShare(plain) - 0.1, `${slowShare(guided)}`);
  assert.ok(roundTime(guided) < roundTime(plain));
  assert.ok(guided.rounds.at(-1)!.distinctClients > 60);
});

for (const sampler of [
  uniform(),
  weighted(),
  roundRobin(),
  powerOfChoice({ candidates: 16 }),
  oort(),
  tifl({ tiers: 3, credits: 4 }),
]) {
  test(`a run sampled by ${sampler.name} goes on after an interruption as if there had been none`, async (t) => {
    const folder = temporaryFolder(t);
    const scenario = () =>
      twoTiers(
        { count: 12, cohort: 6, minUpdates: 2, deadline: minutes(1), sampler },
        { world: { faults: { training: 0.1 } } },
      );
    const straight = join(folder, "straight");
    const { diagnostics } = await run(scenario(), { out: straight, reproduce: "x" });
    for (const share of [0.3, 0.7]) {
      const out = join(folder, `${share}`);
      await run(scenario(), { out, reproduce: "x", signal: interruptAfter(Math.floor(share * diagnostics.events!)) });
      await resume(await loadRun(out), { reproduce: "x" });
      assertSameRun(out, straight, `${sampler.name} at ${share}`);
    }
  });
}

test("semi-synchronous: what comes after the end of its period counts in the next one instead of being lost", async () => {
  const policy = semiSynchronous({ period: seconds(30), concurrency: 16 });
  const played = await playTiming(twoTiers({ count: 40, cohort: 16, policy }));
  const stale = played.parts.flatMap(({ tier, outcome, round }, at) =>
    tier === "slow" && outcome === "counted" && round < 30 ? [played.endedIn[at]! - round] : [],
  );
  // 100 s are more than three periods.
  assert.ok(stale.length > 50 && stale.every((versions) => versions === 3), `${stale}`);
  assert.ok(played.parts.filter(({ outcome, round }) => outcome === "late" && round < 35).length === 0);
  const lengths = played.rounds.slice(2).map(({ startedAt, closedAt }) => closedAt - startedAt);
  assert.ok(lengths.every((length) => length === 30_000));
});

test("late updates used as stale: slow devices that miss every deadline are counted in later rounds", async () => {
  const within = (late: "drop" | "stale", more: object = {}) =>
    synchronous({ cohort: 16, deadline: seconds(30), minUpdates: 1, late, ...more });
  const played = (policy: RoundPolicy, more: Partial<ScenarioInput> = {}) =>
    playTiming(twoTiers({ count: 40, cohort: 16, policy }, more));
  const slow = ({ parts, endedIn }: Played, outcome: string) =>
    parts.flatMap((part, at) => (part.tier === "slow" && part.outcome === outcome ? [endedIn[at]! - part.round] : []));
  const dropping = await played(within("drop"));
  assert.equal(slow(dropping, "counted").length, 0);
  const using = await played(within("stale"));
  const waited = slow(using, "counted");
  // 100 s are more than three rounds of at most 30 s.
  assert.ok(waited.length > 100 && waited.every((rounds) => rounds >= 3), `${waited}`);
  assert.ok(
    using.parts.every(
      ({ outcome, arrivedAt, invitedAt, tier }) =>
        outcome !== "counted" || tier !== "slow" || arrivedAt! - invitedAt > 100_000,
    ),
  );
  // Only the last rounds leave anybody behind.
  assert.ok(using.parts.every(({ outcome, round }) => outcome !== "late" || round > 25));
  const picky = await played(within("stale", { maxStaleness: 2 }));
  assert.equal(slow(picky, "counted").length, 0);
  assert.ok(slow(picky, "rejected").length > 100);
});

test("late updates used as stale: a server hears of lost clients, and does not keep what they began from for ever", async () => {
  const policy = synchronous({ cohort: 16, deadline: seconds(30), minUpdates: 1, late: "stale" });
  const world = { faults: { training: 0.5 } };
  const { parts, endedIn } = await playTiming(twoTiers({ count: 40, cohort: 16, policy }, { world }));
  const dropped = parts.flatMap(({ outcome, round }, at) => (outcome === "dropped" ? [endedIn[at]! - round] : []));
  assert.ok(dropped.length > 100 && dropped.every((rounds) => rounds <= 4), `${dropped}`);
});

test("too stale an update is rejected, and its client goes on", async () => {
  const policy = fedbuff({ concurrency: 16, buffer: 4, maxStaleness: 1 });
  const { parts, rounds } = await playTiming(twoTiers({ count: 60, cohort: 4, policy }));
  const rejected = parts.filter(({ reason }) => reason === "stale");
  const slow = rejected.filter(({ tier }) => tier === "slow").length;
  assert.ok(slow > 50 && slow > 0.8 * rejected.length, `${slow} of ${rejected.length} rejected are slow`);
  assert.equal(rounds.at(-1)!.round, 60);
});

test("a client that has no time for all its steps takes fewer and is counted instead of late", async () => {
  const rounds = { count: 10, cohort: 20, minUpdates: 1, deadline: minutes(1) };
  const all = await playTiming(twoTiers(rounds, { training: { batchSize: 4 } }));
  const fitted = await playTiming(twoTiers(rounds, { training: { batchSize: 4, effort: { type: "fit" } } }));
  const late = ({ parts }: Played) => parts.filter(({ outcome }) => outcome === "late");
  assert.ok(late(all).length > 50 && late(all).every(({ tier }) => tier === "slow"));
  assert.equal(late(fitted).length, 0);
  const took = (tier: string) =>
    fitted.parts.filter((part) => part.tier === tier).map(({ downloadedAt, trainedAt }) => trainedAt! - downloadedAt!);
  // The slow have ten batches of ten seconds each and time for five; the fast do all ten in ten seconds.
  assert.ok(
    took("slow").every((time) => time === 50_000),
    `${took("slow")[0]}`,
  );
  assert.ok(took("fast").every((time) => time === 10_000));
});

test("a server that restarts in the middle of a round has messages sent again from their first byte", async () => {
  // 20 kB at 1 kB/s: downloads take about 20 s, and the server is away from 10 s to 15 s.
  const fleet = [{ name: "slow link", clients: 4, budget: 1, tokensPerSecond: 1_000, uplink: 1_000, downlink: 1_000 }];
  const rounds = { count: 2, cohort: 4, minUpdates: 4 };
  const scenario = (timeline: NonNullable<ScenarioInput["world"]>["timeline"]) =>
    timingOnly({ fleet, data: sizes, rounds, world: { timeline: timeline! } });
  const calm = await playTiming(scenario([]));
  const restarted = await playTiming(scenario([at(seconds(10), serverRestart(seconds(5)))]));
  assert.ok(restarted.rounds.slice(1).every(({ counted }) => counted === 4));
  const first = (played: Played) => played.rounds[1]!.closedAt;
  assert.equal(first(restarted) - first(calm), 15_000);
  const { traffic } = restarted.federation.world;
  // Ten seconds of each of four downloads were in vain.
  assert.equal(traffic.downloadLost, 4 * 10_000);
  // Four acknowledgements are still on their way.
  assert.ok(traffic.downloadSent - traffic.downloadReceived - traffic.downloadLost < 1_000);
  assert.equal(traffic.uploadSent, traffic.uploadReceived);
});

test("a client that crashes loses what it was doing, is back at once, and may be invited in the next round", async () => {
  const rounds = { count: 3, cohort: 80, minUpdates: 1, deadline: minutes(2) };
  const played = await playTiming(twoTiers(rounds, { world: { timeline: [at(seconds(50), crash("slow"))] } }));
  const [first, second] = [played.rounds[1]!, played.rounds[2]!];
  assert.deepEqual([first.counted, first.dropped], [40, 40]);
  assert.deepEqual([second.counted, second.dropped], [80, 0]);
  const crashed = played.parts.filter(({ reason }) => reason === "crash");
  assert.ok(crashed.every(({ tier, phase }) => tier === "slow" && phase === "training"));
});

test("a doubled message changes nothing but the bytes", async () => {
  const rounds = { count: 10, cohort: 16, minUpdates: 8, deadline: minutes(3) };
  const once = await playTiming(twoTiers(rounds));
  const twice = await playTiming(twoTiers(rounds, { world: { network: { duplication: 1 } } }));
  assert.deepEqual(twice.parts, once.parts);
  const [single, double] = [once.federation.world.traffic, twice.federation.world.traffic];
  assert.ok(double.uploadSent > 1.8 * single.uploadSent);
});
