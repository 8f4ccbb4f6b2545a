import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { alone } from "../../../src/engine/merge-limit.ts";
import { embeddedModel } from "../../../src/run/package.ts";
import { openSetup, packSetup } from "../../../src/run/pools/setup.ts";
import { prepare } from "../../../src/run/prepare.ts";
import { configure } from "../../../src/scenario/configure.ts";
import { loadScenario } from "../../../src/study/load-scenario.ts";
import { taskTypes } from "../../../src/tasks/facts.ts";
import { makeTask } from "../../../src/tasks/open/kinds.ts";
import { folderOfFile } from "../../support/folders.ts";

folderOfFile();

/** A scenario of each task. */
const scenarios = {
  llm: "quickstart",
  coloured: "coloured",
  pregating: "pregating",
  refactor: "refactor",
  restore: "restore",
  tabular: "tabular",
  "two-view": "two-view",
  vision: "vision",
};

test("what a worker elsewhere is set up with is what a thread here is given, whatever the task", async () => {
  for (const type of taskTypes) {
    const {
      scenarios: [scenario],
    } = await loadScenario(scenarios[type]);
    const { training } = await prepare(configure(scenario!, {}), { embedded: embeddedModel() });
    const { setup, spec } = training!;
    const chosen = { engine: "onnx", merge: alone } as const;
    const packed = packSetup(setup, spec, chosen);
    const opened = await openSetup(packed.setup, async ({ parts }) => {
      const file = Buffer.concat(parts.map(({ digest }) => packed.contents.get(digest)!()));
      assert.ok(file.equals(readFileSync(spec.weights!.path)));
      return "elsewhere";
    });
    assert.deepEqual(opened.setup, setup, type);
    const weights = spec.weights && { path: "elsewhere", tensors: new Map(spec.weights.tensors) };
    assert.deepEqual(opened.engine, { task: { ...spec, weights }, ...chosen }, type);
    assert.equal(makeTask(opened.engine.task).layout.size, makeTask(spec).layout.size, type);
  }
});
