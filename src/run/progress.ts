/** What a run tells while it goes on, for a terminal or a script. The run does not depend on anyone listening. */
import type { Forecast } from "../records/forecast.ts";
import type { RoundMetrics } from "../records/metrics.ts";
import type { TaskType } from "../tasks/facts.ts";
import type { RunResult } from "./result.ts";

export type Progress =
  | {
      readonly type: "began";
      readonly name: string;
      readonly question: string | null;
      readonly seed: number;
      readonly folder: string | null;
      readonly clients: number;
      readonly rounds: number;
      readonly task: TaskType;
      /** Evaluated budgets, largest first; empty without training. */
      readonly budgets: readonly number[];
      readonly strategy: string;
      /** `onnx-cpu`, or null without training. */
      readonly engine: string | null;
      readonly workers: number;
      /** The round a checkpoint put the run back to; null for a run from the start. */
      readonly resumedAfter: number | null;
    }
  | {
      readonly type: "status";
      readonly round: number;
      readonly time: number;
      readonly invited: number;
      readonly accepted: number;
      /** Evaluations under way. */
      readonly evaluating: number;
    }
  | {
      readonly type: "round";
      readonly row: RoundMetrics;
      readonly seconds: number;
      readonly rate: number;
      readonly remaining: number | null;
    }
  | ({ readonly type: "forecast" } & Forecast)
  | { readonly type: "note"; readonly text: string }
  | { readonly type: "ended"; readonly result: RunResult };

export type ProgressListener = (progress: Progress) => void;
