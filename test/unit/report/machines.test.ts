import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { writeMachines } from "../../../src/report/machines.ts";
import { temporaryFolder } from "../../support/folders.ts";

test("tasks of other machines are tracks over real time, also of a run that was continued", (t) => {
  const folder = temporaryFolder(t);
  const log = [
    "     1.000  workers       the worker on lab-1 has come, with 2 at a time",
    "     3.500  task          train c-004 in round 1 on lab-1, 1500 ms",
    "     4.000  task          train c-005 in round 1 on lab-1, 1200 ms, begun 2 times",
    "     2.000  task          evaluate on lab-2, 500 ms",
  ];
  writeFileSync(join(folder, "diagnostics.log"), `${log.join("\n")}\n`);
  const { traceEvents } = JSON.parse(readFileSync(writeMachines(folder)!, "utf8")) as {
    traceEvents: { ph: string; name: string; pid: number; tid: number; ts: number; dur: number; args: object }[];
  };
  const slices = traceEvents.filter(({ ph }) => ph === "X");
  assert.deepEqual(
    slices.map(({ name, pid, tid, ts, dur }) => [name, pid, tid, ts, dur]),
    [
      ["train c-004 in round 1", 0, 1, 2_000_000, 1_500_000],
      // Both at once: two tracks.
      ["train c-005 in round 1", 0, 2, 2_800_000, 1_200_000],
      ["evaluate", 1, 1, 5_500_000, 500_000],
    ],
  );
  const names = traceEvents.filter(({ name }) => name === "process_name").map(({ args }) => args);
  assert.deepEqual(names, [{ name: "lab-1" }, { name: "lab-2" }]);
});

test("a run that only this machine has worked for has no such tracks", (t) => {
  const folder = temporaryFolder(t);
  assert.equal(writeMachines(folder), null);
  writeFileSync(join(folder, "diagnostics.log"), "     1.000  round         1 4/4 counted\n");
  assert.equal(writeMachines(folder), null);
});
