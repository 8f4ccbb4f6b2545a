import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate as macrotask } from "node:timers/promises";
import { clientId, clientName } from "../../src/base/ids.ts";
import { dirichlet } from "../../src/data/partition.ts";
import { instructions } from "../../src/data/source.ts";
import { fedbuff } from "../../src/fl/policies/registry.ts";
import { fedavg } from "../../src/fl/strategies/registry.ts";
import { readLines } from "../../src/folder/line-file.ts";
import { openRunFolder, readResult } from "../../src/folder/run-folder.ts";
import type { RoundMetrics } from "../../src/records/metrics.ts";
import type { ParticipationRow } from "../../src/records/participation.ts";
import { writeReport } from "../../src/report/report.ts";
import type { Prepared } from "../../src/run/prepare.ts";
import type { ProgressListener } from "../../src/run/progress.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { prepareRun, run } from "../../src/run/run.ts";
import type { WorkPool } from "../../src/runtime/pools/pool.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { everyExpertTrained, lossFalls } from "../../src/scenario/expect.ts";
import type { Evaluation } from "../../src/tasks/training-engine.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter, sameFiles } from "../support/run-folders.ts";
import { threeTiers, training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";
import { countingPool, losingPool, scrambledPool, toyPool } from "../support/toy-engine.ts";
import { foulWeather } from "../support/weather.ts";

const folder = folderOfFile();
const model = tinyModel(folder);

const reproduce = "npx flame run training";
const regions = [
  { name: "north", share: 1 },
  { name: "south", share: 1 },
];

test("the loss falls at every budget and the claims hold", async () => {
  const scenario = training(model, { expect: [lossFalls({ by: 0.01 }), everyExpertTrained()] });
  const result = await run(scenario, { out: null, pool: toyPool });
  assert.deepEqual(
    result.rows.map(({ evaluations }) => evaluations.map(({ budget }) => budget)),
    [0, 1, 2, 3].map(() => [4, 2, 1]),
  );
  assert.deepEqual(
    result.expectations.map(({ held }) => held),
    [true, true],
    JSON.stringify(result.expectations),
  );
});

test("which task is ready first does not show in the result", async () => {
  const world = foulWeather(3);
  const inOrder = await run(training(model, { world, regions }), { out: null, pool: toyPool });
  const scrambled = await run(training(model, { world, regions }), { out: null, pool: scrambledPool });
  assert.equal(scrambled.digest, inOrder.digest);
  assert.equal(scrambled.adapterDigest, inOrder.adapterDigest);
  assert.deepEqual(scrambled.rows, inOrder.rows);
});

test("the bytes of a checkpoint do not tell which evaluations were ready", async () => {
  const world = foulWeather(3);
  const cases = [
    { rounds: { count: 3, cohort: 8, deadline: 60_000 }, stopAfter: Number.POSITIVE_INFINITY },
    { rounds: { count: 12, cohort: 8, policy: fedbuff({ concurrency: 8, buffer: 2 }) }, stopAfter: 57 },
  ];
  for (const { rounds, stopAfter } of cases) {
    const found = new Map<string, Buffer>();
    for (const [name, pool] of Object.entries({ toyPool, scrambledPool, lateEvaluations })) {
      const out = join(folder, `${name}-${stopAfter}`);
      const scenario = training(model, { world, regions, rounds, checkpoints: { every: 1, keep: 99 } });
      const { state } = await run(scenario, { out, pool, signal: interruptAfter(stopAfter) });
      assert.equal(state, stopAfter === 57 ? "interrupted" : "finished");
      for (const file of readdirSync(join(out, "checkpoints"))) {
        const bytes = readFileSync(join(out, "checkpoints", file));
        assert.ok(found.has(file) || name === "toyPool", `${file} is written by all or by none`);
        assert.ok(bytes.equals(found.get(file) ?? bytes), `${name}, ${file}`);
        found.set(file, bytes);
      }
    }
    assert.ok(found.size > 2, "there are checkpoints");
  }
});

/** Whatever else there is to do comes before an evaluation, and much else happens meanwhile. */
function lateEvaluations(prepared: Prepared): WorkPool {
  const pool = toyPool(prepared);
  return {
    workers: 2,
    get diagnostics() {
      return pool.diagnostics;
    },
    async run(task, isWanted) {
      for (let turns = task.work === "evaluate" ? 100 : 0; turns > 0; turns--) await macrotask();
      return pool.run(task, isWanted);
    },
    close: () => pool.close(),
  };
}

test("training does not change who takes part: timing alone gives the same trace", async () => {
  const world = foulWeather(5);
  const trained = await run(training(model, { world, regions }), { out: null, pool: toyPool });
  const timed = await run(training(model, { world, regions, timingOnly: true }), { out: null });
  const outcomes = (rows: readonly RoundMetrics[]) => rows.map(({ tiers, closedAt }) => ({ tiers, closedAt }));
  assert.deepEqual(outcomes(timed.rows), outcomes(trained.rows));
});

test("a client without data is not invited, with training or without", async () => {
  const data = {
    source: instructions({ examples: 60 }),
    partition: dirichlet({ alpha: 0.05, minimum: 0 }),
    maxTokens: 96,
  };
  const { fleet, notes } = await prepareRun(training(model, { data }), {});
  const without = [...fleet.examples.keys()].filter((client) => fleet.examples[client] === 0);
  const empty = new Set(without.map((client) => clientName(clientId(client))));
  assert.ok(empty.size >= 4 && empty.size <= 16, `${empty.size}`);
  assert.ok(notes.includes(`${empty.size} of 24 clients have no data and are never invited; see data.partition`));
  const fates = async (overrides: Partial<ScenarioInput>, pool?: typeof toyPool): Promise<ParticipationRow[]> => {
    const rounds = { count: 4, cohort: 12, deadline: 60_000, minUpdates: 1 };
    const out = join(folder, `without-data-${pool === undefined ? "timed" : "trained"}`);
    await run(training(model, { data, rounds, ...overrides }), { out, ...(pool && { pool }) });
    return readLines<ParticipationRow>(join(out, "participations.jsonl"));
  };
  const trained = await fates({}, toyPool);
  assert.ok(trained.length > 10);
  for (const { client } of trained) assert.ok(!empty.has(client), client);
  const fate = ({ client, round, outcome, reason }: ParticipationRow) => ({ client, round, outcome, reason });
  assert.deepEqual((await fates({ timingOnly: true })).map(fate), trained.map(fate));
});

test("the mean training loss is per response token: it is the same however examples are put into batches", async () => {
  // A loss of its own for each target, so that a step's is their mean.
  const pool = losingPool(({ targets }) => targets.reduce((sum, target) => sum + target / 100, 0) / targets.length);
  const rounds = { count: 1, cohort: 8, deadline: null, minUpdates: 8 };
  const fleet = threeTiers.map((tier) => ({ ...tier, dropout: 0 }));
  const losses = [];
  for (const batchSize of [1, 5, 32]) {
    const { rows } = await run(training(model, { rounds, fleet, training: { batchSize } }), { out: null, pool });
    losses.push(rows[1]!.trainLoss!);
  }
  // Losses are float32; three sums of the same thousands of them, in other orders.
  for (const loss of losses) assert.ok(Math.abs(loss / losses[0]! - 1) < 1e-6, `${losses}`);
});

test("clients that drop out, come late or are not needed cost no training", async () => {
  const done: string[] = [];
  const rounds = { count: 4, cohort: 6, overSelection: 2, deadline: 20_000, minUpdates: 1 };
  const fleet = threeTiers.map((tier) => ({ ...tier, dropout: 0.5 }));
  const { rows } = await run(training(model, { rounds, fleet }), { out: null, pool: countingPool(done) });
  const total = (key: "invited" | "counted") => rows.reduce((sum, row) => sum + row[key], 0);
  assert.ok(total("invited") > 1.5 * total("counted"), `${total("counted")} of ${total("invited")} counted`);
  assert.equal(done.filter((work) => work === "train").length, total("counted"));
});

test("a round nobody answers leaves the adapter untouched", async () => {
  const fleet = threeTiers.map((tier) => ({ ...tier, dropout: 1 }));
  const rounds = { count: 3, cohort: 8, deadline: 60_000, mayStayEmpty: true };
  const nobody = await run(training(model, { fleet, rounds }), { out: null, pool: toyPool });
  const none = await run(training(model, { rounds: { count: 0, cohort: 8 } }), { out: null, pool: toyPool });
  assert.deepEqual(nobody.adapter, none.adapter);
  assert.ok(nobody.rows.slice(1).every(({ aggregated, dropped, invited }) => !aggregated && dropped === invited));
  assert.deepEqual(nobody.rows.at(-1)!.evaluations, nobody.rows[0]!.evaluations);
});

test("with half of the fleet dropping out, nobody counts twice or too late, and weights sum to one", async () => {
  const out = join(folder, "half");
  const fleet = threeTiers.map((tier) => ({ ...tier, dropout: 0.5 }));
  await run(training(model, { fleet, rounds: { count: 6, cohort: 12, deadline: 15_000 } }), { out, pool: toyPool });
  const rounds = readLines<RoundMetrics>(join(out, "metrics.jsonl"));
  const parts = readLines<ParticipationRow>(join(out, "participations.jsonl"));
  assert.equal(new Set(parts.map(({ participation }) => participation)).size, parts.length);
  for (const { round, startedAt, counted, weights, aggregated, activation } of rounds.slice(1)) {
    const own = parts.filter((part) => part.round === round && part.outcome === "counted");
    assert.equal(own.length, counted);
    assert.ok(own.every(({ arrivedAt }) => arrivedAt! <= startedAt + 15_000));
    if (!aggregated) continue;
    const sum = weights.reduce((total, { weight }) => total + weight, 0);
    assert.ok(Math.abs(sum - 1) < 1e-9, `round ${round}: ${sum}`);
    for (const layer of activation) assert.ok(Math.abs(layer.reduce((a, b) => a + b, 0) - 1) < 1e-9);
  }
  assert.ok(rounds.slice(1).some(({ aggregated }) => aggregated));
  assert.ok(parts.some(({ outcome }) => outcome === "dropped"));
});

test("updates that are not finite are rejected and do not reach the adapter", async () => {
  const out = join(folder, "poisoned");
  const attackers = [{ share: 0.4, attack: { type: "non-finite" as const } }];
  const { adapter } = await run(training(model, { attackers }), { out, pool: toyPool });
  assert.ok(adapter!.every(Number.isFinite));
  const rejected = readLines<ParticipationRow>(join(out, "participations.jsonl")).filter(
    ({ reason }) => reason === "not-finite",
  );
  assert.ok(rejected.length > 0);
  assert.ok(rejected.every(({ outcome }) => outcome === "rejected"));
});

test("a held-out loss that stops being a number is told at once, in the result and in the report", async () => {
  const out = join(folder, "diverged");
  let evaluations = 0;
  const pool = (prepared: Prepared): WorkPool => {
    const inner = toyPool(prepared);
    const run: WorkPool["run"] = async (task, isWanted) => {
      const result = await inner.run(task, isWanted);
      // One shard of each of three budgets in round 0, and then in each round.
      return task.work === "evaluate" && ++evaluations > 3 ? { ...(result as Evaluation), loss: Number.NaN } : result;
    };
    return { workers: 1, diagnostics: inner.diagnostics, run, close: () => inner.close() };
  };
  const notes: string[] = [];
  const listen: ProgressListener = (progress) => void (progress.type === "note" && notes.push(progress.text));
  const { divergedIn, rows } = await run(training(model), { out, pool, listen });
  assert.equal(evaluations, 3 * rows.length);
  assert.equal(divergedIn, 1);
  const told = "the model has diverged: after round 1 its held-out loss is no finite number";
  assert.deepEqual(
    notes.filter((note) => note.includes("diverged")),
    [told],
  );
  assert.equal(readResult(openRunFolder(out))?.divergedIn, 1);
  writeReport(out);
  assert.match(readFileSync(join(out, "report.html"), "utf8"), /The model diverged: after round 1/);
  const well = await run(training(model), { out: null, pool: toyPool });
  assert.equal(well.divergedIn, null);
});

test("updates from stale models come as late as their closed form says, and change nobody's timing", async () => {
  // Each step of the toy engine takes a fifth of the distance to 1, at every expert of clients that use them all.
  const distances = async (lag: number | null) => {
    const attackers = lag === null ? [] : [{ share: 1, attack: { type: "stale" as const, lag } }];
    const scenario = training(model, {
      fleet: [{ name: "edge", clients: 6, budget: 4, tokensPerSecond: 8_000, uplink: 2_000_000 }],
      rounds: { count: 4, cohort: 6, deadline: null },
      training: { batchSize: 4, learningRate: 1e-2, maxSteps: 1 },
      strategy: fedavg(),
      attackers,
    });
    const { rows, digest } = await run(scenario, { out: null, pool: toyPool });
    const whole = rows[0]!.trainLoss ?? rows[1]!.trainLoss!;
    return { digest, distances: rows.slice(1).map(({ trainLoss }) => trainLoss! / whole) };
  };
  const honest = await distances(null);
  assertNear(honest.distances, [1, 0.8, 0.64, 0.512]);
  // A client's loss is that of the model it learns from.
  const one = await distances(1);
  assertNear(one.distances, [1, 1, 0.8, 0.6]);
  const two = await distances(2);
  assertNear(two.distances, [1, 1, 1, 0.8]);
  assert.equal(one.digest, honest.digest);
});

function assertNear(found: readonly number[], wanted: readonly number[]): void {
  for (const [at, value] of wanted.entries())
    assert.ok(Math.abs(found[at]! - value) < 1e-5, `${found} is not ${wanted}`);
}

test("a client's rescaler grows with every update that counted, and only with those", async () => {
  // The toy engine adds 0.01 a round, so s at a budget says how often its clients were counted on average.
  const everyone = { count: 3, cohort: 24, deadline: null, minUpdates: 1 };
  const calm = threeTiers.map(({ dropout: _, ...tier }: { dropout?: number; name: string; clients: number }) => tier);
  const result = await run(training(model, { fleet: calm as never, rounds: everyone }), {
    out: join(folder, "rescaled"),
    pool: toyPool,
  });
  assert.ok(result.rows.slice(1).every(({ counted }) => counted === 24));
  const { rescalers } = JSON.parse(readFileSync(join(folder, "rescaled", "adapter", "rescalers.json"), "utf8")) as {
    rescalers: { topK: number; factors: number[] }[];
  };
  // No client has k = 3.
  for (const { topK: budget, factors } of rescalers.filter(({ topK }) => topK !== 3)) {
    for (const s of factors) assert.ok(Math.abs(s - 1.03) < 1e-6, `${s} at k=${budget}`);
  }
  // When no acknowledgement arrives, every client begins each round at 1 again.
  const deaf = await run(
    training(model, { fleet: calm as never, rounds: everyone, world: { faults: { acknowledge: 1 } } }),
    { out: join(folder, "deaf"), pool: toyPool },
  );
  assert.equal(deaf.state, "finished");
  const after = JSON.parse(readFileSync(join(folder, "deaf", "adapter", "rescalers.json"), "utf8")) as {
    rescalers: { topK: number; factors: number[] }[];
  };
  for (const { topK: budget, factors } of after.rescalers.filter(({ topK }) => topK !== 3)) {
    for (const s of factors) assert.ok(Math.abs(s - 1.01) < 1e-6, `${s} at k=${budget}`);
  }
});

for (const policy of [undefined, fedbuff({ concurrency: 8, buffer: 3 })]) {
  test(`a training run with stale models resumes to the same bytes (${policy?.name ?? "synchronous"})`, async () => {
    const scenario = () =>
      training(model, {
        world: foulWeather(1),
        regions,
        attackers: [{ share: 0.4, attack: { type: "stale", lag: 2 } }],
        rounds: { count: 3, cohort: 8, deadline: 60_000, ...(policy === undefined ? {} : { policy }) },
      });
    const name = policy === undefined ? "sync" : "async";
    const straight = join(folder, `${name}-straight`);
    const { diagnostics } = await run(scenario(), { out: straight, reproduce, pool: toyPool });
    for (const share of [0.2, 0.5, 0.8]) {
      const out = join(folder, `${name}-${share}`);
      const signal = interruptAfter(Math.floor(share * diagnostics.events!));
      await run(scenario(), { out, reproduce, pool: toyPool, signal });
      await resume(await loadRun(out), { reproduce, pool: toyPool });
      const files = [...sameFiles, "adapter/adapter_model.safetensors", "adapter/rescalers.json"];
      assertSameRun(out, straight, `interrupted after ${share}`, files);
    }
  });
}
