/** The pool with workers anywhere and a server of the tests' own: what goes wrong on the way, and who does not play fair. */
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { nkeys } from "@nats-io/transport-node";
import { sha256 } from "../../src/base/digest.ts";
import { BlobStore } from "../../src/runtime/messages/blobs.ts";
import { encode } from "../../src/runtime/messages/codec.ts";
import { InlinePool } from "../../src/runtime/pools/inline-pool.ts";
import { NatsPool, type NatsPoolOptions } from "../../src/runtime/pools/nats.ts";
import { Attendance, listWorkers } from "../../src/runtime/pools/nats-attendance.ts";
import { connectNats, type NatsServer } from "../../src/runtime/pools/nats-server.ts";
import { type Parcel, read, streamOf, subjects, taskSchema } from "../../src/runtime/pools/nats-wire.ts";
import type { Task } from "../../src/runtime/pools/pool.ts";
import { temporaryFolder } from "../support/folders.ts";
import { startNats, startWorker, type TestServer, withoutNats } from "../support/nats.ts";
import { handlers } from "../support/pool-worker.ts";

const task = (work: string, job: unknown): Task => ({ work, job, blobs: [] });
const square = task("square", { n: 3 });
const open = async () => new InlinePool(handlers);

async function openPool(url: string, options: Partial<NatsPoolOptions> = {}): Promise<NatsPool> {
  const server = options.server ?? (await connectNats({ url }, "a run of the tests"));
  return NatsPool.open({ server, title: "test", needs: {}, setup: new Uint8Array(1), silence: 1_000, ...options });
}

/** Of the only run that there is. */
async function nameOf({ manager }: NatsServer): Promise<string> {
  const names = (await manager.streams.list().next()).map(({ config }) => config.name);
  return names.find((name) => /^FLAME_(?!WORKERS)/.test(name))!.slice("FLAME_".length);
}

/** Somebody with the credentials of a worker, who may say anything. */
class Stranger {
  readonly #server: NatsServer;
  readonly #run: string;
  readonly #is: Readonly<Record<string, string>>;
  readonly #id: string;
  readonly #timer: NodeJS.Timeout;

  private constructor(server: NatsServer, run: string, is: Readonly<Record<string, string>>) {
    this.#server = server;
    this.#run = run;
    this.#is = is;
    this.#id = server.newName();
    const presence = encode({ worker: this.#self, cores: 1, slots: 1, done: 0, serving: run, refuses: null });
    const tell = () => server.connection.publish(subjects.worker(this.#id), presence);
    tell();
    this.#timer = setInterval(tell, 100);
  }

  /** Joins the only run there is. */
  static async join(url: string, is: Readonly<Record<string, string>> = {}): Promise<Stranger> {
    const server = await connectNats({ url }, "a stranger");
    return new Stranger(server, await nameOf(server), is);
  }

  /** Takes a task off the queue, and says something. */
  async answer(say: (id: number) => unknown): Promise<void> {
    const consumer = await this.#server.jetstream.consumers.get(streamOf(this.#run), "workers");
    const message = await consumer.next();
    const { id } = read(taskSchema, message!.data, "a task");
    const said = say(id);
    if (said instanceof Uint8Array) await this.#publish(said);
    else await this.#publish(encode({ attempt: 1, worker: this.#self, took: 1, id, ...(said as object) }));
    message!.ack();
  }

  /** Takes a task off the queue, and says for ever that it works. */
  async hold(): Promise<void> {
    const consumer = await this.#server.jetstream.consumers.get(streamOf(this.#run), "workers");
    const message = await consumer.next();
    const timer = setInterval(() => message!.working(), 100);
    void this.#server.connection.closed().then(() => clearInterval(timer));
  }

  /** Puts something else into the store than what its name says. */
  async place(digest: string, content: Uint8Array): Promise<void> {
    await (await this.#server.store(streamOf(this.#run), "open")).put(digest, content);
  }

  async get(digest: string): Promise<Uint8Array> {
    return (await this.#server.store(streamOf(this.#run), "open")).get({ digest, bytes: 1e5 });
  }

  /** Asks for content. @returns what is wrong with that */
  async want(name: string): Promise<string> {
    return (await this.#server.connection.request(subjects.of(this.#run, "want"), name)).string();
  }

  async leave(): Promise<void> {
    clearInterval(this.#timer);
    await this.#server.connection.close();
  }

  get #self() {
    return { id: this.#id, host: "stranger", is: this.#is };
  }

  async #publish(data: Uint8Array): Promise<void> {
    await this.#server.jetstream.publish(subjects.of(this.#run, "done"), data);
  }
}

const parcel = (value: unknown): Parcel => {
  const inside = encode(value);
  return { digest: sha256(inside), bytes: inside.length, inside };
};

describe("a NATS server", { skip: withoutNats, concurrency: true }, () => {
  test("that is not there, refuses credentials, has no JetStream or takes small messages only is told of", async () => {
    await assert.rejects(connectNats({ url: "nats://127.0.0.1:1" }, "test"), {
      name: "MachineError",
      message: /cannot use the NATS server nats:\/\/127\.0\.0\.1:1: .*refused/,
    });
    for (const [config, jetstream, message] of [
      ["authorization { user: lab, password: secret }", true, /it refuses these credentials/],
      ["", false, /offers no JetStream: start it with -js/],
      ["max_payload: 32KB", true, /takes messages of 32\.\d kB, expected at least 65\.\d kB: max_payload/],
    ] as const) {
      const server = await startNats(config, jetstream);
      await assert.rejects(connectNats({ url: server.url }, "test"), { name: "MachineError", message });
      await server.stop();
    }
  });

  test("with the users of docs/workers.md has workers that cannot pose as a run, nor reach another than theirs", async () => {
    const [run, worker] = [nkeys.createUser(), nkeys.createUser()];
    const text = readFileSync(join(import.meta.dirname, "../../docs/workers.md"), "utf8");
    const [, users] = /\n(authorization \{[\s\S]*?\n\}\n)/.exec(text)!;
    const config = users!.replace("URUN", run.getPublicKey()).replace("UWORKER", worker.getPublicKey());
    const server = await startNats(config);
    const folder = temporaryFolder({ after });
    const files = [run, worker].map((user, at) => {
      const file = join(folder, `${at}.nk`);
      writeFileSync(file, user.getSeed());
      return file;
    });
    const notes: string[] = [];
    const creds = { creds: files[1]! };
    const stop = await startWorker(server.url, { open, note: (text) => notes.push(text) }, creds);
    const owner = await connectNats({ url: server.url, creds: files[0]! }, "a run of the tests");
    const pool = await openPool(server.url, { server: owner });
    const blobs = new BlobStore();
    const values = blobs.put(new Float32Array(400_000).fill(1));
    const sum = { work: "sum", job: { values }, blobs: [[values.digest, blobs.bytes(values)]] } as const;
    assert.equal(await pool.run(sum), 400_000);
    await pool.run(task("ramp", { length: 400_000 }));
    const intruder = await connectNats({ url: server.url, ...creds }, "an intruder");
    const publish = (subject: string) => intruder.jetstream.publish(subject, new Uint8Array(1), { timeout: 500 });
    await assert.rejects(intruder.manager.streams.names().next(), /Permissions Violation|permission/i);
    await assert.rejects(publish("flame.x.task"), /violation/i);
    // Nobody listens there, but it may be said.
    await assert.rejects(publish("flame.x.done"), /not enabled/i);
    const name = await nameOf(owner);
    const kept = config.replaceAll(/^(.*) +# \* is (\S*)<run>$/gm, (_, line: string, before: string) =>
      line.replaceAll(/\*/g, `${before}${name}`),
    );
    await server.restart(kept);
    assert.equal(await pool.run({ ...sum, job: { values, more: new Float32Array(400_000) } }), 400_000);
    await pool.run(task("ramp", { length: 400_001 }));
    await assert.rejects(publish("flame.x.done"), /violation/i);
    await intruder.connection.close();
    await pool.close();
    await stop();
    await server.stop();
    assert.deepEqual(
      notes.filter((note) => !/^the connection/.test(note)),
      ["serves test", "has done 4 tasks for test"],
    );
  });

  test("that is full makes a run fail with what it says", async () => {
    const server = await startNats("", "max_file_store: 100KB");
    const stop = await startWorker(server.url, { open, silence: 1_000 });
    const pool = await openPool(server.url);
    await assert.rejects(pool.run(task("sum", { values: new Float32Array(3e5) })), {
      name: "MachineError",
      message: /takes no more: .*(resource|limit|storage|space)/,
    });
    await pool.close();
    await stop();
    await server.stop();
  });
});

describe("the pool with workers anywhere", { skip: withoutNats }, () => {
  let server: TestServer;
  before(async () => {
    server = await startNats("max_payload: 128KB");
  });
  after(() => server.stop());

  test("what is larger than a message goes through the store, and nothing is left there when a run has ended", async () => {
    const stop = await startWorker(server.url, { open });
    const pool = await openPool(server.url);
    const blobs = new BlobStore();
    const values = blobs.put(Float32Array.from({ length: 60_000 }, (_, i) => i % 7));
    const sum = {
      work: "sum",
      job: { values, more: new Float32Array(60_000) },
      blobs: [[values.digest, blobs.bytes(values)]],
    } as const;
    assert.equal(
      await pool.run(sum),
      Float32Array.from({ length: 60_000 }, (_, i) => i % 7).reduce((a, b) => a + b, 0),
    );
    const { values: ramp } = (await pool.run(task("ramp", { length: 60_000 }))) as { values: Float32Array };
    assert.equal(ramp[59_999], 59_999);
    await pool.close();
    const looker = await connectNats({ url: server.url }, "a look");
    const [worker] = await listWorkers(looker);
    assert.deepEqual([worker!.worker.host, worker!.slots, worker!.done], ["here", 1, 2]);
    const left = (await looker.manager.streams.list().next()).map(({ config }) => config.name);
    assert.deepEqual(left, ["FLAME_WORKERS"]);
    await looker.connection.close();
    await stop();
  });

  test("a worker of another version is told so and not used", async () => {
    const notes: string[] = [];
    const told: string[] = [];
    const pool = await openPool(server.url, { needs: { program: "2.0" }, note: (text) => notes.push(text) });
    const stopOld = await startWorker(server.url, { open, is: { program: "1.0" }, note: (text) => told.push(text) });
    const stop = await startWorker(server.url, { open, is: { program: "2.0" } });
    assert.deepEqual(await pool.run(square), { n: 9 });
    await stopOld();
    assert.deepEqual(told.slice(0, 1), ["does not serve test: the run needs program 2.0, the worker has 1.0"]);
    assert.ok(notes.includes("the worker on here is not used: the run needs program 2.0, the worker has 1.0"));
    await pool.close();
    await stop();
  });

  test("a result that is damaged, from another kind of worker or no result at all is refused, and the task begun again", async () => {
    const pool = await openPool(server.url, {
      needs: { processor: "a" },
      check: (_, value) => assert.equal(typeof value, "object"),
    });
    const result = pool.run(square);
    const [good, other] = [await Stranger.join(server.url, { processor: "a" }), await Stranger.join(server.url)];
    const reply = parcel({ ok: true, value: { n: 1 } });
    await good.answer(() => ({ reply: { ...reply, digest: "0".repeat(64) } }));
    await good.answer(() => ({ reply: { ...reply, inside: null } }));
    await good.place(reply.digest, new Uint8Array(1e5));
    await good.answer(() => ({ reply: { ...reply, inside: null } }));
    await good.place("1".repeat(64), new Uint8Array(1e5));
    await good.answer(() => ({ reply: { digest: "1".repeat(64), bytes: 1e5, inside: null } }));
    assert.match(await good.want("\x1b[31m"), /no digest/);
    assert.match(await good.want("2".repeat(64)), /does not have it/);
    await good.answer(() => ({ reply: parcel({ ok: true, value: 7 }) }));
    await good.answer(() => ({ reply: parcel({ no: "reply" }) }));
    await other.answer(() => ({ reply }));
    // Of garbage nobody knows whose it was: the queue is found empty.
    await good.answer(() => encode({ "\x1b[31m": 1 }));
    const late = "3".repeat(64);
    await good.place(late, new Uint8Array(1e5));
    await good.answer((id) => ({ id: id + 1_000, reply: { digest: late, bytes: 1e5, inside: null } }));
    await good.answer(() => ({ reply: parcel({ ok: true, value: { n: 9 } }) }));
    assert.deepEqual(await result, { n: 9 });
    const problems = pool.diagnostics.problems.join("\n");
    for (const expected of [
      /has the digest/,
      /is not in the object store/,
      /has 100000 bytes in the object store, expected/,
      /content 111111111111 has the digest/,
      /number/,
      /reply from stranger is not what it claims to be/,
      /from stranger: the run needs processor a, the worker has none/,
      /a result was refused: a result is not/,
      /its worker has lost it/,
    ]) {
      assert.match(problems, expected);
    }
    assert.ok(!problems.includes("\x1b"));
    assert.equal(pool.diagnostics.completed, 1);
    assert.equal(pool.diagnostics.retries, 9);
    await assert.rejects(good.get(late), /is not in the object store/, "what nobody waits for is not kept");
    await good.leave();
    await other.leave();
    await pool.close();
  });

  test("a task of a worker that says for ever that it works is done by another, and by this process", async () => {
    for (const local of [null, await open()]) {
      const said = new EventEmitter();
      const note = (text: string) => void said.emit(/has come|begins it/.exec(text)?.[0] ?? "else", text);
      const pool = await openPool(server.url, { patience: 500, local, note });
      const come = once(said, "has come");
      const stuck = await Stranger.join(server.url);
      await come;
      const late = once(said, "begins it");
      // The first is for this process, where it works, too.
      const results = Array.from({ length: local === null ? 1 : 2 }, () => pool.run(square));
      await stuck.hold();
      const stop = local === null ? await startWorker(server.url, { open, silence: 1_000 }) : async () => {};
      assert.deepEqual(await Promise.all(results), Array(results.length).fill({ n: 9 }));
      assert.match(String(await late), /^"square" has been with a worker for 500ms: the next who has time begins it/);
      await pool.close();
      await stuck.leave();
      await stop();
    }
  });

  test("a task that only ever comes back damaged fails the run", async () => {
    const pool = await openPool(server.url);
    const result = pool.run(square);
    const bad = await Stranger.join(server.url);
    const lies = (async () => {
      for (let i = 0; i < 10; i++) await bad.answer(() => ({ reply: parcel("lies") }));
    })();
    await assert.rejects(result, { name: "MachineError", message: /"square" went wrong 10 times, giving up/ });
    await lies;
    await bad.leave();
    await pool.close();
  });

  test("whoever claims to be very many workers is believed a few thousand", () => {
    const notes: string[] = [];
    const attendance = new Attendance("run", { processor: "a" }, (text) => notes.push(text));
    const say = (id: string, processor: string) =>
      attendance.hear(
        encode({
          worker: { id, host: "lab", is: { processor } },
          ...{ cores: 1, slots: 1, done: 0, serving: "run", refuses: null },
        }),
      );
    for (let i = 0; i < 4_096; i++) say(`a${i}`, "a");
    assert.throws(() => say("more", "a"), /too many workers/);
    for (let i = 0; i < 5_000; i++) say(`b${i}`, "b");
    assert.equal(attendance.slots, 4_096);
    assert.equal(notes.length, 2 * 4_096);
  });

  test("two runs at a time share the workers that are there", async () => {
    const silence = 500;
    const changes = new EventEmitter();
    const note = () => setImmediate(() => changes.emit("change"));
    const stops = await Promise.all([1, 2].map(() => startWorker(server.url, { open, silence })));
    const serving = async (pool: NatsPool, count: number) => {
      while (pool.workers !== count) await once(changes, "change");
    };
    const first = await openPool(server.url, { title: "first", silence, note });
    await serving(first, 2);
    const second = await openPool(server.url, { title: "second", silence, note });
    await serving(second, 1);
    const results = await Promise.all([first, second].map((pool) => pool.run(square)));
    assert.deepEqual(results, [{ n: 9 }, { n: 9 }]);
    await first.close();
    await serving(second, 2);
    await second.close();
    for (const stop of stops) await stop();
  });

  test("what a run that was killed has left goes once its queue is forgotten", async () => {
    const dead = await openPool(server.url);
    const looker = await connectNats({ url: server.url }, "a look");
    const names = async () => (await looker.manager.streams.list().next()).map(({ config }) => config.name);
    const [stream] = (await names()).filter((name) => /^FLAME_(?!WORKERS)/.test(name));
    await looker.manager.consumers.delete(stream!, "run");
    const pool = await openPool(server.url);
    while ((await names()).some((name) => name.includes(stream!)));
    assert.equal((await names()).length, 3);
    await pool.close();
    await looker.connection.close();
    await dead.close();
  });

  test("a server that is started again loses nothing", async () => {
    const stop = await startWorker(server.url, { open, slots: 2 });
    const pool = await openPool(server.url);
    assert.deepEqual(await pool.run(square), { n: 9 });
    const results = Array.from({ length: 20 }, (_, n) => pool.run(task("square", { n })));
    await server.restart();
    assert.deepEqual(
      await Promise.all(results),
      Array.from({ length: 20 }, (_, n) => ({ n: n * n })),
    );
    await pool.close();
    await stop();
  });

  test("a server that has lost what was on its disk fails the run, and is named as the reason", async () => {
    const pool = await openPool(server.url);
    const idle = await Stranger.join(server.url);
    const waiting = pool.run(square);
    const other = await connectNats({ url: server.url }, "whoever loses a disk");
    const { streams } = other.manager;
    for await (const name of streams.names()) if (/^FLAME_(?!WORKERS)/.test(name)) await streams.delete(name);
    await assert.rejects(waiting, /^MachineError: the run is gone from the NATS server: /);
    await pool.close();
    await idle.leave();
    await other.connection.close();
  });
});
