/** Scenarios in which certainly nobody can ever be counted are found before anything runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { hours, millis, minutes } from "../../src/base/units.ts";
import { fedbuff } from "../../src/fl/policies/registry.ts";
import { prepareRun, run } from "../../src/run/run.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import {
  crash,
  hook,
  outage,
  partition,
  serverRestart,
  setDropout,
  setMessageLoss,
} from "../../src/sim/script/effects.ts";
import { at, between, every } from "../../src/sim/script/timeline.ts";
import { planMatrix } from "../../src/study/matrix/plan.ts";
import { matrixOf } from "../../src/study/matrix/planned.ts";
import { threeTiers, timingOnly } from "../support/scenarios.ts";

type World = NonNullable<ScenarioInput["world"]>;
const rounds = { count: 3, cohort: 8, deadline: minutes(2), minUpdates: 2 } as const;
const inTrace = (devices: [number, number][][], assignment: "cycle" | "random" = "cycle") =>
  ({ availability: [{ type: "trace", period: hours(1), devices, assignment }] }) as World;
const whole: [number, number][] = [[0, hours(1)]];

const hopeless: readonly (readonly [string, World, RegExp, ScenarioInput["fleet"]?])[] = [
  ["nobody takes an invitation", { faults: { beforeDownload: 1 } }, /world\.faults\.beforeDownload is 1/],
  ["every download breaks off", { faults: { download: 1 } }, /world\.faults\.download is 1/],
  ["everybody stops in training", { faults: { training: 1 } }, /world\.faults\.training is 1/],
  ["every upload breaks off", { faults: { upload: 1 } }, /world\.faults\.upload is 1, expected a probability below 1/],
  ["everybody crashes", { faults: { crash: 1 } }, /world\.faults\.crash is 1/],
  ["every update is damaged", { faults: { corruptedUpdate: 1 } }, /world\.faults\.corruptedUpdate is 1/],
  ["each region is hit in each round", { faults: { shocks: { probability: 1, severity: 1 } } }, /shocks\.probability/],
  ["all swizzle", { faults: { swizzle: { window: minutes(1), share: 1, probability: 1 } } }, /swizzle\.share is 1/],
  ["no message arrives", { network: { loss: 1 } }, /world\.network\.loss is 1/],
  ["every message is damaged", { network: { corruption: 1 } }, /world\.network\.corruption is 1/],
  [
    "nobody is ever there",
    { availability: [{ type: "bernoulli", probability: 0, slot: minutes(1) }] },
    /availability\[0\]\.probability is 0, expected a number above 0: nobody could ever be counted, and a round needs 2/,
  ],
  [
    "there is no time of day at which anybody is there",
    { availability: [{ type: "diurnal", share: 0, slot: minutes(1), amplitude: 0.5, peakAt: millis(0) }] },
    /availability\[0\]\.share is 0/,
  ],
  ["no charger has WiFi", { availability: [{ type: "charging", wifi: 0 }] }, /availability\[0\]\.wifi is 0/],
  ["a trace has no window", inTrace([[]]), /availability\[0\]\.devices is \[\[\]\]/],
  ["no record of a trace has one", inTrace([[], []], "random"), /availability\[0\]\.devices/],
  [
    "one client of 24 has a record with windows",
    inTrace([...Array.from({ length: 23 }, () => []), whole]),
    /only 1 of 24 clients could ever be counted, and a round needs 2 updates/,
  ],
  [
    "everybody is out for good",
    { timeline: [at(millis(0), outage("all"))] },
    /world\.timeline\[0\] is {"type":"outage"/,
  ],
  ["nobody can be reached", { timeline: [at(millis(0), partition("all"))] }, /timeline\[0\].*expected an effect that/],
  ["the server is gone", { timeline: [at(millis(0), serverRestart())] }, /world\.timeline\[0\]/],
  ["the script has everybody drop out", { timeline: [at(millis(0), setDropout(1))] }, /timeline\[0\]\.effect\.prob/],
  [
    "the script has every message lost",
    { timeline: [at(millis(0), setMessageLoss(1))] },
    /timeline\[0\]\.effect\.prob/,
  ],
  [
    "two tiers of three are out, and the other drops out",
    { timeline: [at(millis(0), outage("phone")), at(millis(0), outage("edge"))] },
    /world\.timeline\[0\][\s\S]*fleet\[1\]\.dropout is 1/,
    threeTiers.map((tier) => ({ ...tier, dropout: tier.name === "laptop" ? 1 : 0 })),
  ],
];

for (const [what, world, message, fleet = [...threeTiers]] of hopeless) {
  test(`${what}: refused, unless that is what is wanted`, async () => {
    await assert.rejects(prepareRun(timingOnly({ world, fleet, rounds }), {}), message);
    const { rows } = await run(timingOnly({ world, fleet, rounds: { ...rounds, mayStayEmpty: true } }), { out: null });
    // What was called certain comes true.
    assert.ok(rows.every(({ aggregated }) => !aggregated));
  });
}

test("a dropout of 1 in every tier is a mistake in a scenario, and the end of a curve in flame stress", async () => {
  const fleet = threeTiers.map((tier) => ({ ...tier, dropout: 1 }));
  await assert.rejects(prepareRun(timingOnly({ fleet }), {}), (error: Error) => {
    for (const tier of [0, 1, 2])
      assert.match(error.message, new RegExp(`fleet\\[${tier}\\]\\.dropout is 1, expected`));
    return /with rounds\.mayStayEmpty: true it runs all the same/.test(error.message);
  });
  await prepareRun(timingOnly({ fleet: threeTiers.map((tier, i) => ({ ...tier, dropout: i === 0 ? 0.999 : 1 })) }), {});
  const matrix = matrixOf({ dropouts: [0.5, 1], seeds: [1] });
  const [half, all] = planMatrix([timingOnly()], matrix, { engine: "auto", source: null }).cells;
  assert.equal(half!.scenario.data.rounds.mayStayEmpty, undefined);
  await prepareRun(half!.scenario, {});
  await prepareRun(all!.scenario, {});
});

test("clients whose updates are never finite are never counted, unless nothing is trained", async () => {
  const attackers = [{ share: 1, attack: { type: "non-finite" } }] as const;
  await assert.rejects(
    prepareRun(timingOnly({ attackers: [...attackers], timingOnly: false, model: "embedded", data: {} }), {}),
    /attackers\[0\]\.share is 1, expected a share below 1/,
  );
  await prepareRun(timingOnly({ attackers: [...attackers] }), {});
});

test("what is merely unlikely, or may be undone by the script, runs", async () => {
  const possible: readonly World[] = [
    { faults: { training: 0.999 } },
    { faults: { acknowledge: 1 } },
    { faults: { shocks: { probability: 1, severity: 0.999 } } },
    { faults: { training: 1 }, timeline: [between(hours(1), hours(2), setDropout(0.5))] },
    {
      faults: { training: 1 },
      timeline: [
        every(
          hours(1),
          hook(() => {}),
        ),
      ],
    },
    { network: { loss: 1 }, timeline: [at(hours(1), setMessageLoss(0))] },
    { timeline: [at(millis(1), outage("all"))] },
    { timeline: [at(millis(0), outage("all", hours(100)))] },
    { timeline: [at(millis(0), outage("phone"))] },
    { timeline: [at(millis(0), crash("all"))] },
    { timeline: [at(millis(0), setDropout(1)), at(hours(1), setDropout(0))] },
    inTrace([whole, whole, []]),
    inTrace([whole, [], [], []], "random"),
  ];
  for (const world of possible) await prepareRun(timingOnly({ world, rounds }), {});
  // FedBuff may count one client many times.
  const world = inTrace([...Array.from({ length: 23 }, () => []), whole]);
  await prepareRun(timingOnly({ world, rounds: { ...rounds, policy: fedbuff({ concurrency: 4, buffer: 3 }) } }), {});
});
