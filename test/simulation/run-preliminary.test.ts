/** A strategy whose plan asks for an exchange ahead of the update: charged, timed, and failing as any other stage. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { hours, minutes } from "../../src/base/units.ts";
import { fedavg } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { readLines } from "../../src/folder/line-file.ts";
import type { ParticipationRow } from "../../src/records/participation.ts";
import { slicesOf } from "../../src/report/slices.ts";
import { stageTable, summarise } from "../../src/report/tracks.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import type { Scenario, ScenarioInput } from "../../src/scenario/define.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { timingOnly, training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";
import { toyPool } from "../support/toy-engine.ts";
import { foulWeather, stormy } from "../support/weather.ts";

const folder = folderOfFile();
let runs = 0;

async function played(scenario: Scenario): Promise<readonly ParticipationRow[]> {
  const out = join(folder, `run-${runs++}`);
  await run(scenario, { out });
  return readLines<ParticipationRow>(join(out, "participations.jsonl"));
}

const asking: Strategy = {
  ...fedavg(),
  name: "asking",
  spec: { type: "asking" },
  plan: ({ budget }, _server, setting) => ({
    kind: { variant: setting.variant(budget) },
    preliminary: { up: 20_000, down: 50_000 },
  }),
};

/** 10 s of work, 100 bytes a millisecond each way, 30 ms of latency. */
const one: Partial<ScenarioInput> = {
  fleet: [{ name: "one", clients: 1, budget: 2, tokensPerSecond: 300, uplink: 1e5, downlink: 1e5, latency: 30 }],
  data: { sizes: { examplesPerClient: 50, tokensPerExample: 60 } },
  rounds: { count: 1, cohort: 1, deadline: hours(1) },
};

test("the exchange takes its bytes and two latencies, and stands in rows, slices and tables", async () => {
  const [row] = await played(timingOnly({ ...one, strategy: asking }));
  const { trainedAt, reportedAt, answeredAt, arrivedAt } = row!;
  // Envelopes of about 150 bytes are two milliseconds.
  const near = (found: number, expected: number) => assert.ok(found >= expected && found <= expected + 3, `${found}`);
  near(reportedAt! - trainedAt!, 230);
  near(answeredAt! - reportedAt!, 530);
  const slices = slicesOf(row!);
  assert.deepEqual(
    slices.map(({ stage }) => stage),
    ["download", "training", "preliminary", "answer", "upload"],
  );
  assert.deepEqual([slices[3]!.from, slices[3]!.to, slices[4]!.to], [reportedAt, answeredAt, arrivedAt]);
  const { head } = stageTable(summarise([row!]), ["one"]);
  assert.deepEqual(head, ["tier", ...slices.map(({ stage }) => stage)]);
});

test("who is not asked has no such stage", async () => {
  const [row] = await played(timingOnly({ ...one, strategy: fedavg() }));
  assert.ok(!("reportedAt" in row!) && !("answeredAt" in row!));
  assert.deepEqual(stageTable(summarise([row!]), ["one"]).head, ["tier", "download", "training", "upload"]);
});

test("effort that fits leaves room for the exchange", async () => {
  const fitted = { training: { batchSize: 5, effort: { type: "fit" } } } as const;
  const work = async (strategy: Strategy) => {
    const rounds = { ...one.rounds!, deadline: 11_000 };
    const [row] = await played(timingOnly({ ...one, ...fitted, rounds, strategy }));
    assert.equal(row!.outcome, "counted");
    return row!.trainedAt! - row!.downloadedAt!;
  };
  // Less 760 ms, in steps of one second.
  assert.ok((await work(fedavg())) > (await work(asking)));
});

test("dropouts strike in the exchange and say so", async () => {
  for (const stage of ["preliminary", "answer"] as const) {
    const world = { faults: { [stage]: 0.5 } };
    const rows = await played(
      timingOnly({ strategy: asking, world, rounds: { count: 6, cohort: 8, deadline: minutes(1) } }),
    );
    const lost = rows.filter(({ phase }) => phase === stage);
    assert.ok(lost.length > 5 && lost.length < rows.length, `${lost.length} of ${rows.length}`);
    for (const { outcome, reason, trainedAt, reportedAt, answeredAt, arrivedAt } of lost) {
      assert.deepEqual([outcome, reason, answeredAt, arrivedAt], ["dropped", "dropout", null, null]);
      assert.equal(reportedAt === null, stage === "preliminary");
      assert.notEqual(trainedAt, null);
    }
  }
});

test("in the foulest weather every participation ends, and a run resumed anywhere is the same", async () => {
  const faults = { preliminary: 0.1, answer: 0.1 };
  const seen = new Set<string | undefined>();
  for (const seed of [0, 1, 2, 3, 4]) {
    const weather = foulWeather(seed);
    const world = { ...weather, faults: { ...weather.faults, ...faults } };
    const scenario = () => stormy(seed, { strategy: { type: "otaffl" }, world });
    const straight = join(folder, `straight-${seed}`);
    const { diagnostics } = await run(scenario(), { out: straight, reproduce: "x" });
    for (const { phase } of readLines<ParticipationRow>(join(straight, "participations.jsonl"))) seen.add(phase);
    const out = join(folder, `resumed-${seed}`);
    const stopAt = Math.floor(0.45 * diagnostics.events!);
    await run(scenario(), { out, reproduce: "x", signal: interruptAfter(stopAt) });
    await resume(await loadRun(out), { reproduce: "x" });
    assertSameRun(out, straight, `seed ${seed}`);
  }
  assert.ok(seen.has("preliminary") && seen.has("answer"), [...seen].join(" "));
});

test("an update that follows a report is trained and counted as any other", async () => {
  const model = tinyModel(folder);
  const fleet = [{ name: "edge", clients: 12, budget: 4, tokensPerSecond: 8_000, uplink: 2_000_000 }];
  const of = (strategy: Strategy) => run(training(model, { fleet, strategy }), { out: null, pool: toyPool });
  const [asked, plain] = [await of(asking), await of(fedavg())];
  assert.ok(asked.rows.slice(1).every(({ counted }) => counted === 8));
  assert.equal(asked.adapterDigest, plain.adapterDigest);
  assert.notEqual(asked.digest, plain.digest);
});
