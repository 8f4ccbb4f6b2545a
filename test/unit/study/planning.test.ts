/** What plans without training are made of: calibrations, recorded devices, partial work. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { ScenarioError } from "../../../src/base/errors.ts";
import { type ClientId, clientId, type Round, round } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { hours } from "../../../src/base/units.ts";
import { traitsOf } from "../../../src/run/prepare.ts";
import { prepareRun } from "../../../src/run/run.ts";
import { calibrationFrom, measuredCost } from "../../../src/scenario/calibration.ts";
import type { ScenarioInput } from "../../../src/scenario/define.ts";
import { policyOf } from "../../../src/scenario/define.ts";
import { effortOf } from "../../../src/scenario/effort.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { timingOnly } from "../../support/scenarios.ts";

test("a calibration sets the ratios between budgets, and FLOPs the size", () => {
  // FLOPs say 1 : 2 : 4 : 8; measured are 1/100 s, 1/80 s and 1/40 s at k = 1, 2 and 8.
  const flops = (k: number) => 1e6 * k;
  const budgets = [
    { budget: 8, tokensPerSecond: 40 },
    { budget: 1, tokensPerSecond: 100 },
    { budget: 2, tokensPerSecond: 80 },
  ];
  const cost = measuredCost({ budgets }, flops);
  const near = (actual: number, expected: number) => assert.ok(Math.abs(actual / expected - 1) < 1e-12, `${actual}`);
  near(cost(8), 8e6);
  near(cost(1), (8e6 * 40) / 100);
  near(cost(2), (8e6 * 40) / 80);
  // Half way between k = 2 and k = 8 in time: (12.5 + 25) ÷ 2 ms.
  near(cost(5), (8e6 * 18.75) / 25);
  near(cost(16), 16e6);
});

test("a calibrated fleet is as fast at its own budget as measured", async () => {
  const fleet = [{ name: "a", clients: 1, budget: 1, tokensPerSecond: 100, speedAtBudget: 4, uplink: 1e6 }];
  const budgets = [
    { budget: 4, tokensPerSecond: 500 },
    { budget: 1, tokensPerSecond: 800 },
  ];
  const counted = await prepareRun(timingOnly({ fleet, rounds: { count: 1, cohort: 1 } }), {});
  const measured = await prepareRun(
    timingOnly({ fleet, rounds: { count: 1, cohort: 1 }, calibration: { budgets } }),
    {},
  );
  assert.ok(Math.abs(measured.fleet.tokensPerSecond[0]! - 160) < 1e-9);
  assert.ok(counted.fleet.tokensPerSecond[0]! > 100);
  assert.notEqual(counted.fleet.tokensPerSecond[0], measured.fleet.tokensPerSecond[0]);
});

test("a calibration that is none is refused with the field", (t) => {
  const path = join(temporaryFolder(t), "calibration.json");
  assert.throws(() => calibrationFrom(path), /cannot read .*calibration\.json/);
  const twice = { budgets: [10, 20].map((tokensPerSecond) => ({ budget: 1, tokensPerSecond })) };
  assert.throws(() => timingOnly({ calibration: twice }), /calibration\.budgets is .*, expected each budget once/);
  const calibration = { budgets: [{ budget: 1, tokensPerSecond: -3 }] };
  assert.throws(
    () => timingOnly({ calibration }),
    /calibration\.budgets\[0\]\.tokensPerSecond is -3, expected more than 0/,
  );
});

/** What share of its steps each of three clients takes: of 8, 16 and 40 batches at one a second. */
async function efforts(effort: NonNullable<ScenarioInput["training"]>["effort"], epochs = 1, probing = 0) {
  const fleet = [128, 256, 640].map((examples, i) => ({
    name: `tier-${i}`,
    clients: 1,
    budget: 1,
    tokensPerSecond: 16,
    uplink: 1e12,
    examples,
  }));
  const scenario = timingOnly({
    fleet: fleet.map(({ examples: _, ...tier }) => tier),
    rounds: { count: 1, cohort: 3, deadline: hours(1) },
    training: { epochs, batchSize: 16, ...(effort === undefined ? {} : { effort }) },
  });
  const prepared = await prepareRun(scenario, {});
  prepared.fleet.examples.set([128, 256, 640]);
  prepared.fleet.tokens.set([128, 256, 640]);
  const of = effortOf(scenario.data, { fleet: prepared.fleet, policy: policyOf(scenario), rng: new Rng(1) });
  const charge = (client: number) => () => ({
    download: 0,
    upload: 0,
    preliminary: null,
    training: (1_000 * epochs * prepared.fleet.tokens[client]!) / 16,
    probing,
  });
  return of && ((client: ClientId, round: Round) => of(client, round, charge(client)));
}

test("without effort everybody takes all steps", async () => assert.equal(await efforts(undefined), null));

test("effort that fits takes the largest whole number of steps before the deadline", async () => {
  const of = (await efforts({ type: "fit", deadline: 10_500 }))!;
  // A step takes a second: 8 of 8, 10 of 16, 10 of 40.
  assert.deepEqual(
    [0, 1, 2].map((client) => of(clientId(client), round(1))),
    [1, 10 / 16, 10 / 40],
  );
  const probed = (await efforts({ type: "fit", deadline: 10_500 }, 1, 3_000))!;
  assert.deepEqual(
    [0, 1, 2].map((client) => probed(clientId(client), round(1))),
    [7 / 8, 7 / 16, 7 / 40],
  );
  const hurried = (await efforts({ type: "fit", deadline: 1 }))!;
  assert.equal(hurried(clientId(2), round(1)), 1 / 40);
});

test("uniform effort hits the given share of clients, and then any number of steps but all is as likely", async () => {
  const of = (await efforts({ type: "uniform", probability: 0.5 }))!;
  const counts = new Array<number>(9).fill(0);
  const rounds = 8_000;
  for (let r = 1; r <= rounds; r++) counts[Math.round(8 * of(clientId(0), round(r)))]!++;
  assert.equal(counts[0], 0);
  // 4 standard errors of a binomial count.
  const near = (count: number, p: number) =>
    assert.ok(Math.abs(count - rounds * p) < 4 * Math.sqrt(rounds * p * (1 - p)), `${counts}`);
  near(counts[8]!, 0.5);
  for (let steps = 1; steps < 8; steps++) near(counts[steps]!, 0.5 / 7);
});

test("fixed effort stays with the client", async () => {
  const of = (await efforts({ type: "uniform", probability: 1, fixed: true }))!;
  const first = of(clientId(2), round(1));
  for (let r = 2; r < 20; r++) assert.equal(of(clientId(2), round(r)), first);
});

test("effort in epochs is a whole number of them", async () => {
  const of = (await efforts({ type: "epochs", from: 1, to: 3 }, 4))!;
  const seen = new Set<number>();
  for (let r = 1; r < 100; r++) seen.add(of(clientId(0), round(r)));
  assert.deepEqual([...seen].sort(), [0.25, 0.5, 0.75]);
});

test("effort that cannot be is refused", () => {
  const refuse = (training: ScenarioInput["training"], rounds: object, message: RegExp) =>
    assert.throws(
      () => timingOnly({ training: training!, rounds: { count: 1, cohort: 2, ...rounds } }),
      (error) => {
        assert.ok(error instanceof ScenarioError);
        assert.match(error.message, message);
        return true;
      },
    );
  refuse({ effort: { type: "fit" } }, {}, /training\.effort\.deadline is missing, and the rounds have no deadline/);
  refuse(
    { epochs: 2, effort: { type: "epochs", from: 1, to: 3 } },
    {},
    /effort\.to is 3, expected at most training\.epochs/,
  );
});

test("traits are the labels that each client's examples have", () => {
  const data = { category: Uint16Array.of(2, 0, 1, 2), categoryNames: ["a", "b", "c"] };
  const dealt = { clients: 3, offsets: Uint32Array.of(0, 2, 2, 4), indices: Uint32Array.of(0, 1, 3, 0) };
  const { labels, ...columns } = traitsOf(data as never, dealt);
  assert.equal(labels, 3);
  assert.deepEqual(
    Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, Array.from(column as Uint16Array)])),
    { minLabel: [0, 0, 2], maxLabel: [2, 0, 2], labelCount: [2, 0, 1] },
  );
});

test("a calibration at budgets that the model does not have is refused", async () => {
  const calibration = { budgets: [{ budget: 9, tokensPerSecond: 10 }] };
  await assert.rejects(prepareRun(timingOnly({ calibration }), {}), {
    message: /calibration\.budgets\[0\]\.budget is 9, but the model has 4 experts/,
  });
});
