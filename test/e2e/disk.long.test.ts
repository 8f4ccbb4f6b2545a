/** A disk that is full, limited, or not to be written: the run stops and says so, and nothing that was good is lost. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { MachineError } from "../../src/base/errors.ts";
import { newestCheckpoint } from "../../src/folder/saved-state.ts";
import { writeBaseFolder } from "../../src/model/formats/base-folder.ts";
import { loadCheckpoint } from "../../src/model/formats/checkpoint.ts";
import { parseHuggingFaceConfig } from "../../src/model/formats/hf-config.ts";
import { BaseWeightsFile, prepareBaseWeights } from "../../src/model/formats/prepare-weights.ts";
import { writeCheckpoint } from "../../src/model/formats/write-checkpoint.ts";
import { synthesize } from "../../src/pretraining/synthetic.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { run } from "../../src/run/run.ts";
import { scenarioToJson } from "../../src/scenario/define.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { needs } from "../support/needs.ts";
import { assertSameRun, sameFiles } from "../support/run-folders.ts";
import { tinyConfig } from "../support/tiny-model.ts";
import { stormy } from "../support/weather.ts";

const mounted: string[] = [];
// Before the folder they are in is removed.
after(() => {
  for (const path of mounted) execFileSync("umount", ["-l", path], { stdio: "ignore" });
});
const folder = folderOfFile();
let straight = "";
let file = "";
let reproduce = "";
/** Foul weather for long enough to fill a small disk. */
const scenario = () =>
  stormy(5, { rounds: { count: 60, cohort: 8, deadline: 60_000 }, checkpoints: { every: 1, keep: 2 } });

before(async () => {
  straight = join(folder, "straight");
  file = join(folder, "scenario.json");
  reproduce = `npx flame run ${file}`;
  writeFileSync(file, scenarioToJson(scenario()));
  await run(scenario(), { out: straight, reproduce });
});
/** A file system of this many kilobytes; null where that is not permitted. */
function smallDisk(name: string, kilobytes: number): string | null {
  const path = join(folder, name);
  mkdirSync(path);
  try {
    mount("-t", "tmpfs", "-o", `size=${kilobytes}k`, "tmpfs", path);
  } catch {
    return null;
  }
  mounted.push(path);
  return path;
}

const mount = (...words: string[]): void => {
  execFileSync("mount", words, { stdio: "ignore" });
};

/** Whatever happened, there is a checkpoint to go on from, or the run had not come to its first. */
function assertSound(out: string): void {
  const damaged: string[] = [];
  newestCheckpoint(join(out, "checkpoints"), (text) => damaged.push(text));
  assert.deepEqual(damaged, []);
  assert.deepEqual(
    readdirSync(join(out, "checkpoints")).filter((name) => name.endsWith(".tmp")),
    [],
    "half a file would only take the space that is missing",
  );
}

test("a disk that is full ends the run with a reason, and it goes on when there is space again", async (t) => {
  let met = 0;
  for (const kilobytes of [40, 64, 80, 96, 120, 160, 200]) {
    const disk = smallDisk(`small-${kilobytes}`, kilobytes);
    if (disk === null) return t.skip(needs.mount);
    const out = join(disk, "run");
    try {
      await run(scenario(), { out, reproduce });
    } catch (error) {
      assert.ok(error instanceof MachineError, String(error));
      assert.match(error.message, /the disk is full; free some space, then continue a run with flame resume/);
      met++;
      assertSound(out);
    }
    mount("-o", "remount,size=20m", disk);
    if (JSON.parse(readFileSync(join(out, "run.json"), "utf8")).state !== "finished") {
      await resume(await loadRun(out));
    }
    assertSameRun(out, straight, `on a disk of ${kilobytes} kB`, sameFiles);
  }
  assert.ok(met >= 4, `${met} of the disks were full`);
});

test("a limit on the size of files ends the run with a reason, and it goes on without the limit", async () => {
  const out = join(folder, "limited");
  const entry = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
  const words = ["--import", import.meta.resolve("tsx"), entry, "run", file, "--out", out];
  const { code, text } = await shell(`ulimit -f 40; exec "$0" "$@"`, process.execPath, ...words);
  assert.equal(code, 1, text);
  assert.match(text, /^error cannot write .*: the file would grow over the size limit$/m);
  assertSound(out);
  const said = await runFlame("resume", out);
  assert.equal(said.code, 0, said.err);
  assertSameRun(out, straight, "without the limit", sameFiles);
});

function shell(script: string, ...words: string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn("sh", ["-c", script, ...words], { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, text })));
}

test("a folder that cannot be written is refused before anything runs, with a way out", async (t) => {
  const disk = smallDisk("locked", 100);
  if (disk === null) return t.skip(needs.mount);
  mount("-o", "remount,ro", disk);
  const said = await runFlame("run", file, "--out", join(disk, "run"));
  assert.equal(said.code, 1);
  assert.match(said.err, /cannot write to output folder .*: the file system is read-only; choose another folder/);
  assert.equal(said.out, "");
});

test("a disk that fills in the middle of a conversion, a quantisation, a synthesis or an export keeps nothing of it", async (t) => {
  // Progress is told from four million weights on.
  const config = { ...tinyConfig, vocab_size: 160_000 };
  const { model } = parseHuggingFaceConfig(config, "tiny");
  const source = join(folder, "large");
  mkdirSync(source);
  await synthesize(source, model, { seed: 1 });
  const checkpoint = loadCheckpoint(source);
  const wide = await prepareBaseWeights(checkpoint, join(folder, "wide"));
  const disk = smallDisk("filling", 40_000);
  if (disk === null) return t.skip(needs.mount);
  const filler = join(disk, "filler");
  let told = 0;
  const onProgress = () => {
    if (told++ > 0) return;
    const file = openSync(filler, "w");
    const page = new Uint8Array(4096);
    assert.throws(() => {
      for (;;) writeSync(file, page);
    }, /ENOSPC/);
    closeSync(file);
  };
  const base = new BaseWeightsFile(wide);
  const works: Record<string, (to: string) => unknown> = {
    conversion: (to) => prepareBaseWeights(checkpoint, to, { form: "half", onProgress }),
    quantisation: (to) => writeBaseFolder(checkpoint, to, "int8", { onProgress }),
    synthesis: (to) => synthesize(to, model, { seed: 1, shardBytes: 6e6, onProgress }),
    export: async (to) => writeCheckpoint(to, base, { dtype: "BF16", shardBytes: 6e6, onProgress }),
  };
  for (const [name, work] of Object.entries(works)) {
    const to = join(disk, name);
    mkdirSync(to);
    told = 0;
    await assert.rejects(
      async () => work(to),
      (error) => error instanceof MachineError && /disk is full/.test(error.message),
      name,
    );
    assert.ok(told > 0, name);
    assert.deepEqual(
      readdirSync(to).filter((file) => !file.startsWith("seen-")),
      [],
      name,
    );
    rmSync(filler);
    await work(to);
    assert.ok(readdirSync(to).length > 0, name);
    rmSync(to, { recursive: true });
    rmSync(filler, { force: true });
  }
  base.close();
  checkpoint.close();
});
