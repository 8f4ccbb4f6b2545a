/** Deadlines, timeouts and windows that nobody can meet are found before anything runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { minutes } from "../../src/base/units.ts";
import { prepareRun, run } from "../../src/run/run.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { hook, slowdown } from "../../src/sim/script/effects.ts";
import { at } from "../../src/sim/script/timeline.ts";
import { timingOnly } from "../support/scenarios.ts";

/** Nine clients that need 10 s for their 3,000 tokens, and one that needs 2 s. */
const fleet = [
  { name: "slow", clients: 9, budget: 1, tokensPerSecond: 300, uplink: 1e12 },
  { name: "fast", clients: 1, budget: 1, tokensPerSecond: 1_500, uplink: 1e12 },
];
const data = { sizes: { examplesPerClient: 50, tokensPerExample: 60 } };
const prepared = (change: Partial<ScenarioInput>) => prepareRun(timingOnly({ fleet, data, ...change }), {});
const rounds = { count: 2, cohort: 4 } as const;

test("a deadline that was written in seconds is named, with what the fastest client takes", async () => {
  await assert.rejects(
    prepared({ rounds: { ...rounds, deadline: 60 } }),
    /rounds\.deadline is 60 \(60ms\), expected milliseconds in which an update can come: the fastest client takes 2s at/,
  );
  await prepared({ rounds: { ...rounds, deadline: 2_001 } });
});

test("a quorum of more clients than can be in time can never be met", async () => {
  await assert.rejects(
    prepared({ rounds: { ...rounds, deadline: 9_000, minUpdates: 2 } }),
    /rounds\.deadline is 9000 \(9s\), expected milliseconds in which 2 updates can come: 1 clients can be in time/,
  );
  const policy = { type: "synchronous", cohort: 4, deadline: 9_000, minUpdates: 2 };
  await assert.rejects(prepared({ rounds: { ...rounds, policy } }), /rounds\.policy\.deadline is 9000/);
});

test("late updates that are used have all the time there is", async () => {
  const policy = { type: "synchronous", cohort: 4, deadline: 1_000, late: "stale" };
  const scenario = timingOnly({ fleet, data, rounds: { count: 30, cohort: 4, policy } });
  await prepareRun(scenario, {});
  const { rows } = await run(scenario, { out: null });
  assert.ok(rows.some(({ counted }) => counted > 0));
});

test("a timeout after which nobody can have answered is named; a sweep may come nearly twice as late", async () => {
  const policy = (timeout: number) => ({ ...rounds, policy: { type: "fedbuff", concurrency: 4, buffer: 2, timeout } });
  await assert.rejects(prepared({ rounds: policy(900) }), /rounds\.policy\.timeout is 900 \(900ms\), expected milli/);
  await prepared({ rounds: policy(1_100) });
});

test("TiFL takes a round from one tier: one that is smaller than the quorum can never meet it", async () => {
  const with_ = (sampler: object, minUpdates = 1) =>
    prepared({ rounds: { ...rounds, minUpdates, sampler: { type: "tifl", ...sampler } } });
  // Ten clients in four tiers: three at most.
  await assert.rejects(
    with_({ tiers: 4 }, 4),
    /rounds\.sampler\.tiers is 4, expected tiers of at least 4 clients, the quorum: 10 clients make tiers of 3/,
  );
  await with_({ tiers: 4 }, 3);
  await assert.rejects(
    with_({ latencyCap: 60 }),
    /rounds\.sampler\.latencyCap is 60 \(60ms\), expected milliseconds that let a client in: the fastest takes 2s/,
  );
  await with_({ latencyCap: 2_000 });
});

test("recorded windows that are shorter than any part are named, wherever they are cut", async () => {
  const recorded = (windows: [number, number][], onIneligible: "abort" | "pause" = "abort") => {
    const trace = { type: "trace", period: minutes(10), devices: [windows], assignment: "random" } as const;
    return prepared({ rounds, world: { availability: [trace], onIneligible } });
  };
  await assert.rejects(
    recorded([
      [0, 600],
      [600, 1_200],
      [5_000, 5_900],
    ]),
    /world\.availability\[0\]\.devices is recorded with windows of at most 1200 \(1\.2s\), expected milliseconds in/,
  );
  await recorded([[0, 1_200]], "pause");
  await recorded([
    [0, 1_200],
    [598_500, 600_000],
  ]);
});

test("what luck, a script or less work may bring about is let pass", async () => {
  const deadline = 1_000;
  const noise = (cv: number) => ({ compute: { noise: { type: "log-normal", mean: 1, cv } as const } });
  await assert.rejects(prepared({ rounds: { ...rounds, deadline: 100 }, world: noise(0.2) }), /takes 5\d\dms at best/);
  await prepared({ rounds: { ...rounds, deadline }, world: noise(0.2) });
  await prepared({ rounds: { ...rounds, deadline }, training: { effort: { type: "uniform" } } });
  await prepared({ rounds: { ...rounds, deadline }, world: { timeline: [at(minutes(1), slowdown("all", 0.1))] } });
  await prepared({
    rounds: { ...rounds, deadline },
    world: {
      timeline: [
        at(
          minutes(1),
          hook(() => {}),
        ),
      ],
    },
  });
  await prepared({
    rounds: { ...rounds, deadline },
    world: { compute: { duration: { type: "exponential", mean: 60 } } },
  });
});
