/**
 * How long a run takes by formula, where nothing was timed: right to a factor of two or three on a quiet machine.
 *
 *   seconds = Σ programs + (Σ steps + Σ evaluations) ÷ workers    every worker makes its own programs
 *   program = matrices of the base weights, each expert's for themselves · time to compile the products of one
 *   step    = FLOPs ÷ what a core does in a second + weights read, forward and backward · time to read and widen one
 */
import { sum } from "simple-statistics";
import type { Prepared } from "../../run/prepare.ts";
import { frozenMatrices } from "../../tasks/client-memory.ts";
import { sizeOf } from "../../tensor/graph/shape.ts";
import type { StoredType } from "../../tensor/stored/stored.ts";
import type { Played } from "./play.ts";

/** FLOP a second of one core at steps of language models. */
const usualCore = 3e10;

/** To read one stored number from memory, and to widen it: what products of 2048 × 2048 took beyond their FLOPs. */
const secondsPerWeight: Readonly<Record<StoredType, number>> = {
  float32: 0.4e-9,
  bfloat16: 0.5e-9,
  float16: 0.5e-9,
  int8: 0.5e-9,
  int4: 1.7e-9,
};

/** To make a session of what a training step does with a matrix, an expert having two: 1 to 3.5 ms. An evaluation has half of it. */
const secondsPerMatrix = 0.002;

type Rows = { readonly rows: number; readonly length: number };

/** Of a training step at a budget. */
export function roughStep(prepared: Prepared, budget: number): number {
  const { batchSize: rows, length } = prepared.training!.setup;
  const { task } = prepared.task;
  const flops = rows * length * task.cost(task.budget.variant(budget)).training;
  return flops / usualCore + 2 * readSeconds(prepared, budget, { rows, length });
}

/**
 * Of the whole run.
 *
 * @param rest by how much more than was played there will be
 * @param evaluated how often all budgets are evaluated
 */
export function roughSeconds(
  prepared: Prepared,
  { work }: Played,
  rest: number,
  evaluated: number,
  workers: number,
): number {
  const { budgets, task } = prepared;
  const { batchSize: rows, length, evaluation } = prepared.training!.setup;
  const forward = (budget: number): number =>
    (rows * length * task.task.cost(task.task.budget.variant(budget)).forward) / usualCore +
    readSeconds(prepared, budget, { rows, length });
  const batches = Math.ceil(evaluation.length / rows);
  const programs = new Set(prepared.fleet.budget).size + budgets.length / 2;
  const shared =
    rest * sum([0, ...work.flat().map(({ steps, budget }) => steps * roughStep(prepared, budget))]) +
    evaluated * batches * sum([0, ...budgets.map(forward)]);
  return programs * secondsPerMatrix * frozenMatrices(prepared.training!.spec.weights) + shared / workers;
}

/**
 * To read the base weights once. Of the experts of a layer only those that a token chose are read; tokens choose as if at
 * random, so that 1 − (1 − 1 ÷ M)^(tokens · k) of M are.
 */
function readSeconds({ task, training }: Prepared, budget: number, { rows, length }: Rows): number {
  const { topK = budget } = task.task.budget.variant(budget);
  const share = (experts: number) => 1 - (1 - 1 / experts) ** (rows * length * Number(topK));
  let seconds = 0;
  for (const [name, { shape, type = "float32" }] of training!.spec.weights?.tensors ?? []) {
    // A few rows of the embedding are looked up.
    if (name === "embed") continue;
    seconds += sizeOf(shape) * secondsPerWeight[type] * (shape.length === 3 ? share(shape[0]!) : 1);
  }
  return seconds;
}
