/** Every strategy that asks nothing special of a task, on images. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digits } from "../../src/data/images/source.ts";
import { dirichlet } from "../../src/data/partition.ts";
import { instructions } from "../../src/data/source.ts";
import { strategies, strategyFromSpec } from "../../src/fl/strategies/registry.ts";
import { run } from "../../src/run/run.ts";
import { defineScenario, type ScenarioInput } from "../../src/scenario/define.ts";
import { onThisThread } from "../support/tabular-run.ts";

const abilities = ["blocks", "members"];

const scenario = (overrides: Partial<ScenarioInput>) =>
  defineScenario({
    name: "digits",
    seed: 3,
    task: { type: "vision", network: { type: "mlp", hidden: [16] } },
    data: { source: digits(), partition: dirichlet({ alpha: 1 }), heldOut: 360 },
    fleet: [
      { name: "weak", clients: 3, budget: 1, tokensPerSecond: 100, uplink: 1e6 },
      { name: "strong", clients: 3, budget: 2, tokensPerSecond: 500, uplink: 1e6 },
    ],
    rounds: { count: 2, cohort: 6 },
    training: { batchSize: 16, maxSteps: 3, learningRate: 1e-2 },
    evaluateEvery: 2,
    evaluateAt: [2],
    evaluationExamples: 64,
    ...overrides,
  });

const play = (overrides: Partial<ScenarioInput>) => run(scenario(overrides), { pool: onThisThread, out: null });

/** Trains a head of each client's own, which it asks for in words. */
const others = ["fl-games"];
const agnostic = [...strategies.entries.keys()].filter(
  (type) =>
    !others.includes(type) && (strategyFromSpec({ type }).needs ?? []).every((need) => abilities.includes(need)),
);

const wrapped = [
  { flood: {} },
  { compress: { keep: 0.1, levels: 15 } },
  { clipNorm: 0.1 },
  { overTheAir: {} },
  { serverStep: { type: "adam" } },
];

for (const strategy of [
  // Beside as few clients the noise of dpfedavg's default is louder than what they learn.
  ...agnostic.map((type) => (type === "dpfedavg" ? { type, noise: 0 } : { type })),
  ...wrapped.map((more) => ({ type: "fedavg", ...more })),
]) {
  test(`digits are learned by ${JSON.stringify(strategy)}`, async () => {
    const { rows } = await play({ strategy: strategy as ScenarioInput["strategy"] });
    const [first, last] = [rows[0]!.evaluations[0]!, rows.at(-1)!.evaluations[0]!];
    assert.ok(last.loss < first.loss, `held-out loss ${first.loss} became ${last.loss}`);
  });
}

test("bases of two norms are trained against an adversary and used best first, and a network without norms is refused", async () => {
  const robust = { type: "split-mix", bases: 2, order: "best", robust: { steps: 2, use: 0.5 } } as const;
  const task = { type: "vision" as const, network: { type: "cnn" as const, channels: [4] } };
  const { rows } = await play({ strategy: robust, task });
  const [first, last] = [rows[0]!.evaluations[0]!, rows.at(-1)!.evaluations[0]!];
  assert.ok(last.loss < first.loss, `held-out loss ${first.loss} became ${last.loss}`);
  await assert.rejects(play({ strategy: robust }), { message: /task.network.type is "mlp", expected "cnn"/ });
});

test("a strategy that needs what images do not have is refused with the task that has it", async () => {
  const message =
    /strategy is hetlora.*, which needs low-rank, which the task "vision" does not have; expected the task llm/;
  await assert.rejects(play({ strategy: { type: "hetlora" } }), { name: "ScenarioError", message });
});

test("text for images, and images for a language model, are refused by name", async () => {
  const { data } = scenario({}).data;
  const text = { ...data, source: instructions({ examples: 1_000 }) };
  await assert.rejects(play({ data: text }), {
    message: /data\.source is instructions, but the task vision learns images/,
  });
  const pictures = { task: { type: "llm" as const }, rounds: { count: 1, cohort: 1 } };
  await assert.rejects(play(pictures), { message: /data\.source is digits, but a language model learns text/ });
});
