/** Scripted effects: what they do to work under way, and that they compose with chance. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { problemsOf } from "../../../src/base/problem.ts";
import { hours, type Millis, minutes, seconds } from "../../../src/base/units.ts";
import { Conditions } from "../../../src/sim/script/conditions.ts";
import {
  bandwidth,
  crash,
  hook,
  outage,
  type PlainEffect,
  partition,
  type SimulatedWorld,
  serverRestart,
  setDropout,
  setMessageLoss,
  slowdown,
} from "../../../src/sim/script/effects.ts";
import { at, between, every, type TimelineEntry } from "../../../src/sim/script/timeline.ts";
import { checkWorld, defaultWorldSpec, type WorldSpec, worldSchema } from "../../../src/sim/world-spec.ts";
import { type Ending, equalFleet, listen, play, Script, type Stage, stage } from "../../support/sim-world.ts";

const fleet = () => equalFleet({ size: 4, regions: 2, tiers: ["phone", "server"], rate: 1_000 });

function staged(timeline: readonly TimelineEntry[], spec: Partial<WorldSpec> = {}): Stage {
  return stage({ fleet: fleet(), spec: { timeline, ...spec } });
}

function computing(own: Stage, client: number, length: number): void {
  const common = { ticket: client, client: clientId(client), participation: participationId(client), round: round(1) };
  own.world.compute({ ...common, duration: seconds(length) });
}

function sending(own: Stage, client: number, bytes: number): void {
  const common = { ticket: client, client: clientId(client), participation: participationId(client), round: round(1) };
  own.world.transfer({ ...common, stage: "upload", bytes });
}

const told = (endings: readonly Ending[]) =>
  endings.map(({ ticket, at: time, how, loss }) => [ticket, time / 1_000, loss?.reason ?? how]);

test("an outage of a region takes its clients' work at once, and keeps them away until it ends", async () => {
  const own = staged([at(seconds(30), outage("region-1", seconds(60)))]);
  const endings = listen(own);
  for (let client = 0; client < 4; client++) computing(own, client, 50);
  const script = new Script(own.kernel);
  const seen: [number, boolean[], Millis | null][] = [];
  for (const time of [29, 30, 89, 90]) {
    script.at(seconds(time) + 1, () =>
      seen.push([time, [0, 1].map((client) => own.world.isAvailable(clientId(client))), own.world.nextAvailability()]),
    );
  }
  await own.kernel.run();
  assert.deepEqual(told(endings), [
    [1, 30, "outage"],
    [3, 30, "outage"],
    [0, 50, "computed"],
    [2, 50, "computed"],
  ]);
  assert.deepEqual(seen, [
    [29, [true, true], null],
    [30, [true, false], seconds(90)],
    [89, [true, false], seconds(90)],
    [90, [true, true], null],
  ]);
});

test("in a world that pauses, an outage only delays", async () => {
  const own = staged([at(seconds(30), outage("region-1", seconds(60)))], { onIneligible: "pause" });
  const endings = listen(own);
  computing(own, 1, 50);
  sending(own, 3, 50_000);
  await own.kernel.run();
  assert.deepEqual(told(endings), [
    [1, 110, "computed"],
    [3, 110, "intact"],
  ]);
});

test("what stands still for ever is lost", async () => {
  const own = staged([at(seconds(5), outage("region-1")), at(seconds(5), partition("region-0"))], {
    onIneligible: "pause",
  });
  const endings = listen(own);
  computing(own, 1, 50);
  sending(own, 2, 50_000);
  await own.kernel.run();
  assert.deepEqual(told(endings), [
    [1, 5, "outage"],
    [2, 5, "partition"],
  ]);
});

test("a slowdown stretches the work that falls into it", async () => {
  // 20 s before, 30 s at a third, which is 10 s of work, and the other 70 s after.
  const own = staged([between(seconds(20), seconds(50), slowdown("phone", 3))]);
  const endings = listen(own);
  computing(own, 0, 100);
  computing(own, 1, 100);
  await own.kernel.run();
  assert.deepEqual(told(endings), [
    [1, 100, "computed"],
    [0, 120, "computed"],
  ]);
});

test("two slowdowns at once multiply", async () => {
  const own = staged([at(seconds(0), slowdown("all", 2)), at(seconds(0), slowdown({ clients: [0] }, 3))]);
  const endings = listen(own);
  const script = new Script(own.kernel);
  script.at(1, () => computing(own, 0, 10));
  await own.kernel.run();
  assert.deepEqual(told(endings), [[0, 60.001, "computed"]]);
});

test("less bandwidth slows messages down, a partition stops them, and computing goes on", async () => {
  const timeline = [
    between(seconds(10), seconds(20), bandwidth("all", 0.5)),
    between(seconds(30), seconds(45), partition("all")),
  ];
  const own = staged(timeline);
  const endings = listen(own);
  sending(own, 0, 40_000);
  computing(own, 1, 40);
  await own.kernel.run();
  // 10 + 5 + 10 s of it by 30 s, and the other 15 s after the partition.
  assert.deepEqual(told(endings), [
    [1, 40, "computed"],
    [0, 60, "intact"],
  ]);
});

test("a server restart makes messages start again from their first byte; what was sent is paid for", async () => {
  const own = staged([at(seconds(30), serverRestart(seconds(10)))]);
  const endings = listen(own);
  sending(own, 0, 40_000);
  computing(own, 1, 50);
  const script = new Script(own.kernel);
  script.at(35_000, () => sending(own, 2, 5_000));
  script.at(35_001, () => assert.equal(own.world.isAvailable(clientId(3)), false));
  await own.kernel.run();
  assert.deepEqual(told(endings), [
    [2, 45, "intact"],
    [1, 50, "computed"],
    [0, 80, "intact"],
  ]);
  const { uploadSent, uploadLost, uploadReceived } = own.world.traffic;
  assert.deepEqual([uploadSent, uploadLost, uploadReceived], [75_000, 30_000, 45_000]);
});

test("a crash takes what the targets are doing, and nothing else; they are back at once", async () => {
  const own = staged([at(seconds(30), crash({ clients: [1, 2] }))]);
  const endings = listen(own);
  for (let client = 0; client < 3; client++) computing(own, client, 50);
  const script = new Script(own.kernel);
  script.at(30_001, () => assert.equal(own.world.isAvailable(clientId(1)), true));
  await own.kernel.run();
  assert.deepEqual(told(endings), [
    [1, 30, "crash"],
    [2, 30, "crash"],
    [0, 50, "computed"],
  ]);
});

test("a scripted dropout replaces the world's own while it lasts", async () => {
  const all = Array.from({ length: 30 }, (_, i) => ({ client: i % 4, round: i, at: i * 60_000 }));
  const timeline = [between(minutes(10), minutes(20), setDropout(1))];
  const results = await play({ fleet: fleet(), spec: { timeline } }, all);
  for (const { part, loss } of results) assert.equal(loss !== null, part.at >= minutes(10) && part.at < minutes(20));
});

test("of several scripted probabilities the one that began last holds, and when it ends the one before it again", () => {
  const conditions = new Conditions(fleet());
  const all = { target: "all", type: "dropout" } as const;
  conditions.begin({ ...all, probability: 0.2 }, Infinity);
  const dropout = conditions.begin({ ...all, probability: 0.9 }, Infinity);
  conditions.begin({ type: "message-loss", probability: 0.1 }, Infinity);
  const loss = conditions.begin({ type: "message-loss", probability: 0.6 }, Infinity);
  assert.deepEqual([conditions.dropout(clientId(0)), conditions.messageLoss()], [0.9, 0.6]);
  conditions.end(dropout);
  conditions.end(loss);
  assert.deepEqual([conditions.dropout(clientId(0)), conditions.messageLoss()], [0.2, 0.1]);
});

test("scripted message loss wakes the retries", async () => {
  const own = staged([between(seconds(0), seconds(25), setMessageLoss(1))], {
    network: { retry: { timeout: seconds(10), attempts: 9 } },
  });
  const endings = listen(own);
  const script = new Script(own.kernel);
  script.at(1, () => sending(own, 0, 1_000));
  await own.kernel.run();
  // Copies at 0, 11 and 22 s are lost, the one at 33 s arrives.
  assert.deepEqual(told(endings), [[0, 34.001, "intact"]]);
});

test("what repeats happens at from, and then every period until its end", async () => {
  const times: number[] = [];
  const own = staged([
    every(
      minutes(10),
      hook((sim) => times.push(sim.now)),
      { from: minutes(5), until: minutes(35) },
    ),
  ]);
  listen(own);
  computing(own, 0, 7_200);
  await own.kernel.run();
  assert.deepEqual(
    times,
    [5, 15, 25].map((m) => minutes(m)),
  );
});

test("a timeline that repeats for ever does not keep a finished run alive", async () => {
  const own = staged([
    every(minutes(10), outage("region-1", minutes(20))),
    every(
      minutes(7),
      hook(() => {}),
    ),
  ]);
  const endings = listen(own);
  computing(own, 0, 3_000);
  await own.kernel.run();
  assert.deepEqual(told(endings), [[0, 3_000, "computed"]]);
  assert.ok(own.kernel.now < hours(2));
});

test("a hook sees the world and can do to it what a timeline can", async () => {
  const seen: unknown[] = [];
  const own = staged([
    at(
      seconds(20),
      hook((sim) => {
        seen.push(sim.now, sim.busyClients(), sim.fleet.tierNames[sim.fleet.tier[1]!], sim.traffic.uploadSent);
        if (sim.isAvailable(clientId(1))) sim.inject({ type: "crash", target: { clients: [1] } });
        sim.inject({ type: "slowdown", target: "region-0", factor: 2, duration: seconds(10) });
        seen.push(sim.draws.uniform());
      }),
    ),
  ]);
  const endings = listen(own);
  for (const client of [2, 1]) computing(own, client, 50);
  await own.kernel.run();
  assert.deepEqual(seen.slice(0, 4), [20_000, [1, 2], "server", 0]);
  assert.ok(seen[4] !== undefined);
  assert.deepEqual(told(endings), [
    [1, 20, "crash"],
    [2, 55, "computed"],
  ]);
});

test("a hook that happens again has new luck, and the same luck in every run of the seed", async () => {
  const drawn = async (): Promise<number[]> => {
    const values: number[] = [];
    const look = hook((sim) => {
      values.push(sim.draws.uniform());
    });
    const own = staged([every(seconds(10), look), at(seconds(15), look)]);
    listen(own);
    computing(own, 1, 60);
    await own.kernel.run();
    return values;
  };
  const values = await drawn();
  assert.ok(values.length >= 5 && new Set(values).size === values.length, `${values}`);
  assert.deepEqual(await drawn(), values);
});

test("what a hook may not do is named: impossible effects, changes of the fleet, and anything after it has returned", async () => {
  const played = async (act: (sim: SimulatedWorld) => void): Promise<void> => {
    const own = staged([at(seconds(1), hook(act))]);
    listen(own);
    await own.kernel.run();
  };
  const injecting = (effect: unknown) => played((sim) => sim.inject(effect as PlainEffect));
  await assert.rejects(
    injecting({ type: "outage", target: "atlantis" }),
    /timeline\[0\]\.effect\.run injects what cannot be: effect\.target is "atlantis", expected one of all/,
  );
  await assert.rejects(injecting({ type: "message-loss", probability: 5 }), /probability is 5, expected a probability/);
  await assert.rejects(
    injecting({ type: "server-restart", duration: 1.5 }),
    /duration is 1\.5, expected a whole number/,
  );
  await assert.rejects(injecting({ type: "earthquake" }), /effect\.type is "earthquake", expected one of "outage"/);
  await assert.rejects(injecting({ type: "hook", run: () => {} }), /effect\.type is "hook", expected one of "outage"/);
  // A scenario's schema never sees these.
  await assert.rejects(injecting({ type: "outage" }), /effect\.target is missing, expected a string or an object/);
  await assert.rejects(
    injecting({ type: "outage", target: {} }),
    /effect\.target\.clients is missing, expected an array/,
  );
  await assert.rejects(injecting({ type: "slowdown", target: "all" }), /effect\.factor is missing, expected a number/);
  await assert.rejects(injecting({ type: "slowdown", target: "all", factor: Infinity }), /factor is Infinity/);
  await assert.rejects(
    injecting({ type: "server-restart", durration: 5 }),
    /effect\.durration is not a field that exists here; did you mean duration\?/,
  );
  await assert.rejects(injecting(null), /injects what cannot be: effect is null, expected an object/);
  await assert.rejects(
    played((sim) => void sim.isAvailable(clientId(1_000))),
    /world\.timeline\[0\]\.effect\.run asks for client 1000, expected one in \[0, /,
  );
  await assert.rejects(
    played(() => {
      throw new Error("slipped");
    }),
    (error: Error) =>
      error.name === "ScenarioError" && /^world\.timeline\[0\]\.effect\.run failed at 1s: slipped$/.test(error.message),
  );
  await assert.rejects(
    played(({ fleet }) => {
      (fleet.tokensPerSecond as unknown as number[])[0] = 1;
    }),
    /a hook changes the fleet, expected effects/,
  );
  await played(({ fleet }) => assert.equal((fleet.tokensPerSecond as { fill?: unknown }).fill, undefined));
  let kept: SimulatedWorld | null = null;
  await played((sim) => {
    kept = sim;
  });
  assert.throws(
    () => (kept as unknown as SimulatedWorld).inject({ type: "crash", target: "all" }),
    /injects an effect after it has returned/,
  );
});

test("effects leave rows in the trace", async () => {
  const own = staged([at(seconds(1), slowdown("phone", 3, seconds(2)))]);
  listen(own);
  await own.kernel.run();
  assert.deepEqual(own.rows, [
    { t: 1_000, type: "effect", effect: "slowdown", target: "phone", factor: 3 },
    { t: 3_000, type: "effect-ended", effect: "slowdown", target: "phone", factor: 3 },
  ]);
});

test("a timeline that cannot be is named with its field", () => {
  const timeline = [
    at(minutes(30), outage("region-7", minutes(10))),
    between(minutes(5), minutes(5), slowdown("phone", 0)),
    every(0 as Millis, setDropout(1.2, { clients: [9] })),
    between(minutes(1), minutes(5), outage("all", minutes(1))),
  ];
  assert.deepEqual(problemsOf(worldSchema, { timeline }), [
    { path: "timeline[1].effect.factor", text: "is 0, expected more than 0" },
    { path: "timeline[1].until", text: "is 300000, expected later than from, which is 300000" },
    { path: "timeline[2].period", text: "is 0, expected a whole number of milliseconds in [1, 31622400000000]" },
    { path: "timeline[2].effect.probability", text: "is 1.2, expected a probability in [0, 1]" },
    { path: "timeline[3].effect.duration", text: "is 60000, expected nothing, since from and until say how long" },
  ]);
  const strangers = [at(minutes(30), outage("region-7")), at(minutes(30), setDropout(1, { clients: [0, 9] }))];
  assert.deepEqual(checkWorld({ ...defaultWorldSpec, timeline: strangers }, fleet()), [
    {
      path: "timeline[0].effect.target",
      text: 'is "region-7", expected one of all, phone, server, region-0, region-1',
    },
    { path: "timeline[1].effect.target.clients", text: "is [9], expected clients in [0, 4)" },
  ]);
});
