/** The files that grow while a run goes on. A checkpoint records how far they are; a resumed run cuts them there. */

import { parseJson } from "../base/json.ts";
import { parseInput } from "../base/problem.ts";
import { linesOf } from "../base/text.ts";
import { type RoundMetrics, roundMetricsSchema, withoutDetail } from "../records/metrics.ts";
import type { ParticipationRow } from "../records/participation.ts";
import type { TraceSink } from "../sim/kernel/trace.ts";
import { emptyFile, flawOfFile, LineFile } from "./line-file.ts";
import type { RunFolder } from "./run-folder.ts";
import type { Checkpoint } from "./saved-state.ts";

export interface RunFiles {
  /** Takes the trace's lines; null where nothing is written. */
  readonly events: TraceSink | null;
  round(row: RoundMetrics): void;
  /** All rows so far, without their detail. They are read back: a long run keeps none of them in memory. */
  rounds(): RoundMetrics[];
  participation(row: ParticipationRow): void;
  /** Makes everything written so far durable. */
  sync(): Checkpoint["files"];
  close(): void;
}

const nothing: Checkpoint["files"] = { metrics: emptyFile, events: emptyFile, participations: emptyFile };

/** A run without a folder writes nothing. */
export function noFiles(): RunFiles {
  const rows: RoundMetrics[] = [];
  return {
    events: null,
    round: (row) => rows.push(withoutDetail(row)),
    rounds: () => [...rows],
    participation: () => {},
    sync: () => nothing,
    close: () => {},
  };
}

export function openRunFiles(folder: RunFolder, marks: Checkpoint["files"] = nothing): RunFiles {
  const events = new LineFile(folder.events, marks.events);
  const metrics = new LineFile(folder.metrics, marks.metrics);
  const participations = new LineFile(folder.participations, marks.participations);
  return {
    events,
    round: (row) => metrics.write(`${JSON.stringify(row)}\n`),
    rounds() {
      metrics.flush();
      return Array.from(linesOf(folder.metrics, "refused"), (line, at) => {
        const where = `${folder.metrics} line ${at + 1}`;
        return withoutDetail(parseInput(where, roundMetricsSchema, parseJson(line, where)));
      });
    },
    participation: (row) => participations.write(`${JSON.stringify(row)}\n`),
    sync: () => ({ metrics: metrics.sync(), events: events.sync(), participations: participations.sync() }),
    close() {
      // Each is closed, whatever happens to the others.
      const problems = [events, metrics, participations].flatMap((file) => {
        try {
          file.close();
          return [];
        } catch (error) {
          return [error];
        }
      });
      if (problems.length > 0) throw problems[0];
    },
  };
}

/** Why the files do not begin as the marks say, where a disk lost their ends or garbled them; null when they do. */
export function flawOfFiles(folder: RunFolder, marks: Checkpoint["files"]): string | null {
  for (const name of ["events", "metrics", "participations"] as const) {
    const flaw = flawOfFile(folder[name], marks[name]);
    if (flaw !== null) return flaw;
  }
  return null;
}
