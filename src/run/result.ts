/** What a run gives to whoever started it. */

import type { ResultRecord } from "../folder/run-folder.ts";
import type { RoundMetrics } from "../records/metrics.ts";

export interface RunResult {
  readonly state: "finished" | "interrupted";
  readonly folder: string | null;
  /** Of the trace: equal for any two runs of one scenario and seed. */
  readonly digest: string;
  readonly adapterDigest: string | null;
  readonly adapter: Float32Array | null;
  /** Rounds that have closed. */
  readonly rounds: number;
  /** The first round after which a held-out loss was no finite number; null if there was none. */
  readonly divergedIn: number | null;
  /** Without `weights` and `activation`, which metrics.jsonl has. */
  readonly rows: readonly RoundMetrics[];
  /** Milliseconds. */
  readonly virtualTime: number;
  /** Real seconds. */
  readonly seconds: number;
  readonly expectations: ResultRecord["expectations"];
  readonly diagnostics: Readonly<Record<string, number>>;
}
