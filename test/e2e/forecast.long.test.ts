/**
 * What is forecast of scenarios that come with the program, beside what then happens, in runs of two rounds: bytes to
 * the byte and times within a tenth, except where a method plans by what it learns; memory within a quarter.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { forecastSchema } from "../../src/records/forecast.ts";
import { loadScenario } from "../../src/study/load-scenario.ts";
import { start } from "../support/command-process.ts";
import { folderOfFile } from "../support/folders.ts";

const folder = folderOfFile();
/** One of each kind: all of them take five minutes. */
const scenarios = ["quickstart", "fedbuff-vs-synchronous", "own/policy", "vision", "olmoe"];
const small = ["--rounds", "2", "--workers", "1", "--set", "evaluationExamples=32", "--set", "training.maxSteps=4"];

/** Plans follow from losses, counts or memories, which nobody knows beforehand. */
const learning = /hfedmoe|fedmoe|shefl|split-mix|bmsfed|fl-games|read-me|fslora/;

async function said(...words: string[]): Promise<string> {
  const { code, out, err } = await start(words, { XDG_CACHE_HOME: join(folder, "cache") }).ended;
  assert.ok(code === 0 || code === 3, err);
  return out;
}

const within = (share: number, found: number, forecast: number, what: string): void =>
  assert.ok(Math.abs(forecast / found - 1) <= share, `${what}: forecast ${forecast}, found ${found}`);

for (const name of scenarios) {
  test(`${name} sends, takes and needs what was forecast of it`, async () => {
    const variants = (await loadScenario(name)).scenarios;
    const forecasts = (await said("forecast", name, ...small, "--json")).trimEnd().split("\n");
    const out = join(folder, name.replaceAll("/", "-"));
    await said("run", name, ...small, "--out", out, "--quiet");
    for (const [at, { data }] of variants.entries()) {
      const forecast = forecastSchema.parse(JSON.parse(forecasts[at]!));
      const run = variants.length > 1 ? join(out, data.name) : out;
      const { totals } = JSON.parse(readFileSync(join(run, "result.json"), "utf8"));
      // Nobody can say what those send.
      const isOpen = forecast.warnings.some((warning) => /plans by what its prelude finds/.test(warning));
      assert.equal(isOpen, data.strategy.type === "read-me" || data.strategy.type === "bmsfed", data.name);
      if (isOpen) continue;
      for (const field of ["downloadBytes", "uploadBytes"] as const) {
        const share = learning.test(data.strategy.type) ? 0.1 : 0;
        within(share, totals[field], forecast[field], `${data.name}: ${field}`);
      }
      within(0.1, totals.virtualTime, forecast.virtualTime, `${data.name}: virtual time`);
      const [, peak] = /peak memory bytes (\d+)/.exec(readFileSync(join(run, "diagnostics.log"), "utf8"))!;
      // The largest of a process that runs all of them is that of the largest so far.
      if (variants.length === 1) within(0.25, Number(peak), forecast.memory, `${data.name}: memory`);
    }
  });
}
