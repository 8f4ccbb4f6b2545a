/**
 * How long the cells of a matrix will take on this machine, before they begin: one cell's start, a step and a held-out
 * batch at each budget are timed, and the rest is counted.
 *
 *   cell = start + rounds · cohort · mean over clients (steps · step at its budget) + evaluations · batches · budgets
 *
 * What a method works out besides, and steps that it adds or leaves out, are not in it.
 */
import { sum } from "simple-statistics";
import { clientId } from "../base/ids.ts";
import { evaluationBatches } from "../data/batches.ts";
import { engineNameOf } from "../engine/names.ts";
import type { Prepared } from "../run/prepare.ts";
import { prepareRun } from "../run/run.ts";
import type { Scenario } from "../scenario/define.ts";
import { allSteps } from "../scenario/effort.ts";
import { createEngine } from "../tasks/open/create-engine.ts";
import type { CellPlan } from "./matrix/plan.ts";
import { firstMember, millisecondsPerStep, realBatches } from "./step-times.ts";

/** How fast this machine is at a scenario: milliseconds on one core. */
export interface Pace {
  /** From a prepared scenario to programs that are compiled. */
  readonly start: number;
  /** Of a training step, by budget. */
  readonly step: ReadonlyMap<number, number>;
  /** Of one evaluation, at all budgets together. */
  readonly evaluation: number;
}

/** All budgets that a client has or that are evaluated. */
export const budgetsOf = ({ fleet, budgets }: Pick<Prepared, "fleet" | "budgets">): number[] => [
  ...new Set([...fleet.budget, ...budgets]),
];

/**
 * Times a step and a held-out batch at each budget; takes as many seconds as there are budgets, or fewer.
 *
 * @param timed these alone; what the others take follows from the FLOPs of the first
 */
export async function paceOf(
  prepared: Prepared,
  engine: string,
  timed: readonly number[] = budgetsOf(prepared),
): Promise<Pace> {
  const { task, training } = prepared;
  const { spec, setup } = training!;
  const begun = performance.now();
  const trainer = await createEngine({ task: spec, engine: engineNameOf(engine) });
  const { budget, cost } = task.task;
  const asMuchAs = (at: number, kind: "training" | "forward") =>
    cost(budget.variant(at))[kind] / cost(budget.variant(timed[0]!))[kind];
  try {
    const batches = realBatches(prepared, 2);
    const steps = await millisecondsPerStep(trainer, prepared, batches, timed, 1);
    const [batch, rest] = heldOutBatches(prepared);
    const parameters = firstMember(task, setup.seed);
    const personal = new Float32Array(task.task.personal).fill(1);
    const evaluations = new Map<number, number>();
    for (const at of timed) {
      const job = { models: [{ parameters, personal, variant: budget.variant(at) }], batches: [batch!] };
      // The first one compiles the program.
      await trainer.evaluate(job);
      const since = performance.now();
      await trainer.evaluate(job);
      evaluations.set(at, (performance.now() - since) * rest);
    }
    const step = new Map(timed.map((at, index) => [at, steps[index]!]));
    const stepAt = (at: number) => step.get(at) ?? steps[0]! * asMuchAs(at, "training");
    const evaluationAt = (at: number) => evaluations.get(at) ?? evaluations.get(timed[0]!)! * asMuchAs(at, "forward");
    return {
      start: performance.now() - begun,
      step: new Map(budgetsOf(prepared).map((at) => [at, stepAt(at)])),
      evaluation: sum(prepared.budgets.map(evaluationAt)),
    };
  } finally {
    trainer.dispose();
  }
}

/** @returns milliseconds; null when nothing is trained */
export async function timeOfCells(
  plans: readonly CellPlan[],
  { engine, atOnce }: { readonly engine: string; readonly atOnce: number },
): Promise<number | null> {
  const first = plans.find(({ scenario }) => !scenario.data.timingOnly)?.scenario;
  if (first === undefined) return null;
  const begun = performance.now();
  const prepared = await prepareRun(first, { engine });
  const loading = performance.now() - begun;
  const { start, step, evaluation } = await paceOf(prepared, engine);
  const cells = plans.map(({ scenario }) => loading + start + playTime(scenario, prepared, step, evaluation));
  return sum(cells) / atOnce;
}

/** A batch of held-out examples, and how many there are. */
function heldOutBatches({ training }: Prepared) {
  const { data, evaluation, batchSize, length } = training!.setup;
  const batches = evaluationBatches(data, evaluation, { batchSize, length });
  return [batches[Math.floor(batches.length / 2)], batches.length] as const;
}

/** Milliseconds of the rounds of a cell. */
function playTime(
  { data }: Scenario,
  { fleet }: Prepared,
  perStep: ReadonlyMap<number, number>,
  evaluation: number,
): number {
  const clients = Array.from(fleet.budget, (budget, at) => perStep.get(budget)! * allSteps(fleet, data, clientId(at)));
  const { count, cohort } = data.rounds;
  // Round 0 is the base model; the last round is always evaluated.
  const evaluated = 1 + Math.ceil(count / data.evaluateEvery);
  return (count * cohort * sum(clients)) / fleet.size + evaluated * evaluation;
}
