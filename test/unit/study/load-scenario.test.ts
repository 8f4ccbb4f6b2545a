import assert from "node:assert/strict";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { packageRoot } from "../../../src/base/places.ts";
import { loadRun } from "../../../src/run/resume.ts";
import { loadScenario, reload, sourceOf } from "../../../src/study/load-scenario.ts";
import { temporaryFolder } from "../../support/folders.ts";
import { playTable } from "../../support/tabular-run.ts";

const text = `import { csv, defineScenario, expectThat, iid } from "flame-sim";
export default defineScenario({
  name: "beside",
  task: { type: "tabular" },
  data: { source: csv("data/wine.csv"), partition: iid() },
  fleet: [{ name: "clinic", clients: 4, budget: 1, tokensPerSecond: 50, uplink: 1e5 }],
  rounds: { count: 1, cohort: 4 },
  strategy: { type: "fedavg" },
  expect: [expectThat("it ends", ({ rows }) => rows.length === 2)],
});
`;

/** A project with a scenario and its data below a folder, and another folder to work in. */
function project(folder: string) {
  mkdirSync(join(folder, "study/data"), { recursive: true });
  mkdirSync(join(folder, "elsewhere"));
  cpSync(join(packageRoot(), "assets/data/wine.csv"), join(folder, "study/data/wine.csv"));
  const file = join(folder, "study/own.ts");
  writeFileSync(file, text);
  return { file, place: join(folder, "elsewhere") };
}

test("relative paths of a scenario belong to its file, wherever it is loaded", async (t) => {
  const { file, place } = project(temporaryFolder(t));
  const [scenario] = (await loadScenario(file, place)).scenarios;
  assert.deepEqual(scenario!.data.data.source, { type: "csv", path: "../study/data/wine.csv", label: "class" });
  const { expectations } = await playTable(scenario!, { startedIn: place });
  assert.deepEqual(
    expectations.map(({ held }) => held),
    [true],
  );
});

test("a run's scenario is the same again from another folder, from its file and from its scenario.json", async (t) => {
  const folder = temporaryFolder(t);
  const { file, place } = project(folder);
  const [scenario] = (await loadScenario(file, place)).scenarios;
  const out = join(folder, "run");
  await playTable(scenario!, { out, startedIn: place, source: sourceOf(file, {})! });
  assert.deepEqual((await loadRun(out, reload)).changed, []);
  const plainFile = join(folder, "study/plain.ts");
  writeFileSync(plainFile, text.replace(/ {2}expect: .*\n/, ""));
  const plain = join(folder, "plain");
  await playTable((await loadScenario(plainFile, place)).scenarios[0]!, { out: plain, startedIn: place });
  const [again] = (await loadScenario(join(plain, "scenario.json"))).scenarios;
  const path = relative(process.cwd(), join(folder, "study/data/wine.csv"));
  assert.deepEqual(again!.data.data.source, { type: "csv", path, label: "class" });
});
