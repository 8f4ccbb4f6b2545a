/** Workers on other machines, as processes of their own: the run is that of one thread here, byte for byte. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
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
    workers = await Promise.all([1, 2, 3].map(startWorker));
  });
  after(async () => {
    for (const { process } of workers) process.kill("SIGKILL");
    await server.stop();
  });

  async function startWorker(): Promise<Started> {
    const worker = start(["worker", "--nats", server.url, "--workers", "1"]);
    await worker.until(/for whoever runs at/);
    return worker;
  }

  const run = (out: string, ...more: string[]) => start(["run", file, "--out", out, "--nats", server.url, ...more]);

  test("a run that has no workers of its own leaves the same folder, and says who did what", async () => {
    const out = join(folder, "elsewhere");
    const { code, out: said, err } = await run(out, "--workers", "0").ended;
    assert.equal(code, 0, err);
    assert.match(said, /the worker on \S+ has come, with 1 at a time/);
    assert.match(said, /tasks: \d+ on \S+; 0 begun again, at most \d+ in the queue/);
    assert.match(readFileSync(join(out, "diagnostics.log"), "utf8"), /task +train c-\d+ in round 1 on \S+, \d+ ms/);
    assertSameRun(out, straight, "with workers elsewhere alone", files);
  });

  test("a run is the same while workers come and go, and the server is started again", async () => {
    const out = join(folder, "coming-and-going");
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
    assertSameRun(out, straight, "with workers that come and go", files);
  });

  test("a run that was killed goes on where it was, with the workers that are still there", async () => {
    const out = join(folder, "killed");
    const running = run(out, "--workers", "0");
    await running.until(/\n +1 .*\n/);
    running.process.kill("SIGKILL");
    await running.ended;
    const { code, err } = await start(["resume", out, "--nats", server.url, "--workers", "1"]).ended;
    assert.equal(code, 0, err);
    assertSameRun(out, straight, "after it was killed", files);
  });

  test("flame workers says who is there", async () => {
    const { code, out } = await start(["workers", "--nats", server.url, "--json"]).ended;
    assert.equal(code, 0);
    const [first] = JSON.parse(out) as { worker: { is: { program: string } }; slots: number }[];
    assert.equal(first!.slots, 1);
    assert.match(first!.worker.is.program, /^\d+\.\d+\.\d+$/);
  });
});
