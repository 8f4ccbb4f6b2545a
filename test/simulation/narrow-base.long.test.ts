/** A federation on base weights in 16 bits: the same bytes however it is run, and the form is part of what it is. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadRun, resume } from "../../src/run/resume.ts";
import { prepareRun, run } from "../../src/run/run.ts";
import { requireMemory } from "../../src/run/workforce.ts";
import { embeddedScenario } from "../support/embedded-scenario.ts";
import { folderOfFile } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";

const folder = folderOfFile();
const reproduce = "npx flame run embedded";
const half = embeddedScenario({ base: "half" });

test("with half, one worker, two, and a run that was interrupted leave the same bytes", async () => {
  const straight = join(folder, "one");
  const { diagnostics, rows } = await run(half, { out: straight, reproduce, workers: 1 });
  await run(half, { out: join(folder, "two"), reproduce, workers: 2 });
  assertSameRun(join(folder, "two"), straight, "two workers");
  const resumed = join(folder, "resumed");
  const signal = interruptAfter(Math.floor(diagnostics.events! / 2));
  await run(half, { out: resumed, reproduce, workers: 1, signal });
  await resume(await loadRun(resumed), { reproduce, workers: 2 });
  assertSameRun(resumed, straight, "interrupted and resumed");
  // The embedded model has 16 bits.
  const wide = await run(embeddedScenario(), { out: null, workers: 1 });
  const [a, b] = [rows, wide.rows].map((each) => each[0]!.evaluations[0]!.loss) as [number, number];
  assert.ok(Math.abs(a / b - 1) < 1e-6, `${a} and ${b}`);
});

test("a run whose form was changed is not resumed, and what narrowing took from the weights is said", async () => {
  const out = join(folder, "changed");
  await run(half, { out, reproduce, workers: 1, signal: interruptAfter(5) });
  const path = join(out, "scenario.json");
  writeFileSync(path, readFileSync(path, "utf8").replace('"base": "half"', '"base": "int8"'));
  await assert.rejects(resume(await loadRun(out), { reproduce }), /its base model has changed since/);
  const { notes } = await prepareRun(embeddedScenario({ base: "int4" }), {});
  assert.match(
    notes.join("\n"),
    /base weights in int4: each differs from the model's by [78]\.\d % \(root mean square\)/,
  );
});

test("a run that cannot fit is refused with what it needs, and a narrower base needs less", async () => {
  const needs = async (base: "f32" | "half" | "int4"): Promise<number> => {
    const prepared = await prepareRun(embeddedScenario({ base }), {});
    requireMemory(prepared, { engine: "onnx", workers: 1 }, 1e9);
    try {
      requireMemory(prepared, { engine: "onnx", workers: 1 }, 1e6);
    } catch (error) {
      const [, bytes] = /needs (\d+(?:\.\d+)?) MB of memory at the least/.exec((error as Error).message) ?? [];
      assert.match((error as Error).message, /there are 1 MB.*--base half, int8 or int4.*--force/);
      return Number(bytes);
    }
    return Number.NaN;
  };
  const [wide, half, int4] = [await needs("f32"), await needs("half"), await needs("int4")];
  assert.ok(int4 < half && half < wide, `${int4}, ${half}, ${wide}`);
});
