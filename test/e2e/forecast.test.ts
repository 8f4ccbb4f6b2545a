/** `flame forecast`, and what a run opens with: what is said beforehand, beside what then happened. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type * as z from "zod";
import { shortForecast } from "../../src/cli/screen/forecast.ts";
import { forecastSchema } from "../../src/records/forecast.ts";
import { scenarioToJson } from "../../src/scenario/define.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { timingOnly } from "../support/scenarios.ts";
import { type TrainedRun, trainedRun } from "../support/trained-run.ts";
import { stormy } from "../support/weather.ts";

const folder = folderOfFile();

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

async function forecastOf(...words: string[]): Promise<z.output<typeof forecastSchema>> {
  const { code, out, err } = await runFlame("forecast", ...words, "--json");
  assert.equal(code, 0, err);
  return forecastSchema.parse(JSON.parse(out));
}

async function made(path: string, out: string): Promise<Pick<TrainedRun, "file" | "out" | "said">> {
  const { code, err, out: said } = await runFlame("run", path, "--out", out);
  assert.ok(code === 0 || code === 3, err);
  return { file: path, out, said };
}

test("a run sends and takes what was forecast of it, to the byte and the millisecond", async () => {
  const path = file("stormy.json", scenarioToJson(stormy(1, {})));
  for (const [name, run] of [
    ["trained", await trainedRun()],
    ["stormy", await made(path, join(folder, "stormy"))],
  ] as const) {
    const forecast = await forecastOf(run.file);
    const { totals } = JSON.parse(readFileSync(join(run.out, "result.json"), "utf8"));
    for (const field of ["downloadBytes", "uploadBytes", "virtualTime", "invited", "counted"] as const) {
      assert.equal(forecast[field], totals[field], `${name}: ${field}`);
    }
    if (name === "trained") assert.deepEqual(forecast.warnings, []);
    assert.equal(forecast.seconds !== null, name === "trained");
    // Every tier has a client whose training was timed.
    for (const { seconds } of forecast.tiers) assert.equal(seconds !== null && seconds > 0, name === "trained");
    assert.equal(
      /expects .* of virtual time, .* a round \(phone .*\), within a minute or so here/.test(run.said),
      name === "trained",
    );
  }
});

test("what a step takes is guessed where timing one would be a long wait, and said to be rough", () => {
  const base = {
    virtualTime: 0,
    round: 0,
    tiers: [],
    downloadBytes: 0,
    uploadBytes: 0,
    steps: 4,
    memory: 0,
    whole: true,
  };
  const line = (seconds: number | null, timed: boolean) =>
    shortForecast({
      ...base,
      clients: 2,
      rounds: 1,
      invited: 2,
      counted: 2,
      workers: 1,
      together: [],
      warnings: [],
      seconds,
      timed,
    })[0];
  assert.match(line(7_200, false)!, /, very roughly 2h00m here$/);
  assert.match(line(7_200, true)!, /, about 2h00m here$/);
  assert.match(line(40, false)!, /, within a minute or so here$/);
});

const code = (fields: string): string => `
  import { at, defineScenario, expectThat, hours, krum, outage, trimmedMean } from "flame-sim";
  export default defineScenario({
    name: "warned",
    timingOnly: true,
    model: ${JSON.stringify({ vocabulary: 264, layers: 2, width: 16, heads: 2, experts: 4, expertWidth: 8, topK: 4 })},
    data: { sizes: { examplesPerClient: 20, tokensPerExample: 60 } },
    fleet: [{ name: "phone", clients: 8, budget: 1, tokensPerSecond: 0.01, uplink: 500 }],
    rounds: { count: 2, cohort: 4 },
    ${fields}
  });`;

test("what cannot be meant is said before it is waited for", async () => {
  const path = file(
    "warned.ts",
    code(`strategy: trimmedMean({ trim: 0.2 }),
      world: { timeline: [at(hours(9_000), outage("phone", hours(1)))] },
      expect: [expectThat("nine rounds", ({ rows }) => rows[9]!.counted > 0)],`),
  );
  const cores = availableParallelism();
  const { warnings } = await forecastOf(path, "--workers", String(cores + 1), "--merge", "4");
  for (const expected of [
    new RegExp(`${cores + 1} workers on ${cores} cores`),
    /--merge on a CPU gains nothing/,
    /8 clients of tier phone have a link below 1 kB\/s/,
    /2 of 2 rounds take more than a day of virtual time/,
    /trimmed-mean\(0\.2\) does nothing in a median round: trim 0\.2 of 4 updates cuts none; it takes 5/,
    /world\.timeline\[0\] \(outage\) is for 375d00h; the run ends at/,
    /the claim "nine rounds" throws on rows like those of this run: Cannot read/,
  ]) {
    assert.ok(
      warnings.some((warning) => expected.test(warning)),
      `${expected}\n${warnings.join("\n")}`,
    );
  }
  const { said } = await made(path, join(folder, "warned"));
  assert.match(said, /world\.timeline\[0\] \(outage\) is for 375d00h; the run ends at/, "said again afterwards");
});

test("a rule that has enough updates, and entries that come, are not warned of", async () => {
  const calm = scenarioToJson(
    timingOnly({ strategy: { type: "trimmed-mean", trim: 0.2 }, rounds: { count: 2, cohort: 24, minUpdates: 12 } }),
  );
  assert.deepEqual((await forecastOf(file("calm.json", calm))).warnings, []);
  const few = await forecastOf(file("few.ts", code("strategy: krum({ malicious: 1 }),")));
  assert.ok(few.warnings.some((warning) => /krum.*4 updates are too few .*it takes 5/.test(warning)));
});
