/** What scripts read: the events of `--json` and the files of a run are as docs/files.md says, which is made of the schemas. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import * as z from "zod";
import { recordSchema, resultSchema } from "../../src/folder/run-folder.ts";
import { roundMetricsSchema } from "../../src/records/metrics.ts";
import { participationSchema } from "../../src/records/participation.ts";
import { progressSchemas } from "../../src/run/progress.ts";
import { endedSchema } from "../../src/run/result.ts";
import { scenarioToJson } from "../../src/scenario/define.ts";
import { runFlame } from "../support/command-line.ts";
import { folderOfFile } from "../support/folders.ts";
import { training } from "../support/scenarios.ts";
import { tinyModel } from "../support/tiny-model.ts";

const folder = folderOfFile();
const out = join(folder, "run");

const rowsOf = (text: string): unknown[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

test("every event of a run with --json has the fields that its schema says, and no others", async () => {
  const file = join(folder, "scenario.json");
  const rounds = { count: 1, cohort: 4, deadline: 60_000, minUpdates: 1 };
  writeFileSync(file, scenarioToJson(training(tinyModel(folder), { rounds })));
  const said = await runFlame("run", file, "--out", out, "--workers", "1", "--json");
  assert.equal(said.code, 0, said.err);
  const schemas: Readonly<Record<string, z.ZodObject>> = { ...progressSchemas, ended: endedSchema };
  const seen = new Set<string>();
  for (const row of rowsOf(said.out)) {
    const { event, ...rest } = z.looseObject({ event: z.string() }).parse(row);
    seen.add(event);
    assert.ok(schemas[event], `${event} is no event that is explained`);
    schemas[event].strict().parse(rest);
  }
  for (const event of ["began", "forecast", "round", "note", "ended"]) assert.ok(seen.has(event), event);
});

test("every file of a run has the fields that its schema says, and no others", () => {
  const text = (name: string) => readFileSync(join(out, name), "utf8");
  recordSchema.strict().parse(JSON.parse(text("run.json")));
  resultSchema.strict().parse(JSON.parse(text("result.json")));
  for (const row of rowsOf(text("metrics.jsonl"))) roundMetricsSchema.strict().parse(row);
  for (const row of rowsOf(text("participations.jsonl"))) participationSchema.strict().parse(row);
  const page = readFileSync("docs/files.md", "utf8");
  const types = new Set(rowsOf(text("events.jsonl")).map((row) => z.looseObject({ type: z.string() }).parse(row).type));
  for (const type of types)
    assert.ok(page.includes(`\n| \`${type}\` |`), `${type} is no type of event that is explained`);
});
