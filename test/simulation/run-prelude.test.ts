/** Strategies that choose their clients themselves, and begin with a round of everybody within reach. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { hours, type Millis, minutes } from "../../src/base/units.ts";
import type { Plain } from "../../src/fl/plan.ts";
import { fedavg } from "../../src/fl/strategies/registry.ts";
import type { Strategy, StrategySampler } from "../../src/fl/strategy.ts";
import { readLines } from "../../src/folder/line-file.ts";
import { openRunFolder } from "../../src/folder/run-folder.ts";
import type { RoundMetrics } from "../../src/records/metrics.ts";
import type { ParticipationRow } from "../../src/records/participation.ts";
import { totalsOf } from "../../src/records/totals.ts";
import { writeTimeline } from "../../src/report/timeline.ts";
import { resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { timingOnly, training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";
import { toyPool } from "../support/toy-engine.ts";
import { stormy } from "../support/weather.ts";

const folder = folderOfFile();
const model = tinyModel(folder);
let runs = 0;

/** In turn, from where the last selection ended; a client is told the how-manieth it is. */
const inTurn: StrategySampler = {
  select({ eligible, count, memory }) {
    const { turn } = (memory ?? { turn: 0 }) as { readonly turn: number };
    const wanted = Math.min(count, eligible.length);
    const chosen = Array.from({ length: wanted }, (_, i) => eligible[(turn + i) % eligible.length]!);
    const clients = chosen.map((client, i) => ({ client, notes: { turn: turn + i } }));
    return { clients, memory: { turn: turn + wanted } };
  },
};

/** A client that is told so takes that many bytes more. */
const told: Strategy = {
  ...fedavg(),
  name: "told",
  spec: { type: "told" },
  sampler: inTurn,
  plan: ({ budget, chosen }, _server, setting) => ({
    kind: { variant: setting.variant(budget) },
    bytes: { down: 1_000 + ((chosen as { readonly turn: number } | undefined)?.turn ?? 0) },
  }),
};

const beginning: Strategy = { ...fedavg(), name: "beginning", spec: { type: "beginning" }, prelude: true };
const both: Strategy = { ...told, name: "both", spec: { type: "both" }, prelude: true };

async function played(overrides: Partial<ScenarioInput>) {
  const out = join(folder, `run-${runs++}`);
  const invited: { client: number; bytes: number; round: number }[] = [];
  const notes: string[] = [];
  const result = await run(timingOnly(overrides), {
    out,
    listen: (progress) => {
      if (progress.type === "note") notes.push(progress.text);
    },
    bookkeeper: () => ({ ended() {}, invited: (one) => void invited.push(one) }),
  });
  const rows = readLines<ParticipationRow>(join(out, "participations.jsonl"));
  return { out, result, rows, invited, notes };
}

const here = { ...timingOnly().data, fleet: timingOnly().data.fleet.map((tier) => ({ ...tier, dropout: 0 })) }.fleet;

test("a strategy's own sampler chooses, remembers, and tells plans what it noted", async () => {
  const { invited, result } = await played({ strategy: told, fleet: here });
  assert.deepEqual(
    invited.map(({ client }) => client),
    Array.from({ length: 32 }, (_, i) => i % 24),
  );
  const first = invited[0]!.bytes;
  assert.deepEqual(
    invited.map(({ bytes }) => bytes - first),
    Array.from({ length: 32 }, (_, i) => i),
  );
  assert.ok(result.rows.slice(1).every(({ counted }) => counted === 8));
});

test("a scenario's sampler that is not asked is spoken of; without one of its own the strategy takes the scenario's", async () => {
  const rounds = { count: 2, cohort: 4, sampler: { type: "round-robin" } } as const;
  const own = await played({ strategy: told, fleet: here, rounds });
  assert.deepEqual(own.notes, ["rounds.sampler is not used: strategy told chooses its clients itself"]);
  const scenarios = await played({ strategy: fedavg(), fleet: here, rounds });
  assert.deepEqual(scenarios.notes, []);
  assert.deepEqual((await played({ strategy: told, fleet: here, rounds: { count: 2, cohort: 4 } })).notes, []);
});

test("a sampler that chooses who is not there, somebody twice or too few ends the run with its strategy's name", async () => {
  const choosing = (select: StrategySampler["select"]) =>
    played({ strategy: { ...told, sampler: { select } }, fleet: here, rounds: { count: 2, cohort: 4 } });
  const whole = ({ eligible, count }: Parameters<StrategySampler["select"]>[0]) =>
    eligible.slice(0, count).map((client) => ({ client }));
  await assert.rejects(
    choosing((from) => ({ clients: [...whole(from).slice(1), whole(from)[1]!], memory: null })),
    /strategy told chose c-001, who is not there to be chosen/,
  );
  await assert.rejects(
    choosing((from) => ({ clients: whole(from).slice(1), memory: null })),
    /strategy told chose 3 clients, expected 4/,
  );
});

test("a prelude invites all who are there and waits for each, whatever deadline and cohort the rounds have", async () => {
  // The slowest take longer than the deadline.
  const rounds = { count: 3, cohort: 4, deadline: minutes(0.05), mayStayEmpty: true } as const;
  const { rows, result, out } = await played({ strategy: beginning, rounds, fleet: here });
  const first = rows.filter(({ round }) => round === 0);
  assert.deepEqual(first.map(({ client }) => client).sort().length, 24);
  assert.ok(first.every(({ outcome }) => outcome === "counted"));
  const [base, next] = result.rows as [RoundMetrics, RoundMetrics];
  const last = Math.max(...first.map(({ arrivedAt }) => arrivedAt!));
  assert.ok(last > minutes(0.05));
  assert.deepEqual([base.round, base.startedAt, base.closedAt, base.invited, base.counted], [0, 0, last, 24, 24]);
  assert.deepEqual([base.distinctClients, base.aggregated, next.startedAt], [24, true, last]);
  assert.ok(base.uploadBytes > 0 && base.downloadBytes > 0);
  assert.deepEqual(
    base.tiers.map(({ tier, counted }) => [tier, counted]),
    [
      ["phone", 12],
      ["laptop", 8],
      ["edge", 4],
    ],
  );
  assert.ok(
    rows.some(({ round, outcome }) => round > 0 && outcome === "late"),
    "rounds have their deadline",
  );
  const events = readFileSync(join(out, "events.jsonl"), "utf8");
  assert.match(events, /"type":"round-began","round":0/);
  // Books add it up, and it is not one of the rounds.
  const totals = totalsOf(result.rows);
  assert.deepEqual([totals.rounds, totals.invited], [3, rows.length]);
  writeTimeline(out);
  assert.match(readFileSync(join(out, "timeline.json"), "utf8"), /"name":"prelude"/);
});

test("without a prelude row 0 is the base model at once, and no round 0 begins", async () => {
  const { rows, result, out } = await played({ strategy: fedavg(), fleet: here });
  assert.ok(rows.every(({ round }) => round > 0));
  const [base] = result.rows as [RoundMetrics];
  assert.deepEqual([base.closedAt, base.invited, base.aggregated], [0, 0, false]);
  assert.doesNotMatch(readFileSync(join(out, "events.jsonl"), "utf8"), /"round-began","round":0/);
});

test("clients that are away at the beginning are not waited for, nor those that are lost", async () => {
  const world = { availability: [{ type: "bernoulli", probability: 0.5, slot: hours(10) }] } as const;
  const fleet = here.map((tier) => ({ ...tier, dropout: 0.3 }));
  const { rows, result } = await played({ strategy: beginning, world, fleet, rounds: { count: 1, cohort: 4 } });
  const first = rows.filter(({ round }) => round === 0);
  assert.ok(first.length >= 4 && first.length <= 20, `${first.length} of 24`);
  const dropped = first.filter(({ outcome }) => outcome === "dropped");
  assert.ok(dropped.length > 0);
  assert.equal(result.rows[0]!.counted, first.length - dropped.length);
});

test("when nobody is there at all the prelude is given up after the patience of rounds", async () => {
  const devices: [Millis, Millis][][] = [[[hours(30), hours(40)]]];
  const world = {
    availability: [{ type: "trace" as const, devices, period: hours(48), assignment: "cycle" as const }],
  };
  const rounds = { count: 1, cohort: 4, patience: hours(20) };
  const { result } = await played({ strategy: beginning, world, rounds, fleet: here });
  const [base, next] = result.rows as [RoundMetrics, RoundMetrics];
  assert.deepEqual([base.invited, base.aggregated, base.closedAt], [0, false, hours(20)]);
  assert.ok(next.counted > 0);
});

test("whatever the weather and the rule of rounds, every participation of a prelude ends, and a run resumed anywhere is the same", async () => {
  for (const seed of [0, 1, 2, 3, 4]) {
    const scenario = () => stormy(seed, { strategy: both });
    const straight = join(folder, `straight-${seed}`);
    const { rows, diagnostics } = await run(scenario(), { out: straight, reproduce: "x" });
    const [base] = rows as [RoundMetrics];
    const { invited, counted, late, dropped, rejected } = base;
    assert.ok(invited > 0, `seed ${seed}`);
    assert.equal(counted + late + dropped + rejected, invited, `seed ${seed}`);
    assert.equal(late, 0);
    const events = diagnostics.events!;
    for (const stopAt of [20, Math.floor((seed % 2 === 0 ? 0.2 : 0.6) * events)]) {
      const out = join(folder, `resumed-${seed}-${stopAt}`);
      await run(scenario(), { out, reproduce: "x", signal: interruptAfter(stopAt) });
      await resume({ folder: openRunFolder(out), scenario: scenario(), changed: [] }, { reproduce: "x" });
      assertSameRun(out, straight, `seed ${seed}, interrupted after event ${stopAt}`);
    }
  }
});

/** Counts who took part, in its state, and chooses those that the state says least of. */
const counting: Strategy = {
  ...fedavg(),
  name: "counting",
  spec: { type: "counting" },
  prelude: true,
  init: ({ clients }) => ({ vectors: { seen: new Float64Array(clients) }, notes: { rounds: [] } }),
  sampler: {
    select({ eligible, count, server, round }) {
      const seen = server.vectors.seen!;
      const clients = eligible.toSorted((a, b) => seen[a]! - seen[b]! || a - b).slice(0, count);
      return { clients: clients.map((client) => ({ client, notes: round as number })), memory: null };
    },
  },
  plan: ({ budget, round, chosen = null }, _server, setting) => ({
    kind: { variant: setting.variant(budget) },
    notes: { round, chosen },
  }),
  begin: () => [],
  fold: (sum, update) => void (sum as Plain[]).push([update.client, update.plan.notes ?? null] as never),
  finish(sum, server, _setting, { round }) {
    const seen = Float64Array.from(server.vectors.seen!);
    for (const [client] of sum as [number][]) seen[client]!++;
    const { rounds } = server.notes as { readonly rounds: readonly Plain[] };
    const said = [round as number, (sum as [number, Plain][]).map(([, notes]) => notes)];
    // A first training that only measures: the model stays, and in a round it moves.
    const parameters = round === 0 ? server.parameters : server.parameters.map((value) => value + 1);
    return { parameters, vectors: { seen }, notes: { rounds: [...rounds, said] } };
  },
};

test("a sampler sees what the server knows, and a prelude's training may be thrown away", async () => {
  const states: unknown[] = [];
  const watched: Strategy = {
    ...counting,
    deploy(budget, server, { variant }) {
      states.push(structuredClone({ seen: server.vectors.seen, notes: server.notes }));
      return { models: [{ parameters: server.parameters, variant: variant(budget) }] };
    },
  };
  const scenario = training(model, {
    strategy: watched,
    fleet: here,
    evaluateAt: [4],
    training: { batchSize: 4, maxSteps: 1 },
  });
  const { rows, adapter } = await run(scenario, { out: null, pool: toyPool });
  assert.equal(rows[0]!.counted, 24);
  assert.ok(rows[0]!.trainLoss !== null && rows[0]!.evaluations.length === 1);
  const [first, , , last] = states as {
    seen: Float64Array;
    notes: { rounds: [number, { round: number; chosen: Plain }[]][] };
  }[];
  assert.deepEqual([...first!.seen], new Array(24).fill(1));
  // Three rounds of eight reach everybody once more.
  assert.deepEqual([...last!.seen], new Array(24).fill(2));
  const [prelude, one] = last!.notes.rounds;
  assert.deepEqual(prelude![1][0], { round: 0, chosen: null });
  assert.deepEqual(one![1][0], { round: 1, chosen: 1 });
  assert.ok(
    adapter!.every((value) => value >= 2),
    "three rounds moved it",
  );
});
