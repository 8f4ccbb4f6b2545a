import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { refTo } from "../../src/runtime/actor.ts";
import { decode, encode } from "../../src/runtime/messages/codec.ts";
import { PiscinaPool } from "../../src/runtime/pools/piscina-pool.ts";
import type { WorkPool } from "../../src/runtime/pools/pool.ts";
import type { SystemState } from "../../src/runtime/system-state.ts";
import type { KernelState } from "../../src/sim/kernel/kernel.ts";
import type { TraceState } from "../../src/sim/kernel/trace.ts";
import { type Lab, openLab, ScrambledPool } from "../support/actor-lab.ts";
import {
  program,
  programClient,
  programClients,
  programServer,
  type ServerState,
  storm,
} from "../support/stormy-federation.ts";
import { firstSeed } from "../support/swarm/commit-seed.ts";

const rounds = 8;

function open(seed: number, pool: WorkPool): Lab {
  return openLab(program, { seed, weather: storm(seed), pool });
}

function begin(lab: Lab): Lab {
  lab.system.post(refTo(programServer), { type: "begin", rounds });
  return lab;
}

/** Everything by which two runs could differ. */
function outcome({ kernel, trace, system, blobs }: Lab) {
  const server = system.state(refTo(programServer)) as ServerState;
  return {
    now: kernel.now,
    events: kernel.processed,
    digest: trace.digest(),
    server: Buffer.from(encode(server)).toString("hex"),
    clients: programClients.map((id) => Buffer.from(encode(system.state(refTo(programClient, id)))).toString("hex")),
    adapter: Buffer.from(blobs.bytes(server.base!)).toString("hex"),
    blobs: blobs.count,
    pledges: system.outstandingPledges,
  };
}

async function straight(seed: number, pool: WorkPool) {
  const lab = begin(open(seed, pool));
  await lab.kernel.run();
  return { ...outcome(lab), lab };
}

interface Checkpoint {
  readonly kernel: KernelState;
  readonly trace: TraceState;
  readonly system: SystemState;
}

/** Stops after `events` events, writes everything down as bytes, and goes on in a new system with another pool. */
async function interrupted(seed: number, events: number, first: WorkPool, second: WorkPool) {
  const before = begin(open(seed, first));
  await before.kernel.run({ until: () => before.kernel.processed >= events });
  const checkpoint: Checkpoint = {
    kernel: before.kernel.snapshot(),
    trace: before.trace.snapshot(),
    system: before.system.snapshot(),
  };
  const bytes = encode(checkpoint);
  await before.kernel.run();
  const { kernel, trace, system } = decode(bytes) as Checkpoint;
  const after = open(seed, second);
  after.kernel.restore(kernel);
  after.trace.restore(trace);
  after.system.restore(system);
  assert.deepEqual(encode(after.system.snapshot()), encode(system), "restoring changes nothing");
  await after.kernel.run();
  return { left: outcome(before), resumed: outcome(after) };
}

test("a run does not depend on the number of workers, nor on which of them is faster", async () => {
  for (let seed = 1; seed <= 6; seed++) {
    const reference = outcome((await straight(seed, new ScrambledPool(1, 0))).lab);
    for (const workers of [1, 2, 4]) {
      const { lab } = await straight(seed, new ScrambledPool(workers, seed));
      assert.deepEqual(outcome(lab), reference, `seed ${seed}, ${workers} workers`);
    }
  }
});

test("a run that is broken off between any two events goes on as if nothing had happened", async () => {
  for (let seed = 1; seed <= 25; seed++) {
    const { lab } = await straight(seed, new ScrambledPool(1, 0));
    const reference = outcome(lab);
    const events = new Rng(seed).at("breakpoint").at(0).below(lab.kernel.processed);
    const workers = 1 + (seed % 4);
    const { left, resumed } = await interrupted(
      seed,
      events,
      new ScrambledPool(1, 0),
      new ScrambledPool(workers, seed),
    );
    assert.deepEqual(resumed, reference, `seed ${seed}, broken off after ${events} events`);
    assert.deepEqual(left, reference, `seed ${seed}: taking a snapshot after ${events} events changes nothing`);
  }
});

/** Every third event, others in the next commit. */
test("a run broken off after any event goes on as if nothing had happened", async () => {
  const { lab } = await straight(77, new ScrambledPool(1, 0));
  const reference = outcome(lab);
  for (let events = firstSeed().seed % 3; events <= lab.kernel.processed; events += 3) {
    const { resumed } = await interrupted(77, events, new ScrambledPool(1, 0), new ScrambledPool(2, events));
    assert.deepEqual(resumed, reference, `broken off after ${events} events`);
  }
});

test("real threads give the same run: 1 and 2 workers, resumed or not", async () => {
  const worker = new URL("../support/pool-worker.ts", import.meta.url);
  const pools = [1, 2].map((workers) => new PiscinaPool({ worker, workers }));
  const { lab } = await straight(5, new ScrambledPool(1, 0));
  const reference = outcome(lab);
  for (const pool of pools) assert.deepEqual(outcome((await straight(5, pool)).lab), reference);
  const { resumed } = await interrupted(5, 150, pools[1]!, pools[0]!);
  assert.deepEqual(resumed, reference);
  await Promise.all(pools.map((pool) => pool.close()));
});

test("every message ends once: as a turn, lost, damaged or cut off", async () => {
  const seen = { turn: 0, lost: 0, corrupted: 0 };
  for (let seed = 1; seed <= 8; seed++) {
    const { lab } = await straight(seed, new ScrambledPool(1, 0));
    const sent = new Set<unknown>();
    const ended = new Set<unknown>();
    let now = 0;
    for (const { t, type, n } of lab.rows()) {
      assert.ok((t as number) >= now, "time never goes back");
      now = t as number;
      if (type === "sent") sent.add(n);
      if (!(typeof type === "string" && type in seen)) continue;
      seen[type as keyof typeof seen]++;
      assert.ok(sent.has(n), `${type} ${String(n)} was sent before`);
      assert.ok(!ended.has(n), `${String(n)} ended before`);
      ended.add(n);
    }
    assert.equal(ended.size, sent.size);
  }
  for (const [end, count] of Object.entries(seen)) assert.ok(count > 10, `the storm leads to ${end}: ${count}`);
});

test("a run leaves nothing behind but the adapter it ends with", async () => {
  let discarded = 0;
  for (let seed = 1; seed <= 8; seed++) {
    const { lab, blobs, pledges } = await straight(seed, new ScrambledPool(1, 0));
    assert.deepEqual([blobs, pledges], [1, 0], `seed ${seed}`);
    const { counted } = lab.system.state(refTo(programServer)) as ServerState;
    assert.equal(counted.length, rounds);
    assert.equal(
      lab.system.diagnostics.pledges.opened,
      counted.reduce((sum, updates) => sum + updates, 0),
    );
    discarded += lab.system.diagnostics.pledges.discarded;
  }
  assert.ok(discarded > 100, "updates that do not count are never worked out");
});
