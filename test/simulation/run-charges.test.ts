/** What a strategy's plan asks for is charged: bytes each way, probes, and steps at another budget. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { hours } from "../../src/base/units.ts";
import type { Plan } from "../../src/fl/plan.ts";
import { fedavg } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { readLines } from "../../src/folder/line-file.ts";
import { adaptedFlops, trainingFlops } from "../../src/model/accounting.ts";
import type { ParticipationRow } from "../../src/records/participation.ts";
import { prepareRun, run } from "../../src/run/run.ts";
import type { ScenarioInput } from "../../src/scenario/define.ts";
import { temporaryFolder } from "../support/folders.ts";
import { openedLlm } from "../support/opened-llm.ts";
import { timingOnly } from "../support/scenarios.ts";

/** 50 examples of 60 tokens at 300 a second are 10 s an epoch; 100 bytes a millisecond each way. */
const one = {
  fleet: [{ name: "one", clients: 1, budget: 2, tokensPerSecond: 300, uplink: 1e5, downlink: 1e5 }],
  data: { sizes: { examplesPerClient: 50, tokensPerExample: 60 } },
  rounds: { count: 1, cohort: 1, deadline: hours(1) },
} as const;

/** FedAvg whose clients do something besides. */
const asking = (asked: Partial<Plan>, pieces: Partial<Strategy> = {}): Strategy => ({
  ...fedavg(),
  name: "asking",
  spec: { type: "asking" },
  plan: ({ budget }, _server, setting) => ({ kind: { variant: setting.variant(budget) }, ...asked }),
  ...pieces,
});

/** Milliseconds of download, training and upload. */
async function legs(t: Parameters<typeof temporaryFolder>[0], changes: Partial<ScenarioInput>): Promise<number[]> {
  const out = join(temporaryFolder(t), "run");
  await run(timingOnly({ ...one, ...changes }), { out });
  const [part] = readLines<ParticipationRow>(join(out, "participations.jsonl"));
  const { invitedAt, downloadedAt, trainedAt, arrivedAt } = part!;
  return [downloadedAt! - invitedAt, trainedAt! - downloadedAt!, arrivedAt! - trainedAt!];
}

/** Envelopes differ by a few dozen bytes, which are less than two milliseconds here. */
const near = (found: number, expected: number) =>
  assert.ok(Math.abs(found - expected) <= 2, `${found} for ${expected}`);

test("bytes of the plan are what the messages weigh", async (t) => {
  const { task } = await prepareRun(timingOnly(one), {});
  const { bytes, layout } = task;
  const whole = 4 * layout.size;
  const plain = await legs(t, { strategy: asking({}) });
  near(plain[0]!, bytes.download / 100 + 2);
  const [down, work, up] = await legs(t, { strategy: asking({ bytes: { down: 3 * whole, up: whole / 2 } }) });
  near(down! - plain[0]!, (2 * whole) / 100);
  near(plain[2]! - up!, whole / 200);
  assert.equal(work, plain[1]);
});

test("a probe is a forward pass over all examples, whatever the effort, and one that differentiates a step's pass", async (t) => {
  const { config } = openedLlm((await prepareRun(timingOnly(one), {})).task);
  const probe = () => ({});
  const pass = (10_000 * adaptedFlops(config, 2, 8)) / trainingFlops(config, 2, 8);
  assert.equal((await legs(t, { strategy: asking({}) }))[1], 10_000);
  const [, both] = await legs(t, {
    strategy: asking({ effort: 0.25 }, { steps: () => ({ before: probe, after: probe }) }),
  });
  assert.equal(both, Math.ceil(2_500 + 2 * pass));
  const backward = await legs(t, { strategy: asking({}, { steps: () => ({ before: probe, backward: 1 }) }) });
  assert.equal(backward[1], 20_000);
  const [, three] = await legs(t, {
    training: { epochs: 3 },
    strategy: asking({}, { steps: () => ({ before: probe }) }),
  });
  assert.equal(three, Math.ceil(30_000 + pass));
});

test("examples that are kept from training pass forward once, and are not trained on", async (t) => {
  const { config } = openedLlm((await prepareRun(timingOnly(one), {})).task);
  const pass = (10_000 * adaptedFlops(config, 2, 8)) / trainingFlops(config, 2, 8);
  const keeping = (pieces: Partial<Strategy>) => legs(t, { strategy: asking({}, { validation: 0.2, ...pieces }) });
  near((await keeping({ steps: () => ({ validate: () => ({}) }) }))[1]!, 8_000 + 0.2 * pass);
  near((await keeping({ steps: () => ({ validate: () => ({}), before: () => ({}) }) }))[1]!, 8_000 + pass);
});

test("steps at another budget take what their FLOPs say", async (t) => {
  const { config } = openedLlm((await prepareRun(timingOnly(one), {})).task);
  const [, work] = await legs(t, { strategy: asking({ kind: { variant: { topK: 1 } } }) });
  assert.equal(work, Math.ceil((10_000 * trainingFlops(config, 1, 8)) / trainingFlops(config, 2, 8)));
});

test("effort that fits leaves room for the plan's bytes and probes", async (t) => {
  const { bytes } = (await prepareRun(timingOnly(one), {})).task;
  const deadline = 9_000 + Math.ceil((bytes.download + bytes.upload) / 100);
  const fitted = { training: { batchSize: 5, effort: { type: "fit" } }, rounds: { ...one.rounds, deadline } } as const;
  assert.equal((await legs(t, { ...fitted, strategy: asking({}) }))[1], 9_000);
  // 200,000 bytes more are two seconds less.
  const up = bytes.download + 200_000;
  assert.equal((await legs(t, { ...fitted, strategy: asking({ bytes: { up } }) }))[1], 7_000);
});

test("a deadline that a plan's bytes cannot meet is found before the run", async () => {
  const rounds = { ...one.rounds, deadline: 30_000 };
  await prepareRun(timingOnly({ ...one, rounds, strategy: asking({}) }), {});
  await assert.rejects(
    prepareRun(timingOnly({ ...one, rounds, strategy: asking({ bytes: { up: 10_000_000 } }) }), {}),
    /rounds\.deadline is 30000 \(30s\), expected milliseconds in which an update can come: the fastest client takes 1m5/,
  );
});
