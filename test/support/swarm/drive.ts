/**
 * Plays a scenario in memory with checkers looking on after every event, from its beginning to its end, or in several
 * legs: between two legs everything is written down as the bytes of a checkpoint and taken up by a federation that was
 * made anew, as another process would.
 */
import { invariant, messageOf } from "../../../src/base/errors.ts";
import { emptyFile } from "../../../src/folder/line-file.ts";
import { decodeCheckpoint, encodeCheckpoint } from "../../../src/folder/saved-state.ts";
import { metricsOf, type RoundMetrics } from "../../../src/records/metrics.ts";
import { type ParticipationRow, rowOf } from "../../../src/records/participation.ts";
import { Federation } from "../../../src/run/federation.ts";
import type { Prepared } from "../../../src/run/prepare.ts";
import { restore } from "../../../src/run/restore.ts";
import { programsOf } from "../../../src/run/workforce.ts";
import type { WorkPool } from "../../../src/runtime/pools/pool.ts";
import type { Scenario } from "../../../src/scenario/define.ts";
import type { TraceRow } from "../../../src/sim/kernel/trace.ts";
import { provenance } from "../provenance.ts";
import { waiting } from "./liveness.ts";

/** What has happened since the checkers last looked, and how things stand now. */
export interface Look {
  readonly federation: Federation;
  readonly now: number;
  /** Events handled. */
  readonly events: number;
  readonly trace: readonly TraceRow[];
  readonly participations: readonly ParticipationRow[];
  readonly rounds: readonly RoundMetrics[];
}

/** One rule. It is made anew for each play and throws when its rule is broken. */
export interface Checker {
  readonly name: string;
  afterEvent?(look: Look): void;
  /** Once the last event has happened and all rows are out. */
  atEnd?(look: Look, played: Played): void | Promise<void>;
}

/** Everything a play leaves behind; two plays of one scenario leave the same. */
export interface Played {
  readonly events: string;
  readonly metrics: string;
  readonly participations: string;
  readonly digest: string;
  readonly adapter: Float32Array | null;
  readonly eventCount: number;
  readonly virtualTime: number;
}

export interface PlayOptions {
  readonly prepared: Prepared;
  readonly pool: (prepared: Prepared) => WorkPool;
  readonly checkers?: readonly Checker[];
  /** Event numbers, ascending: the run is written down after each and taken up again. */
  readonly interruptAfter?: readonly number[];
  /** What is read in the place of each such checkpoint. */
  readonly damage?: (checkpoint: Uint8Array) => Uint8Array;
}

/** A run of a swarm scenario that has more events than this is held to never end. */
export const mostEvents = 200_000;

export class RuleBroken extends Error {
  override readonly name = "RuleBroken";
}

export async function play(scenario: Scenario, options: PlayOptions): Promise<Played> {
  const { prepared, checkers = [], interruptAfter = [] } = options;
  const lines: string[] = [];
  const fresh = { trace: [] as TraceRow[], participations: [] as ParticipationRow[], rounds: [] as RoundMetrics[] };
  const texts = { metrics: "", participations: "" };
  const sink = {
    write(text: string) {
      lines.push(text);
      if (checkers.length === 0) return;
      for (const line of text.split("\n")) if (line !== "") fresh.trace.push(JSON.parse(line) as TraceRow);
    },
  };
  /** A federation that was given up may still finish a row; nobody writes that down any more. */
  let leg = 0;
  const begin = (): { federation: Federation; pool: WorkPool } => {
    const own = ++leg;
    const pool = options.pool(prepared);
    const federation = new Federation({
      scenario,
      prepared,
      pool,
      events: sink,
      reproduce: "",
      programs: programsOf(prepared, { engine: "onnx" }, 1),
      onParticipation(ended) {
        const row = rowOf(ended, prepared.fleet);
        texts.participations += `${JSON.stringify(row)}\n`;
        fresh.participations.push(row);
      },
      onRow(closed) {
        if (own !== leg) return;
        const row = metricsOf(closed, prepared.fleet);
        texts.metrics += `${JSON.stringify(row)}\n`;
        fresh.rounds.push(row);
      },
      onRoundClosed: () => {},
    });
    return { federation, pool };
  };
  const look = (federation: Federation): Look => {
    federation.trace.flush();
    const seen = {
      federation,
      now: federation.kernel.now,
      events: federation.kernel.processed,
      trace: fresh.trace.splice(0),
      participations: fresh.participations.splice(0),
      rounds: fresh.rounds.splice(0),
    };
    return seen;
  };
  let { federation, pool } = begin();
  federation.begin();
  let checked = -1;
  const check = () => {
    const { processed } = federation.kernel;
    if (processed === checked) return;
    invariant(processed <= checked + 1, () => `nobody looked after events ${checked + 1} to ${processed - 1}`);
    checked = processed;
    if (checkers.length === 0) return;
    const seen = look(federation);
    for (const checker of checkers) {
      try {
        checker.afterEvent?.(seen);
      } catch (error) {
        throw broken(checker, error);
      }
    }
  };
  try {
    for (const stop of [...interruptAfter, Number.POSITIVE_INFINITY]) {
      const advanced = federation.advance(() => {
        check();
        const { processed } = federation.kernel;
        if (processed > mostEvents) throw neverEnds(federation, `the run goes on after ${mostEvents} events`);
        return processed >= stop;
      });
      await advanced.catch((error) => {
        throw federation.kernel.pending === 0 ? neverEnds(federation, messageOf(error)) : error;
      });
      check();
      if (federation.hasFinished) break;
      const bytes = encodeCheckpoint({
        made: provenance,
        round: 0,
        events: federation.kernel.processed,
        files: { metrics: emptyFile, events: emptyFile, participations: emptyFile },
        parts: federation.snapshot(),
      });
      const closing = pool.close();
      ({ federation, pool } = begin());
      restore(federation, decodeCheckpoint(options.damage?.(bytes) ?? bytes, "of the swarm"));
      await closing;
    }
    await federation.rowsDone();
    federation.trace.flush();
    const played = {
      events: lines.join(""),
      ...texts,
      digest: federation.trace.digest(),
      adapter: federation.adapter?.slice() ?? null,
      eventCount: federation.kernel.processed,
      virtualTime: federation.kernel.now,
    };
    const last = look(federation);
    for (const checker of checkers) {
      try {
        await checker.atEnd?.(last, played);
      } catch (error) {
        throw broken(checker, error);
      }
    }
    return played;
  } finally {
    await pool.close();
  }
}

const neverEnds = (federation: Federation, why: string): RuleBroken =>
  new RuleBroken(`a run ends: ${why}\n${waiting(federation)}`);

/** What a rule throws says which rule it was. */
const broken = ({ name }: Checker, cause: unknown): RuleBroken =>
  new RuleBroken(`${name}: ${messageOf(cause)}`, { cause });
