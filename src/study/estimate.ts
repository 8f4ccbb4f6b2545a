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

/** @returns milliseconds; null when nothing is trained */
export async function timeOfCells(
  plans: readonly CellPlan[],
  { engine, atOnce }: { readonly engine: string; readonly atOnce: number },
): Promise<number | null> {
  const first = plans.find(({ scenario }) => !scenario.data.timingOnly)?.scenario;
  if (first === undefined) return null;
  const begun = performance.now();
  const prepared = await prepareRun(first, { engine });
  const { task } = prepared;
  const trainer = await createEngine({ task: prepared.training!.spec, engine: engineNameOf(engine) });
  try {
    const budgets = [...new Set([...prepared.fleet.budget, ...prepared.budgets])];
    const batches = realBatches(prepared, 2);
    const steps = await millisecondsPerStep(trainer, prepared, batches, budgets, 1);
    const [batch, rest] = heldOutBatches(prepared);
    const parameters = firstMember(task, first.data.seed);
    const personal = new Float32Array(task.task.personal).fill(1);
    const evaluations: number[] = [];
    for (const budget of prepared.budgets) {
      const job = { models: [{ parameters, personal, variant: task.task.budget.variant(budget) }], batches: [batch!] };
      // The first one compiles the program.
      await trainer.evaluate(job);
      const since = performance.now();
      await trainer.evaluate(job);
      evaluations.push((performance.now() - since) * rest);
    }
    const start = performance.now() - begun;
    const perStep = new Map(budgets.map((budget, at) => [budget, steps[at]!]));
    const cells = plans.map(({ scenario }) => start + playTime(scenario, prepared, perStep, sum(evaluations)));
    return sum(cells) / atOnce;
  } finally {
    trainer.dispose();
  }
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
