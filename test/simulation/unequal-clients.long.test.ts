/** What methods are for: layers that a device cannot train, a view that says little, a feature that means something else elsewhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digits } from "../../src/data/images/source.ts";
import { byCategory, dirichlet, iid } from "../../src/data/partition.ts";
import { bmsfed, embracingfl, fedavg, flGames, shefl, splitMix } from "../../src/fl/strategies/registry.ts";
import { run } from "../../src/run/run.ts";
import { defineScenario, type ScenarioInput } from "../../src/scenario/define.ts";
import { onThisThread } from "../support/tabular-run.ts";

/** Accuracy in the end, by budget. */
async function accuracies(input: Omit<ScenarioInput, "name">): Promise<ReadonlyMap<number, number>> {
  const { rows } = await run(defineScenario({ name: "unequal", ...input }), { pool: onThisThread, out: null });
  return new Map(rows.at(-1)!.evaluations.map(({ budget, accuracy }) => [budget, accuracy]));
}

const device = { tokensPerSecond: 1_000, uplink: 1e6 };

test("EmbracingFL: classes that weak clients alone have are learned, which strong ones alone cannot; all strong are the ceiling", async (t) => {
  // A class for each client: the strong have 0 to 5, the weak, who train the last two blocks, 6 to 9.
  const learned = async (strategy: ScenarioInput["strategy"], weak: { budget: number; dropout?: number }) =>
    (await accuracies({
      seed: 1,
      task: { type: "vision", network: { type: "mlp", hidden: [64, 32] } },
      data: { source: digits(), partition: byCategory(), heldOut: 360 },
      fleet: [
        { name: "strong", clients: 6, budget: 3, ...device },
        { name: "weak", clients: 4, ...weak, ...device },
      ],
      rounds: { count: 80, cohort: 10 },
      // With ε = 1 a step is about the gradient: of one class alone, signs of gradients say nothing.
      training: { batchSize: 32, maxSteps: 1, learningRate: 1, beta1: 0, beta2: 0, epsilon: 1, clipNorm: null },
      strategy,
      evaluateEvery: 80,
      evaluateAt: [3],
      evaluationExamples: 360,
    }))!.get(3)!;
  const [alone, embraced, all] = [
    await learned(embracingfl(), { budget: 2, dropout: 1 }),
    await learned(embracingfl(), { budget: 2 }),
    await learned(fedavg(), { budget: 3 }),
  ];
  t.diagnostic(`strong alone ${alone.toFixed(3)}, EmbracingFL ${embraced.toFixed(3)}, all strong ${all.toFixed(3)}`);
  // Whoever has never seen four of ten classes is right in six of ten cases, give or take how many the test has.
  assert.ok(alone < 0.65 && embraced > alone + 0.1 && all >= embraced - 0.02);
});

test("SHEFL: classes that weak clients alone have are told the better, the more the rare are made up for", async (t) => {
  const told = async (rho: number) =>
    (await accuracies({
      seed: 1,
      task: { type: "vision", network: { type: "mlp", hidden: [32] } },
      data: { source: digits(), partition: byCategory(), heldOut: 360 },
      fleet: [
        { name: "strong", clients: 6, budget: 2, ...device },
        { name: "weak", clients: 4, budget: 1, ...device },
      ],
      rounds: { count: 30, cohort: 10 },
      training: { batchSize: 32, maxSteps: 1, learningRate: 1, beta1: 0, beta2: 0, epsilon: 1, clipNorm: null },
      strategy: shefl({ members: 2, rho, sigmaMin: 1 }),
      evaluateEvery: 30,
      evaluateAt: [2],
      evaluationExamples: 360,
    }))!.get(2)!;
  const [rare, alike, strong] = [await told(-1), await told(0), await told(1)];
  t.diagnostic(`accuracy with ρ = −1 ${rare.toFixed(3)}, 0 ${alike.toFixed(3)}, 1 ${strong.toFixed(3)}`);
  // Six classes of ten are those of strong clients: what is above 60 % is told of the others.
  assert.ok(rare > alike + 0.05 && alike > strong + 0.05);
});

test("Split-Mix: the more narrow networks are mixed, the more is told, on average over seeds", async (t) => {
  const budgets = [8, 4, 2, 1];
  const seeds = [1, 2, 3];
  const found = await Promise.all(
    seeds.map((seed) =>
      accuracies({
        seed,
        task: { type: "vision", network: { type: "mlp", hidden: [32] } },
        data: { source: digits(), partition: dirichlet({ alpha: 1 }), heldOut: 360 },
        fleet: [
          { name: "strong", clients: 4, budget: 8, ...device },
          { name: "weak", clients: 4, budget: 2, ...device },
        ],
        rounds: { count: 4, cohort: 8 },
        training: { batchSize: 16, learningRate: 1e-2 },
        strategy: splitMix({ bases: 8 }),
        evaluateEvery: 4,
        evaluateAt: budgets,
        evaluationExamples: 360,
      }),
    ),
  );
  const told = budgets.map((budget) => found.reduce((sum, of) => sum + of.get(budget)! / seeds.length, 0));
  t.diagnostic(`accuracy of ${budgets.map((budget, at) => `${budget}: ${told[at]!.toFixed(3)}`).join(", ")}`);
  for (const [at, share] of told.slice(1).entries()) assert.ok(told[at]! > share);
});

test("BMSFed: joint training starves the noisy view, and the loss on prototypes feeds it; alike views are left alone", async (t) => {
  const views = async (noise: [number, number], strategy: ScenarioInput["strategy"], seed: number) => {
    const found = await accuracies({
      seed,
      task: { type: "two-view", views: { type: "halves", noise }, hidden: 32, features: 16 },
      data: { source: digits(), partition: iid(), heldOut: 360 },
      fleet: [{ name: "both", clients: 10, budget: 3, ...device }],
      rounds: { count: 7, cohort: 5 },
      training: { epochs: 2, batchSize: 16, learningRate: 3e-3 },
      strategy,
      evaluateEvery: 7,
      evaluateAt: [1, 2],
      evaluationExamples: 360,
    });
    return [found.get(1)!, found.get(2)!] as const;
  };
  const seeds = [1, 2];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value / values.length, 0);
  const ofBoth = async (noise: [number, number], strategy: () => ScenarioInput["strategy"]) => {
    const all = await Promise.all(seeds.map((seed) => views(noise, strategy(), seed)));
    return [mean(all.map(([a]) => a)), mean(all.map(([, v]) => v))] as const;
  };
  const joint = () => bmsfed({ alpha: 0, threshold: 10 });
  const [plain, balanced] = [await ofBoth([0.1, 0.5], joint), await ofBoth([0.1, 0.5], () => bmsfed())];
  const [even, evenBalanced] = [
    await ofBoth([0.2, 0.2], joint),
    await ofBoth([0.2, 0.2], () => bmsfed({ threshold: 2 })),
  ];
  t.diagnostic(`a and v alone: joint ${plain}, BMSFed ${balanced}; alike, joint ${even}, BMSFed ${evenBalanced}`);
  assert.ok(plain[0] > plain[1] + 0.1, "a is the louder one");
  for (const view of [0, 1] as const) assert.ok(Math.abs(evenBalanced[view] - even[view]) < 0.1);
  assert.ok(balanced[1] > plain[1] && balanced[0] - balanced[1] < plain[0] - plain[1]);
});

test("FL Games: a colour whose sign clients disagree on is dropped; where it has one sign everywhere it is kept in the end", async (t) => {
  const curve = async (flips: readonly [number, number], strategy: ScenarioInput["strategy"]) => {
    const scenario = defineScenario({
      name: "coloured",
      seed: 1,
      task: {
        type: "coloured",
        environments: [
          { flip: flips[0], share: 3 },
          { flip: flips[1], share: 1 },
        ],
      },
      data: { source: digits(), partition: byCategory() },
      fleet: [{ name: "site", clients: 2, budget: 1, ...device }],
      rounds: { count: 60, cohort: 2 },
      training: { batchSize: 32, learningRate: 1e-2, clipNorm: null },
      strategy,
      evaluateEvery: 10,
    });
    const { rows } = await run(scenario, { pool: onThisThread, out: null });
    return rows.flatMap(({ evaluations }) => evaluations.map(({ accuracy }) => accuracy));
  };
  const game = () => flGames({ optimizer: "sgd", box: 2, weighting: "uniform", representationRate: 1 });
  const [opposed, mean] = [await curve([0.1, 0.9], game()), await curve([0.1, 0.9], fedavg())];
  const alike = await curve([0.1, 0.2], game());
  const shown = (values: readonly number[]) => values.map((value) => value.toFixed(2)).join(" ");
  t.diagnostic(`on reversed colours: opposed ${shown(opposed)}; FedAvg ${shown(mean)}; of one sign ${shown(alike)}`);
  assert.ok(opposed.at(-1)! > mean.at(-1)! + 0.1);
  // It follows the colour from the first rounds on: there is nothing that an early stop would keep.
  assert.ok(alike.slice(1).every((accuracy) => accuracy < 0.25));
});
