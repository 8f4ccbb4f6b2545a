/** Messages: how long they take, what they share, and every byte accounted for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { problemsOf } from "../../../src/base/problem.ts";
import { type BytesPerSecond, millis, seconds } from "../../../src/base/units.ts";
import type { MessageStage } from "../../../src/sim/flight/stages.ts";
import { networkSchema } from "../../../src/sim/network/network.ts";
import { crash } from "../../../src/sim/script/effects.ts";
import { at } from "../../../src/sim/script/timeline.ts";
import type { World } from "../../../src/sim/world.ts";
import { equalFleet, listen, moments, Parts, play, Script, shareError, stage } from "../../support/sim-world.ts";

const send = (world: World, ticket: number, bytes: number, stage: MessageStage = "upload") =>
  world.transfer({
    ticket,
    client: clientId(ticket),
    stage,
    bytes,
    participation: participationId(ticket),
    round: round(1),
  });

const rate = (perSecond: number) => perSecond as BytesPerSecond;

test("a message takes its latency and its bytes divided by the rate of its direction", async () => {
  const fleet = equalFleet({ size: 2, latency: 70 });
  fleet.uplink.fill(500_000);
  const own = stage({ fleet });
  const endings = listen(own);
  send(own.world, 0, 2_000_000, "download");
  send(own.world, 1, 2_000_000, "upload");
  await own.kernel.run();
  assert.deepEqual(
    endings.map(({ ticket, at }) => [ticket, at]),
    [
      [0, 2_070],
      [1, 4_070],
    ],
  );
  assert.deepEqual(own.world.traffic, {
    downloadSent: 2_000_000,
    downloadReceived: 2_000_000,
    downloadLost: 0,
    uploadSent: 2_000_000,
    uploadReceived: 2_000_000,
    uploadLost: 0,
  });
});

test("an undisturbed message is one event", async () => {
  const own = stage({ fleet: equalFleet({ size: 1 }) });
  listen(own);
  send(own.world, 0, 1_000);
  assert.equal(await own.kernel.run(), 1);
});

test("uploads on a shared link each get min(own, capacity ÷ uploads)", async () => {
  // 100 B/ms for all, 80 B/ms each. A sends 4,000 B alone until 50 ms; A and B get 50 B/ms each until A's other 6,000 B
  // are through at 170 ms; B has 4,000 B left, which take 50 ms alone. Latency 7 ms comes on top.
  const own = stage({
    fleet: equalFleet({ size: 2, rate: 80_000, latency: 7 }),
    spec: { network: { sharedUplink: rate(100_000) } },
  });
  const endings = listen(own);
  const script = new Script(own.kernel);
  script.at(0, () => send(own.world, 0, 10_000));
  script.at(50, () => send(own.world, 1, 10_000));
  await own.kernel.run();
  assert.deepEqual(
    endings.map(({ ticket, at }) => [ticket, at]),
    [
      [0, 177],
      [1, 227],
    ],
  );
});

test("what a lost upload had of a shared link goes to the others at once", async () => {
  // 10 B/ms for both: each has sent 5,000 of 20,000 B when one crashes at 1,000 ms; the other has 15,000 B left, alone.
  const own = stage({
    fleet: equalFleet({ size: 2, rate: 1e6 }),
    spec: {
      network: { sharedUplink: rate(10_000) },
      timeline: [at(millis(1_000), crash({ clients: [1] }))],
    },
  });
  const endings = listen(own);
  send(own.world, 0, 20_000);
  send(own.world, 1, 20_000);
  await own.kernel.run();
  assert.deepEqual(
    endings.map(({ ticket, at: time, loss }) => [ticket, time, loss?.reason]),
    [
      [1, 1_000, "crash"],
      [0, 2_500, undefined],
    ],
  );
  assert.equal(own.world.traffic.uploadLost, 5_000);
});

test("a link wide enough for all is as if nobody shared it, and downloads do not feel uploads", async () => {
  const spec = { network: { sharedUplink: rate(20_000) } };
  const own = stage({ fleet: equalFleet({ size: 3, rate: 10_000 }), spec });
  const endings = listen(own);
  send(own.world, 0, 10_000);
  send(own.world, 1, 20_000);
  send(own.world, 2, 15_000, "download");
  await own.kernel.run();
  assert.deepEqual(
    endings.map(({ ticket, at }) => [ticket, at]),
    [
      [0, 1_000],
      [2, 1_500],
      [1, 2_000],
    ],
  );
});

test("one hundred equal uploads on a shared link end together, when the link has carried them all", async () => {
  const own = stage({
    fleet: equalFleet({ size: 100, rate: 1e9 }),
    spec: { network: { sharedUplink: rate(1_000_000) } },
  });
  const endings = listen(own);
  for (let ticket = 0; ticket < 100; ticket++) send(own.world, ticket, 50_000);
  await own.kernel.run();
  assert.ok(endings.length === 100 && endings.every(({ at }) => Math.abs(at - 5_000) <= 1));
});

test("a client's rate varies from message to message as far as asked, and is never 0", async () => {
  const cv = 0.4;
  const own = stage({
    fleet: equalFleet({ size: 5_000, rate: 1_000 }),
    spec: { network: { taskVariation: { down: cv, up: cv } } },
  });
  const endings = listen(own);
  for (let ticket = 0; ticket < 5_000; ticket++) send(own.world, ticket, 1_000_000);
  await own.kernel.run();
  const { mean, variance, error } = moments(endings.map(({ at }) => 1e6 / at));
  // Normal above 0 with mean 1 and sd 0.4 has mean 1.007 and sd 0.39 once the 0.6 % below 0 are drawn again.
  assert.ok(Math.abs(mean - 1.007) < 4 * error, `${mean}`);
  assert.ok(Math.abs(Math.sqrt(variance) - 0.39) < 0.02, `${Math.sqrt(variance)}`);
});

test("a lost message is sent again after the time-out, and every copy is paid for", async () => {
  const retry = { timeout: seconds(3), attempts: 4 };
  const own = stage({ fleet: equalFleet({ size: 4_000 }), spec: { network: { loss: 0.5, retry } } });
  const endings = listen(own);
  for (let ticket = 0; ticket < 4_000; ticket++) send(own.world, ticket, 1_000_000);
  await own.kernel.run();
  const after = (copies: number) =>
    endings.filter(({ how, at }) => how === "intact" && at === 1_000 + (copies - 1) * 4_000).length;
  for (const copies of [1, 2, 3, 4]) {
    const share = after(copies) / 4_000;
    assert.ok(Math.abs(share - 0.5 ** copies) < 4 * shareError(0.5 ** copies, 4_000), `${copies}: ${share}`);
  }
  const lost = endings.filter(({ how }) => how === "lost");
  assert.ok(lost.every(({ loss }) => loss!.reason === "lost-message" && loss!.phase === "upload"));
  assert.equal(endings.length, 4_000);
  const { uploadSent, uploadReceived, uploadLost } = own.world.traffic;
  assert.equal(uploadReceived, (4_000 - lost.length) * 1e6);
  assert.equal(uploadSent, uploadReceived + uploadLost);
  const copies = [1, 2, 3, 4].reduce((sum, n) => sum + n * after(n), 4 * lost.length);
  assert.equal(uploadSent, copies * 1e6);
  assert.equal(own.rows.filter(({ type }) => type === "resend").length, copies - 4_000);
});

test("a doubled message arrives twice with the same condition; a corrupted one says so", async () => {
  const spec = { network: { duplication: 0.3, corruption: 0.2 } };
  const own = stage({ fleet: equalFleet({ size: 3_000 }), spec });
  const endings = listen(own);
  for (let ticket = 0; ticket < 3_000; ticket++) send(own.world, ticket, 1_000);
  await own.kernel.run();
  const share = (count: number) => count / 3_000;
  assert.ok(Math.abs(share(endings.length - 3_000) - 0.3) < 4 * shareError(0.3, 3_000));
  const first = new Map<number, string>();
  for (const { ticket, how } of endings) {
    if (first.has(ticket)) assert.equal(how, first.get(ticket));
    first.set(ticket, how);
  }
  assert.equal(first.size, 3_000);
  const corrupted = [...first.values()].filter((how) => how === "corrupted").length;
  assert.ok(Math.abs(share(corrupted) - 0.2) < 4 * shareError(0.2, 3_000));
  assert.equal(own.world.traffic.uploadSent, own.world.traffic.uploadReceived);
  assert.equal(own.world.traffic.uploadReceived, endings.length * 1_000);
});

test("reordering lets a message overtake one sent before it", async () => {
  const spec = { network: { reordering: { probability: 0.5, maxDelay: seconds(10) } } };
  const own = stage({ fleet: equalFleet({ size: 100 }), spec });
  const endings = listen(own);
  const script = new Script(own.kernel);
  for (let ticket = 0; ticket < 100; ticket++) script.at(ticket * 100, () => send(own.world, ticket, 1_000));
  await own.kernel.run();
  const order = endings.map(({ ticket }) => ticket);
  assert.equal(order.length, 100);
  assert.notDeepEqual(
    order,
    [...order].sort((a, b) => a - b),
  );
});

test("a dropped client's download is paid for, its upload is not; a broken upload is paid for in part", async () => {
  const run = async (faults: object) => {
    const own = stage({ fleet: equalFleet({ size: 1 }), spec: { faults } });
    const parts = new Parts(own, [{ client: 0, round: 1, at: 0 }], {
      downloadBytes: 5_000,
      uploadBytes: 7_000_000,
    });
    listen(own, (ending) => parts.hear(ending));
    await own.kernel.run();
    return own.world.traffic;
  };
  const dropped = await run({ training: 1 });
  assert.deepEqual([dropped.downloadReceived, dropped.uploadSent], [5_000, 0]);
  const broken = await run({ upload: 1 });
  assert.ok(broken.uploadSent > 0 && broken.uploadSent < 7_000_000);
  assert.deepEqual([broken.uploadReceived, broken.uploadLost], [0, broken.uploadSent]);
});

test("luck belongs to client and round, whoever else takes part", async () => {
  const spec = {
    network: { taskVariation: { down: 0.4, up: 0.4 }, loss: 0.1, retry: { timeout: seconds(1), attempts: 2 } },
    compute: { noise: { type: "log-normal", mean: 1, cv: 0.3 } },
    faults: { training: 0.2, upload: 0.1, hazardPerHour: 1 },
  } as const;
  const fates = async (members: readonly number[]) => {
    const parts = [1, 2, 3].flatMap((r) => members.map((client) => ({ client, round: r, at: r * 1_000_000 })));
    const results = await play({ fleet: equalFleet({ size: 40 }), spec }, parts);
    return new Map(
      results.map(({ part, loss, endedAt }) => [
        `${part.round}/${part.client}`,
        `${loss?.phase} ${loss?.reason} ${endedAt}`,
      ]),
    );
  };
  const some = await fates([3, 9, 11, 12, 30]);
  const others = await fates([39, 30, 12, 1, 0, 2, 5, 9]);
  for (const client of [9, 12, 30]) {
    for (const r of [1, 2, 3]) assert.equal(some.get(`${r}/${client}`), others.get(`${r}/${client}`));
  }
});

test("a second part of the same client in the same round has luck of its own", async () => {
  const again = Array.from({ length: 600 }, (_, i) => ({ client: Math.floor(i / 2), round: 1, at: (i % 2) * 100_000 }));
  const results = await play({ fleet: equalFleet({ size: 300 }), spec: { faults: { training: 0.5 } } }, again);
  const same = results.filter(
    (result, i) => i % 2 === 1 && (result.loss === null) === (results[i - 1]!.loss === null),
  ).length;
  assert.ok(Math.abs(same / 300 - 0.5) < 4 * shareError(0.5, 300), `${same}`);
});

test("a network without bandwidth is rejected with its field", () => {
  assert.deepEqual(
    problemsOf(networkSchema, { sharedUplink: 0, loss: -0.1, retry: { timeout: 0, attempts: 0 } }).map(
      ({ path }) => path,
    ),
    ["sharedUplink", "loss", "retry.timeout", "retry.attempts"],
  );
});
