/** FedVRA-U: clients without labels train on those that the model they received finds likeliest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round } from "../../../src/base/ids.ts";
import { emptyMemory } from "../../../src/fl/plan.ts";
import { fedvra } from "../../../src/fl/strategies/fedvra.ts";
import { tabularTask } from "../../../src/tasks/tabular/task.ts";
import { trainingStep } from "../../../src/tasks/training-step.ts";
import { drawsOf, plainLayout, serverOf, settingOf } from "../../support/quadratic.ts";
import { interpret } from "../../support/reference.ts";

const strategy = fedvra({ unlabelled: 0.3, gamma: 0.5 });
const options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: false, decay: false };

test("a client without labels takes the step that its own guesses, made at the model it received, ask for", () => {
  const task = tabularTask({ features: 2, classes: 3 });
  const setting = settingOf(task.layout);
  const step = (guesses: boolean) => {
    const steps = strategy.steps!({ variant: {}, guesses }, setting);
    return trainingStep(task, {}, { clients: 1, rows: 4, length: 1 }, options, steps);
  };
  // Class 0 where the first number is large, 1 where the second is, else 2; the model has since moved on to prefer class 1.
  const start = [2, 0, 0, 0, 2, 0, 0, 0, 1];
  const parameters = [2, 0, 0, 0, 2, 4, 0, 0, 1];
  const x = [3, 0, 0, 3, 0, 0, 1, 0.9];
  const feeds = (targets: readonly number[]) => ({
    parameters,
    start,
    lambda: start.map((_, i) => 0.01 * i),
    x,
    targets,
    padding: [0, 0, 0, 0],
    positions: [0, 1, 2, 3],
    learningRate: [0.1],
    inverseCount: [0.25],
  });
  const guessed = interpret(step(true), feeds([2, 2, 2, 2]));
  const told = interpret(step(false), feeds([0, 1, 2, 0]));
  assert.deepEqual(guessed.parameters, told.parameters);
  assert.notDeepEqual(guessed.parameters, interpret(step(false), feeds([2, 2, 2, 2])).parameters);
});

test("who has no labels is settled once for a run, for about the share that is asked for", () => {
  const setting = settingOf(plainLayout(1), { clients: 1_000 });
  const server = serverOf(strategy, [0], setting);
  const guesses = (client: number, turn: number) =>
    strategy.plan!(
      {
        ...{ client: clientId(client), participation: participationId(client), round: round(turn) },
        ...{ budget: 1, examples: 1, memory: emptyMemory, draws: drawsOf(turn) },
      },
      server,
      setting,
    ).kind.guesses;
  const all = Array.from({ length: 1_000 }, (_, client) => guesses(client, 1));
  assert.deepEqual(
    Array.from({ length: 1_000 }, (_, client) => guesses(client, 7)),
    all,
  );
  // Four standard deviations of a binomial.
  assert.ok(Math.abs(all.filter(Boolean).length - 300) < 4 * Math.sqrt(210));
});
