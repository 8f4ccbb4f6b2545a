/** What a run tells while it goes on, for a terminal or a script. The run does not depend on anyone listening. */
import * as z from "zod";
import { count, instant } from "../records/counts.ts";
import { forecastSchema } from "../records/forecast.ts";
import { roundMetricsSchema } from "../records/metrics.ts";
import { taskTypes } from "../tasks/facts.ts";
import type { RunResult } from "./result.ts";

/** Real seconds. */
const seconds = z.number().min(0);

/** @internal What each says besides its type; how a run ended is in `result.ts`. */
export const progressSchemas = {
  began: z.object({
    name: z.string(),
    question: z.string().nullable(),
    seed: count,
    folder: z.string().nullable(),
    clients: count,
    rounds: count,
    /** What is trained, as in the scenario's `task.type`. */
    task: z.enum(taskTypes),
    /** Evaluated budgets, largest first; empty without training. */
    budgets: z.array(count).readonly(),
    strategy: z.string(),
    /** `onnx-cpu`, or null without training. */
    engine: z.string().nullable(),
    workers: count,
    /** The round a checkpoint put the run back to; null for a run from the start. */
    resumedAfter: count.nullable(),
  }),
  forecast: forecastSchema,
  /** Every fifth of a second. */
  status: z.object({
    round: count,
    /** Milliseconds of virtual time. */
    time: instant,
    invited: count,
    accepted: count,
    /** Evaluations under way. */
    evaluating: count,
    /** Tasks that can run at the same time, where workers elsewhere come and go; otherwise null. */
    workers: count.nullable(),
    /** Who there has done how many of the tasks, and how many were begun again; otherwise null. */
    elsewhere: z.string().nullable(),
    /** Training steps and batches of evaluations done since the run was begun or continued; null where nobody counts. */
    steps: count.nullable(),
  }),
  round: z.object({
    /** As in `metrics.jsonl`. */
    row: roundMetricsSchema,
    /** Real, since the run began. */
    seconds,
    /** Counted updates per real second. */
    rate: z.number().min(0),
    /** Real seconds to go; null before the first round has closed. */
    remaining: seconds.nullable(),
  }),
  note: z.object({
    /** Something that whoever runs it should know. */
    text: z.string(),
  }),
};

type Schemas = typeof progressSchemas;

export type Progress =
  | { [Type in keyof Schemas]: { readonly type: Type } & Readonly<z.output<Schemas[Type]>> }[keyof Schemas]
  | { readonly type: "ended"; readonly result: RunResult };

export type ProgressListener = (progress: Progress) => void;
