/**
 * Which machine trained what, over real time: `machines.json` beside `timeline.json`, in the same format. It is made from
 * what `diagnostics.log` says of tasks that workers elsewhere have done; a process is a machine.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { writeAtomically } from "../base/disk.ts";
import { linesOf } from "../base/text.ts";
import { Lanes, span, type TraceEvent } from "./lanes.ts";

interface Done {
  readonly what: string;
  readonly host: string;
  /** Real milliseconds since the run began; one that was continued goes on where it stopped. */
  readonly from: number;
  readonly to: number;
}

/** @returns its path; null for a run that nobody elsewhere has worked for */
export function writeMachines(folder: string): string | null {
  const tasks = tasksIn(join(folder, "diagnostics.log")).sort((a, b) => a.from - b.from);
  if (tasks.length === 0) return null;
  const hosts = [...new Set(tasks.map(({ host }) => host))].sort();
  const events = hosts.flatMap((host, pid): TraceEvent[] => {
    const lanes = new Lanes();
    const slices = tasks
      .filter((task) => task.host === host)
      .map(({ what, from, to }) => span(what, from, to, pid, lanes.place("tasks", from, to)));
    return [{ ph: "M", name: "process_name", pid, tid: 0, args: { name: host } }, ...lanes.names(pid), ...slices];
  });
  const path = join(folder, "machines.json");
  const trace = { displayTimeUnit: "ms", otherData: { clock: "real" }, traceEvents: events };
  writeAtomically(path, `${JSON.stringify(trace)}\n`);
  return path;
}

function tasksIn(log: string): Done[] {
  const found: Done[] = [];
  if (!existsSync(log)) return found;
  let last = 0;
  let before = 0;
  for (const line of linesOf(log, "refused")) {
    const [, seconds, topic, text] = /^ *(\d+\.\d+) {2}(\S+) +(.*)$/.exec(line) ?? [];
    if (seconds === undefined) continue;
    // Each process that goes on with a run begins to count anew.
    if (Number(seconds) < last) before += last;
    last = Number(seconds);
    const [, what, host, took] = topic === "task" ? (/^(.+) on (.+), (\d+) ms/.exec(text!) ?? []) : [];
    if (what === undefined) continue;
    const to = (before + last) * 1_000;
    found.push({ what, host: host!, from: Math.max(0, to - Number(took)), to });
  }
  return found;
}
