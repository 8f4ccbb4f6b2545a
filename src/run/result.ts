/** What a run gives to whoever started it. */
import * as z from "zod";
import { sha256 } from "../base/digest.ts";
import { messageOf } from "../base/errors.ts";
import { type RunFolder, resultSchema } from "../folder/run-folder.ts";
import { count, instant } from "../records/counts.ts";
import { divergenceOf, type RoundMetrics } from "../records/metrics.ts";
import type { WorkPool } from "../runtime/pools/pool.ts";
import { expectationsOf, type Scenario } from "../scenario/define.ts";
import type { Expectation, Findings } from "../scenario/expect.ts";
import type { Diagnostics } from "./diagnostics.ts";
import type { Federation } from "./federation.ts";
import type { Prepared } from "./prepare.ts";

/** @internal What of it is plain data: the event `ended` of `--json`. */
export const endedSchema = z.object({
  state: z.enum(["finished", "interrupted"]),
  folder: z.string().nullable(),
  /** Of the trace: equal for any two runs of one scenario and seed. */
  digest: z.string(),
  adapterDigest: z.string().nullable(),
  /** Rounds that have closed. */
  rounds: count,
  /** The first round after which a held-out loss was no finite number, or over ten times what it began with; null if there was none. */
  divergedIn: count.nullable(),
  /** Held-out examples of every evaluation; null without training. */
  heldOut: count.nullable(),
  /** Milliseconds. */
  virtualTime: instant,
  /** Real seconds. */
  seconds: z.number().min(0),
  stop: resultSchema.shape.stop,
  expectations: resultSchema.shape.expectations,
  /** Counts and times of the simulator itself, as in `diagnostics.log`. */
  diagnostics: z.record(z.string(), z.number()),
});

export interface RunResult extends Readonly<z.output<typeof endedSchema>> {
  readonly adapter: Float32Array | null;
  /** Without `weights` and `activation`, which metrics.jsonl has. */
  readonly rows: readonly RoundMetrics[];
}

interface Ending {
  readonly state: "finished" | "interrupted";
  readonly folder: RunFolder | null;
  /** The last round that has closed; negative before the first. */
  readonly closed: number;
  readonly rows: readonly RoundMetrics[];
  readonly diagnostics: Diagnostics;
  readonly pool: WorkPool;
}

export function resultOf(scenario: Scenario, prepared: Prepared, federation: Federation, ending: Ending): RunResult {
  const { state, folder, closed, rows, diagnostics, pool } = ending;
  // The blob belongs to the federation; the result outlives it.
  const adapter = federation.adapter?.slice() ?? null;
  const findings = { rows, clients: prepared.fleet.size, expertTokens: federation.expertTokens };
  const claims = expectationsOf(scenario).filter(
    ({ needsTraining }) => state === "finished" && !(needsTraining && scenario.data.timingOnly),
  );
  const { pledges } = federation.diagnostics;
  const standing = federation.course?.standing;
  return {
    state,
    folder: folder?.path ?? null,
    digest: federation.trace.digest(),
    adapterDigest:
      adapter === null ? null : sha256(new Uint8Array(adapter.buffer, adapter.byteOffset, adapter.byteLength)),
    adapter,
    rounds: Math.max(0, closed),
    divergedIn: divergenceOf(rows)?.round ?? null,
    rows,
    heldOut: prepared.training?.setup.evaluation.length ?? null,
    virtualTime: federation.kernel.now,
    seconds: diagnostics.elapsed(),
    ...(standing && { stop: { because: standing.because, best: standing.best } }),
    expectations: claims.map((claim) => judged(claim, findings)),
    diagnostics: {
      ...diagnostics.totals(),
      pledgesBegun: pledges.begun,
      pledgesDiscarded: pledges.discarded,
      retries: pool.diagnostics.retries,
      events: federation.kernel.processed,
    },
  };
}

/** A claim that throws has not held. */
function judged({ claim, check }: Expectation, findings: Findings): RunResult["expectations"][number] {
  try {
    const { holds, found } = check(findings);
    return { name: claim, held: holds, detail: found };
  } catch (error) {
    return { name: claim, held: false, detail: `it threw: ${messageOf(error)}`, threw: true };
  }
}
