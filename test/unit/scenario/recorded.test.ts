/** Recorded devices and times, as devices log them, spreadsheets write them and FedScale publishes them. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { clientId } from "../../../src/base/ids.ts";
import { Rng } from "../../../src/base/random.ts";
import { days, millis, minutes } from "../../../src/base/units.ts";
import { prepareRun, run } from "../../../src/run/run.ts";
import { availabilityFrom, devicesFrom } from "../../../src/scenario/recorded.ts";
import { availabilityOf } from "../../../src/sim/availability/availability.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { timingOnly } from "../../support/scenarios.ts";
import { equalFleet } from "../../support/sim-world.ts";

function written(t: TestContext, name: string, content: string | object): string {
  const path = join(temporaryFolder(t), name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const refuses = (read: () => unknown, message: RegExp) =>
  assert.throws(read, (error) => error instanceof InputError && message.test(error.message));

test("devices come from a table or from JSON", async (t) => {
  const folder = temporaryFolder(t);
  const table = join(folder, "phones.csv");
  writeFileSync(table, 'model,tokensPerSecond,downlink,uplink\n"A, large",100,2000000,1000000\nB,50,1000000,\n');
  const records = [
    { tokensPerSecond: 100, downlink: 2e6, uplink: 1e6 },
    { tokensPerSecond: 50, downlink: 1e6 },
  ];
  assert.deepEqual(devicesFrom(table), { records, assignment: "cycle" });
  const json = join(folder, "phones.json");
  writeFileSync(json, JSON.stringify(records));
  assert.deepEqual(devicesFrom(json, { assignment: "random" }), { records, assignment: "random" });
  const tier = { speed: { type: "trace" }, link: { type: "trace" }, trace: devicesFrom(table) } as const;
  const scenario = timingOnly({
    fleet: [{ name: "phone", clients: 3, budget: 1, ...tier }],
    rounds: { count: 1, cohort: 3 },
  });
  const { fleet } = await prepareRun(scenario, {});
  assert.deepEqual([...fleet.tokensPerSecond], [100, 50, 100]);
  assert.deepEqual([...fleet.uplink], [1e6, 1e6, 1e6]);
});

test("a table with a mistake is named by line", (t) => {
  const path = join(temporaryFolder(t), "phones.csv");
  const refuse = (text: string, message: RegExp) => {
    writeFileSync(path, text);
    assert.throws(
      () => devicesFrom(path),
      (error) => error instanceof InputError && message.test(error.message),
    );
  };
  refuse("speed\n3\n", /line 1: expected a column tokensPerSecond, got .*speed/);
  refuse("tokensPerSecond\n3\nfast\n", /line 3: tokensPerSecond is "fast", expected a number/);
  refuse("tokensPerSecond\n-3\n", /phones\.csv: line 2: tokensPerSecond is -3, expected a positive number/);
  refuse("tokensPerSecond\n", /has no records/);
  refuse("tokensPerSecond,uplink\n\n3,4,5\n", /line 3: has 3 cells, expected 2/);
  refuse("tokensPerSecond,uplink\n3,4\n3\n", /line 3: has 1 cells, expected 2/);
  refuse("tokensPerSecond,uplink,uplink\n3,4,5\n", /line 1: there are two columns "uplink"/);
  refuse('model,tokensPerSecond\n"A,3\n', /phones\.csv is no table: Quote Not Closed.* line 2/);
  refuse("", /line 1: expected a column tokensPerSecond/);
  refuse("tokensPerSecond\n0x10\n", /line 2: tokensPerSecond is "0x10", expected a number$/);
  // As spreadsheets write it where numbers have a comma.
  refuse("tokensPerSecond,uplink\n0,5,1000\n", /line 2: has 3 cells, expected 2; a number has a decimal point/);
  refuse("tokensPerSecond;uplink\n0,5;1000\n", /line 2: tokensPerSecond is "0,5", expected a number with a decimal/);
  const rows = Array.from({ length: 40 }, () => "-1\n").join("");
  refuse(`tokensPerSecond\n${rows}`, /phones\.csv has 40 mistakes\n {2}line 2: (.*\n){10} {2}… and 30 more$/);
});

test("availability comes from a table, from JSON, or from FedScale's records", (t) => {
  const folder = temporaryFolder(t);
  const write = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const devices = [
    [
      [0, 10_000],
      [20_000, 30_000],
    ],
    [[5_000, 40_000]],
  ];
  const trace = { type: "trace", period: 40_000, devices, assignment: "cycle" };
  assert.deepEqual(
    availabilityFrom(write("a.csv", "device,start,end\n1,0,10000\n1,20000,30000\n2,5000,40000\n")),
    trace,
  );
  // Devices have names as often as numbers, and a log is in no order.
  assert.deepEqual(
    availabilityFrom(write("n.csv", "start,device,end\n20000,phone-a,30000\n5000,pad,40000\n0,phone-a,10000\n")),
    trace,
  );
  assert.throws(() => availabilityFrom(write("m.csv", "device,start,end\n,0,1\n")), /m\.csv line 2: device is missing/);
  assert.deepEqual(availabilityFrom(write("a.json", JSON.stringify({ period: 40_000, devices }))), trace);
  const fedscale = {
    "1": { duration: 40, active: [0, 20], inactive: [10, 30], finish_time: 40 },
    "2": { duration: 40, active: [5], inactive: [], finish_time: 40 },
  };
  assert.deepEqual(availabilityFrom(write("b.json", JSON.stringify(fedscale))), trace);
  assert.throws(() => availabilityFrom(write("c.json", "[1]")), /expected an object with period and devices/);
});

test("recorded windows that make no sense are mistakes of the scenario, with field and value", () => {
  const windows = (devices: [number, number][][], period = 100_000) =>
    timingOnly({ world: { availability: [{ type: "trace", period, devices, assignment: "cycle" }] } as never });
  assert.throws(
    () => windows([[[50_000, 20_000]]]),
    /world\.availability\[0\]\.devices\[0\]\[0\] is \[50000,20000\], expected an end after its start/,
  );
  assert.throws(() => windows([[[0, 200_000]]]), /expected an end within the period, 100000/);
});

test("each of FedScale's devices begins again when its own record ends", async (t) => {
  const fedScale = {
    A: { active: [100], inactive: [500], finish_time: 800, duration: 400, model: "x" },
    B: { active: [400_000], inactive: [500_000], finish_time: 518_400, duration: 1, model: "y" },
  };
  const spec = availabilityFrom(written(t, "fedscale.json", fedScale));
  assert.deepEqual(spec.period, [800_000, 518_400_000]);
  for (const assignment of ["cycle", "random"] as const) {
    const there = availabilityOf([{ ...spec, assignment }], equalFleet({ size: 8 }), new Rng(1))!;
    const shares = Array.from({ length: 8 }, (_, client) => {
      let on = 0;
      for (let second = 0; second < 518_400; second += 10) if (there.isOn(clientId(client), 1_000 * second)) on++;
      return (10 * on) / 518_400;
    });
    // A is on for 400 of 800 s, and B for 100,000 of 518,400.
    for (const share of shares) assert.ok(Math.abs(share - 0.5) < 1e-3 || Math.abs(share - 0.1929) < 1e-3, `${share}`);
    assert.equal(new Set(shares.map((share) => share > 0.3)).size, 2);
  }
  // A phone that follows A, with 100 s of training, at first in [100 s, 500 s), then from 900 s on: the fourth of its
  // rounds is lost at 500 s and waits for the deadline of an hour.
  const scenario = timingOnly({
    data: { sizes: { examplesPerClient: 20, tokensPerExample: 50 } },
    fleet: [{ name: "phone", clients: 1, budget: 1, tokensPerSecond: 10, uplink: 1_250_000 }],
    world: { availability: [spec] },
    rounds: { count: 6, cohort: 1, deadline: minutes(60), patience: days(30) },
  });
  const { rows } = await run(scenario, { out: join(temporaryFolder(t), "run") });
  const closed = rows.slice(1).map(({ closedAt }) => Math.round(closedAt / 1_000));
  assert.deepEqual(closed, [200, 300, 400, 4_000, 4_200, 4_300]);
});

test("FedScale's capacities are milliseconds a sample and kilobits a second", (t) => {
  const path = written(t, "capacity.json", {
    "1": { computation: 50, communication: 8_000 },
    "2": { computation: 200, communication: 400 },
  });
  // Training takes three times as long as predicting: 128 tokens in 0.15 s and in 0.6 s.
  const { records } = devicesFrom(path, { tokensPerSample: 128 });
  assert.deepEqual(records, [
    { tokensPerSecond: 128_000 / 150, downlink: 1e6, uplink: 1e6 },
    { tokensPerSecond: 128_000 / 600, downlink: 5e4, uplink: 5e4 },
  ]);
  refuses(() => devicesFrom(path), /device "1" says how long a sample takes: expected .*tokensPerSample.*got missing$/);
  const broken = written(t, "capacity.json", { "7": { computation: 0, communication: 8_000 } });
  refuses(() => devicesFrom(broken, { tokensPerSample: 128 }), /device "7" has computation 0 and communication 8000/);
});

test("a window that cannot be is named with file, line and device, and of many there are ten and a count", (t) => {
  const refused = (text: string, message: RegExp, options = {}) =>
    refuses(() => availabilityFrom(written(t, "log.csv", `device,start,end\n${text}`), options), message);
  refused(
    "pixel-7,0,3600000\ngalaxy,0,9000000\npixel-7,3000000,7200000\n",
    /log\.csv: line 4: device "pixel-7" has the window 3000000 to 7200000, expected a start of at least 3600000, where/,
  );
  refused("a,500,100\n", /log\.csv: line 2: device "a" has the window 500 to 100, expected an end after its start$/);
  refused("a,-5,100\n", /line 2: device "a" has the window -5 to 100, expected a start of at least 0/);
  refused("a,0,500\n", /line 2: device "a" has the window 0 to 500, expected an end within the period, 400$/, {
    period: millis(400),
  });
  const many = Array.from({ length: 30 }, (_, at) => `d${at},2,1\n`).join("");
  refused(many, /log\.csv has 30 mistakes\n {2}line 2: device "d0" (.*\n){10} {2}… and 20 more$/);
  const fedScale = written(t, "f.json", { A: { active: [0, 5], inactive: [9, 11], finish_time: 20 } });
  refuses(() => availabilityFrom(fedScale), /f\.json: device "A" has the window 5000 to 11000, expected a start of at/);
  const uneven = written(t, "f.json", { A: { active: [0], inactive: [9, 11], finish_time: 20 } });
  refuses(() => availabilityFrom(uneven), /device "A" is active 1 times and inactive 2 times/);
  const twice = written(t, "f.json", '{"A": {"active": [0]}, "A": {"active": [1]}}');
  refuses(() => availabilityFrom(twice), /the name "A" occurs twice/);
  const misspelt = written(t, "f.json", { periodSeconds: 100, devices: [[[0, 5]]] });
  refuses(() => availabilityFrom(misspelt), /"periodSeconds" is not a field that exists here/);
});

test("quotes, semicolons, tabs and a window without time change nothing", (t) => {
  const plain = availabilityFrom(written(t, "a.csv", "device,start,end\na,0,3600000\nb,1800000,9000000\n"));
  for (const text of [
    '"device","start","end"\n"a",0,3600000\n"b",1800000,9000000\n',
    "device;start;end\r\na;0;3600000\r\nb;1800000;9000000\r\n",
    "device\tstart\tend\na\t0\t3600000\nb\t1800000\t9000000\n",
    '\ufeff"start" , "end","device"\n0,3.6e6,a\n1800000,9000000,b\n',
    "device,start,end\na,0,3600000\na,4000000,4000000\nb,1800000,9000000\n",
  ]) {
    assert.deepEqual(availabilityFrom(written(t, "b.csv", text)), plain, text);
  }
});

test("a log in Unix time is refused with the origin that it needs, and read with it", (t) => {
  const path = written(
    t,
    "log.csv",
    "device,start,end\na,1580515200000,1580518800000\nb,1580517000000,1580524200000\n",
  );
  refuses(
    () => availabilityFrom(path),
    /begins at 1580515200000, in Unix time 2020-02-01T00:00:00\.000Z; expected .*origin: 1580515200000/,
  );
  const { period, devices } = availabilityFrom(path, { origin: 1_580_515_200_000 });
  assert.deepEqual([period, devices], [9_000_000, [[[0, 3_600_000]], [[1_800_000, 9_000_000]]]]);
  const seconds = written(t, "log.csv", "device,start,end\na,1580515200,1580518800\n");
  refuses(
    () => availabilityFrom(seconds),
    /in Unix time 2020-02-01T00:00:00\.000Z; expected milliseconds from the beginning of the simulation, got seconds/,
  );
});
