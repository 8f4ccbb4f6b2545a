/** Workers on other machines, as processes of their own: the run is that of one thread here, byte for byte. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { badLink } from "../support/bad-link.ts";
import { type Started, start } from "../support/command-process.ts";
import { folderOfFile } from "../support/folders.ts";
import { startNats, type TestServer, withoutNats } from "../support/nats.ts";
import { assertSameRun, sameFiles } from "../support/run-folders.ts";
import { trainedRun } from "../support/trained-run.ts";

const folder = folderOfFile();
const files = [...sameFiles, "adapter/adapter_model.safetensors"];

describe("workers on other machines", { skip: withoutNats }, () => {
  let straight = "";
  let file = "";
  let server: TestServer;
  let workers: Started[] = [];
  before(async () => {
    ({ out: straight, file } = await trainedRun());
    server = await startNats();
    workers = await Promise.all([1, 2, 3].map(() => startWorker()));
  });
  after(async () => {
    for (const { process } of workers) process.kill("SIGKILL");
    await server.stop();
  });

  async function startWorker(url = server.url): Promise<Started> {
    const worker = start(["worker", "--nats", url, "--workers", "1"]);
    await worker.until(/for whoever runs at/);
    return worker;
  }

  const run = (out: string, ...more: string[]) => start(["run", file, "--out", out, "--nats", server.url, ...more]);

  test("the quickstart on three workers is that of this process, and moves the bytes that it has to", async () => {
    const [here, there] = [join(folder, "here"), join(folder, "there")];
    const changes = ["rounds.cohort=6", "rounds.minUpdates=1", "evaluationExamples=16", "data.source.examples=1000"];
    const short = ["run", "quickstart", "--rounds", "2", ...changes.flatMap((change) => ["--set", change])];
    const straight = await start([...short, "--out", here, "--workers", "1"]).ended;
    const before = await server.traffic();
    const elsewhere = ["--out", there, "--workers", "0", "--nats", server.url];
    const { code, out: said, err } = await start([...short, ...elsewhere]).ended;
    const after = await server.traffic();
    assert.equal(code, straight.code, err);
    assert.match(said, /the worker on \S+ has come, with 1 at a time/);
    assert.match(said, /tasks: \d+ on \S+; 0 begun again, at most \d+ in the queue; \d+\.\d a second/);
    assertSameRun(there, here, "with workers elsewhere alone", files);
    const log = readFileSync(join(there, "diagnostics.log"), "utf8");
    const trained = log.match(/task +train c-\d+ in round \d on \S+, \d+ ms/g)!.length;
    const [, first] = readFileSync(join(there, "metrics.jsonl"), "utf8").split("\n");
    const { invited, downloadBytes } = JSON.parse(first!) as Record<"invited" | "downloadBytes", number>;
    const adapter = downloadBytes! / invited!;
    // An update for each training, and the model three times: to the server once, from there to each worker at most once.
    const moved = { in: after.in_bytes - before.in_bytes, out: after.out_bytes - before.out_bytes };
    const figures = JSON.stringify({ trained, adapter, ...moved });
    assert.ok(moved.in > (trained + 3) * adapter && moved.in < 1.1 * (trained + 3) * adapter, figures);
    assert.ok(moved.out > (trained + 3) * adapter && moved.out < 1.1 * (trained + 9) * adapter, figures);
  });

  test("a run is the same while workers come and go, one behind a bad network, and the server is started again", async () => {
    const out = join(folder, "coming-and-going");
    const link = await badLink(server.port, new Rng(5).at("link").at(0), 0.001);
    workers.push(await startWorker(`nats://127.0.0.1:${link.port}`));
    const running = run(out, "--workers", "1");
    await running.until(/has come/);
    workers[0]!.process.kill("SIGKILL");
    workers[1]!.process.kill("SIGINT");
    workers.push(await startWorker());
    await server.restart();
    workers.push(await startWorker());
    const { code, err } = await running.ended;
    assert.equal(code, 0, err);
    assert.equal((await workers[1]!.ended).code, 0);
    link.close();
    assertSameRun(out, straight, "with workers that come and go", files);
  });

  test("a run that was killed goes on where it was, with the workers that are still there, and has one coordinator", async () => {
    const out = join(folder, "killed");
    const running = run(out, "--workers", "0");
    await running.until(/\n +1 .*\n/);
    running.process.kill("SIGKILL");
    await running.ended;
    const resume = ["resume", out, "--nats", server.url];
    const going = start([...resume, "--workers", "0"]);
    await going.until(/continues after round \d/);
    going.process.kill("SIGSTOP");
    const other = await start([...resume, "--workers", "1"]).ended;
    going.process.kill("SIGCONT");
    assert.equal(other.code, 1);
    assert.match(other.err, /the run is being written by process \d+/);
    const { code, err } = await going.ended;
    assert.equal(code, 0, err);
    assertSameRun(out, straight, "after it was killed", files);
  });

  test("cells of a study on mixed hardware are marked, and so is its report", async () => {
    const out = join(folder, "mixed");
    const words = ["compare", file, "--rounds", "1", "--seeds", "1,", "--out", out, "--keep-runs"];
    const mixed = await start([...words, "--nats", server.url, "--mixed-hardware"]).ended;
    assert.equal(mixed.code, 0, mixed.err);
    assert.match(mixed.out, /any kind of processor trained these runs/);
    const [key] = readdirSync(join(out, "runs"));
    const { made } = JSON.parse(readFileSync(join(out, "runs", key!, "result.json"), "utf8"));
    assert.equal(made.mixedHardware, true);
    assert.match(readFileSync(join(out, "report.html"), "utf8"), /--nats nats:\S+ --mixed-hardware/);
    const alone = await start([...words, "--mixed-hardware"]).ended;
    assert.match(alone.err, /--mixed-hardware goes with --nats, which is missing/);
  });

  test("flame workers says who is there", async () => {
    const { code, out } = await start(["workers", "--nats", server.url, "--json"]).ended;
    assert.equal(code, 0);
    const [first] = JSON.parse(out) as { worker: { is: { program: string; engine: string } }; slots: number }[];
    assert.equal(first!.slots, 1);
    assert.match(first!.worker.is.engine, /^(onnx|tensorflow)/);
    assert.match(first!.worker.is.program, /^\d+\.\d+\.\d+$/);
  });
});
