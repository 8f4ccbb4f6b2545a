/** The examples of own parts in scenarios/own: each runs, holds what it claims, and goes on after an interruption. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { packageRoot } from "../../src/base/places.ts";
import { openRunFolder, readResult } from "../../src/folder/run-folder.ts";
import { loadRun, resume } from "../../src/run/resume.ts";
import { hasCode, scenarioToJson } from "../../src/scenario/define.ts";
import { loadScenario, reload, sourceOf } from "../../src/study/load-scenario.ts";
import { temporaryFolder } from "../support/folders.ts";
import { assertSameRun, interruptAfter } from "../support/run-folders.ts";
import { onThisThread, playTable } from "../support/tabular-run.ts";

const folder = join(packageRoot(), "scenarios/own");
const names = readdirSync(folder).sort();

test("there is an example of each part that may be one's own", () => {
  assert.deepEqual(names, ["data.ts", "hook.ts", "partition.ts", "policy.ts", "sampler.ts", "strategy.ts"]);
});

for (const name of names) {
  test(`${name} holds what it claims, and resumed from its middle it is the same to the byte`, async (t) => {
    const file = join(folder, name);
    const [scenario] = (await loadScenario(file)).scenarios;
    const here = temporaryFolder(t);
    const source = sourceOf(file, {})!;
    const straight = await playTable(scenario!, { out: join(here, "straight"), source });
    for (const { name: claim, held, detail } of straight.expectations) assert.ok(held, `${claim}: ${detail}`);
    const isCode = hasCode(scenarioToJson(scenario!));
    assert.equal(isCode, name !== "data.ts");
    const { made } = readResult(openRunFolder(join(here, "straight")))!;
    assert.equal(made.source, isCode ? source.digest : null);
    const out = join(here, "resumed");
    const signal = interruptAfter(Math.floor(straight.diagnostics.events! / 2));
    await playTable(scenario!, { out, source, signal });
    await resume(await loadRun(out, reload), { pool: onThisThread });
    assertSameRun(out, join(here, "straight"), name);
  });
}
