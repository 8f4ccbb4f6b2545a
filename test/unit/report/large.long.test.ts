/** Reports of runs that are larger than any that a test trains. */
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { type TestContext, test } from "node:test";
import type { ParticipationRow } from "../../../src/records/participation.ts";
import { writeReport } from "../../../src/report/report.ts";
import { readRun } from "../../../src/report/run-folder.ts";
import { timelineOf } from "../../../src/report/timeline.ts";
import { type FakeRun, fakeRunFolder } from "../../support/report-run-folder.ts";

function folder(t: TestContext, options: FakeRun = {}): string {
  const path = fakeRunFolder(options);
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

test("a thousand rounds make a report of under 1.5 MB in under three seconds of the processor's time", (t) => {
  const path = folder(t, { rounds: 1_000 });
  const begun = process.cpuUsage();
  const report = readFileSync(writeReport(path));
  const { user, system } = process.cpuUsage(begun);
  // Measured: 0.5 s and 0.73 MB.
  assert.ok(user + system < 3e6, `${user + system} µs`);
  assert.ok(report.byteLength < 1.5e6, `${report.byteLength} bytes`);
});

test("as many slices as are shown are more than a call takes arguments", (t) => {
  const rows = Array.from({ length: 50_000 }, (_, at): ParticipationRow => {
    const time = 10 * at;
    return {
      ...{ participation: at, client: "c-003", tier: "workstation", round: 1, budget: 8, outcome: "counted" },
      ...{ invitedAt: time, downloadedAt: time + 1, trainedAt: time + 2, arrivedAt: time + 3, endedAt: time + 4 },
    };
  });
  const events = [...timelineOf(readRun(folder(t)), rows).events];
  assert.equal(events.filter(({ ph, pid }) => ph === "X" && pid > 0).length, 200_000);
});
