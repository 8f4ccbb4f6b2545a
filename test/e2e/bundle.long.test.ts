/** What `npm run bundle` packs, unpacked where there is neither Node nor npm. */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { packageRoot } from "../../src/base/places.ts";
import { temporaryFolder } from "../support/folders.ts";
import { needs } from "../support/needs.ts";

const start = promisify(execFile);
const skip = process.platform === "linux" && process.arch === "x64" ? false : needs.linux;

test("a bundle says what works on its machine, computes the reference's numbers and lists its benchmark", {
  skip,
}, async (t) => {
  const folder = temporaryFolder(t);
  const bundle = join(folder, "bundle");
  await start("npm", ["run", "-s", "bundle", "--", "--folder", bundle], { cwd: packageRoot() });
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const tool of ["dirname", "readlink"]) {
    symlinkSync(execFileSync("which", [tool], { encoding: "utf8" }).trim(), join(bin, tool));
  }
  const options = { env: { PATH: bin }, cwd: folder };
  const flame = (...words: string[]) => start(join(bundle, "flame"), words, options);
  const [doctor, reference, bench] = [
    await flame("doctor"),
    await flame("reference"),
    await flame("bench").catch((e) => e),
  ];
  assert.match(doctor.stdout, /^ok +onnx +onnxruntime-node/m);
  assert.match(reference.stdout, /ONNX Runtime on the CPU, factored LoRA, k = 8: three AdamW steps/);
  assert.equal(bench.code, 2);
  assert.match(bench.stderr, /expected a benchmark: device\n/);
});
