/** What methods of low rank do on matrices whose rank is known: their exact steps, and their claims in the small. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { flexlora, flora, fslora, hetlora, loraFair } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { factorsIn, product } from "../support/low-rank.ts";
import { close } from "../support/method-goldens.ts";
import {
  beginningOf,
  identity,
  learnedBy,
  matrixTask,
  type Play,
  planted,
  playPlanted,
  settingOfPlay,
  side,
  squaredGap,
  trainPlanted,
} from "../support/planted.ts";
import { aggregate } from "../support/quadratic.ts";

const transposed = (m: readonly (readonly number[])[]) => m[0]!.map((_, j) => m.map((row) => row[j]!));

test("FLoRA: with one A for all, a step from B = 0 is the step of one client with all data", async () => {
  const targets = [planted(2, 1), planted(3, 2)];
  const play: Play = {
    clients: targets.map((target, client) => ({ target, budget: 4, examples: 1 + 2 * client })),
    ...{ rank: 4, steps: 1, rate: 0.05 },
  };
  const strategy = flora({ freshFactors: "shared" });
  const begun = beginningOf(strategy, play);
  const found = [0, 1].map((client) => trainPlanted(strategy, begun, client, play).update);
  const next = await aggregate(strategy, begun, found, settingOfPlay(play));
  const [pair] = matrixTask(4).layout.pairs as [Parameters<typeof factorsIn>[1]];
  const { A } = factorsIn(found[0]!.plan.start!, pair);
  // ∂F/∂B = −T·Aᵀ at B = 0, where A has no slope: ΔW = η·(¼·T_1 + ¾·T_2)·Aᵀ·A.
  const pooled = targets[0]!.map((row, i) => row.map((value, j) => 0.25 * value + 0.75 * targets[1]![i]![j]!));
  const expected = product(product(pooled, transposed(A), 0.05), A);
  close(learnedBy(next, 4).flat(), expected.flat(), 1e-6);
});

test("FSLoRA: of a loss that is linear in the weight the mean step over all index sets is the unsketched one, of a curved one not", async () => {
  const gapOf = async (loss: "linear" | "square") => {
    const play: Play = { clients: [{ target: planted(4, 1), budget: 2 }], rank: 4, steps: 1, rate: 0.02, loss };
    const strategy = fslora();
    const begun = beginningOf(strategy, play);
    for (let i = 4 * side; i < begun.parameters.length; i++) begun.parameters[i] = Math.sin(i) / 2;
    const setting = settingOfPlay(play);
    const after = async (components: object | null) => {
      const change = ({ scope: _, ...plan }: Parameters<typeof strategy.weight>[0]["plan"]) =>
        components === null ? plan : { ...plan, scope: { components: components as never } };
      const { update } = trainPlanted(strategy, begun, 0, play, { change });
      return (await aggregate(strategy, begun, [update], setting)).parameters;
    };
    const sets = [0, 1, 2, 3].flatMap((i) => [0, 1, 2, 3].filter((j) => j > i).map((j) => [i, j]));
    const mean = new Float64Array(begun.parameters.length);
    for (const of of sets) {
      for (const [i, value] of (await after({ of, scale: 2 })).entries()) mean[i]! += value / sets.length;
    }
    const whole = await after(null);
    return Math.hypot(...mean.map((value, i) => value - whole[i]!)) / Math.hypot(...whole);
  };
  // Float32 rounds each of the six to 6e-8.
  assert.ok((await gapOf("linear")) < 1e-7);
  assert.ok((await gapOf("square")) > 1e-4);
});

/** A target with these singular values. */
const diagonal = (values: readonly number[]) =>
  identity.map((row, i) => row.map((_, j) => (i === j ? (values[i] ?? 0) : 0)));

/**
 * What the mean sketched loss leaves of a target at best, as a share. With W = B·A, r·Σ|b_j|²|a_j|² is least at ‖W‖_*² (sum
 * of singular values), so E‖B·S·A − T‖² is ‖W − T‖² + c·(‖W‖_*² − ‖W‖²), c = (r/k − 1) ÷ (r − 1): W has the target's
 * singular vectors, and each value is its own less c times the sum of the others, or 0.
 */
function sketchedAtBest(sigma: readonly number[], r: number, k: number): number {
  const c = (r / k - 1) / (r - 1);
  const w = sigma.map(() => 0);
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  for (let sweep = 0; sweep < 1_000; sweep++)
    for (const [at, value] of sigma.entries()) w[at] = Math.max(0, value - c * (sum(w) - w[at]!));
  return sum(sigma.map((value, at) => (value - w[at]!) ** 2)) / sum(sigma.map((value) => value ** 2));
}

test("FSLoRA: for one upload a large rank in sketches beats a small one where singular values are alike, and not where they fall", async (t) => {
  const strategy = fslora({ ranks: { 2: 2, 8: 2 } });
  const leftOf = async (sigma: readonly number[], rank: number) => {
    const target = diagonal(sigma);
    const clients = [0, 1, 2, 3].map(() => ({ target, budget: 2 }));
    const { server } = await playPlanted(strategy, { clients, rank, steps: 1, rate: 0.02 }, 240);
    return squaredGap(learnedBy(server, rank), target) / squaredGap(diagonal([]), target);
  };
  for (const [sigma, small, wins] of [
    [[2, 2, 2, 2], 0.5, true],
    [[3, 2, 1, 0.5], 1.25 / 14.25, false],
  ] as const) {
    const [two, eight] = [await leftOf(sigma, 2), await leftOf(sigma, 8)];
    const best = sketchedAtBest(sigma, 8, 2);
    t.diagnostic(`${sigma}: rank 2 leaves ${two.toFixed(3)}, two of 8 ${eight.toFixed(3)}, at best ${best.toFixed(3)}`);
    // What rank 2 leaves is the rest of the spectrum. Sketches are new in every round, which jitters.
    assert.ok(Math.abs(two - small) < 0.01 && Math.abs(eight - best) < 0.02);
    assert.equal(eight < two, wins);
  }
});

test("HetLoRA: a client whose data need rank 1 ends with a lower rank than one that needs all", async (t) => {
  const ranksAfter = async (lambda: number) => {
    const clients = [1, 8].map((rank) => ({ target: planted(rank, 5), budget: 8 }));
    const ends: number[] = [];
    for (const client of clients) {
      const strategy = hetlora({ lambda, gamma: 0.99 });
      const play: Play = { clients: [client], rank: 8, steps: 10, rate: 0.05 };
      const { memories } = await playPlanted(strategy, play, 25);
      ends.push((memories[0]!.notes as { rank: number } | null)?.rank ?? 8);
    }
    return ends as [number, number];
  };
  const [pruned, plain] = [await ranksAfter(0.01), await ranksAfter(0)];
  t.diagnostic(`λ = 0.01: ${pruned}; λ = 0: ${plain}`);
  assert.ok(pruned[0] < pruned[1], `${pruned}`);
  assert.ok(pruned[0] < plain[0] && plain[1] - plain[0] <= pruned[1] - pruned[0], `${plain} and ${pruned}`);
});

test("HetLoRA: a low rank learns slowly and too little, a high one fast and then noise; ranks of all sizes begin between them and end better", async (t) => {
  const rounds = 20;
  const curveOf = async (ranks: readonly number[], seed: number, options: Parameters<typeof hetlora>[0]) => {
    const truth = planted(2, seed);
    const clients = ranks.map((budget, client) => {
      // What only this client's data say.
      const noise = new Rng(seed).at("noise").at(client);
      return { budget, target: truth.map((row) => row.map((value) => value + 0.7 * noise.normal())) };
    });
    const strategy = hetlora({ ...options, ranks: { 1: 1, 2: 2, 4: 4, 8: 8 } });
    const missed: number[] = [];
    const play: Play = { clients, rank: Math.max(...ranks), steps: 5, rate: 0.05 };
    await playPlanted(strategy, play, rounds, (server) => {
      missed.push(squaredGap(learnedBy(server, play.rank), truth) / squaredGap(diagonal([]), truth));
    });
    return missed;
  };
  const fixed = { lambda: 0, prune: false };
  for (const seed of [1, 2, 3]) {
    const low = await curveOf([1, 1, 1, 1], seed, fixed);
    const high = await curveOf([8, 8, 8, 8], seed, fixed);
    const mixed = await curveOf([1, 2, 4, 8], seed, { lambda: 0.01, gamma: 0.85 });
    const shown = (curve: readonly number[]) => [0, 1, 4, 9, rounds - 1].map((at) => curve[at]!.toFixed(3)).join(" ");
    t.diagnostic(`seed ${seed}: rank 1 leaves ${shown(low)}; rank 8 ${shown(high)}; ranks 1 to 8 ${shown(mixed)}`);
    assert.ok(high[0]! < mixed[0]! && mixed[0]! < low[0]!, "early");
    const [ofLow, ofHigh, ofMixed] = [low.at(-1)!, high.at(-1)!, mixed.at(-1)!];
    assert.ok(Math.min(...high) < 0.9 * ofHigh, "rank 8 was nearer before it learned the noise");
    assert.ok(ofLow > Math.min(...high), "rank 1 is never as near");
    assert.ok(ofMixed < ofLow && ofMixed < ofHigh, "late");
  }
});

/** ‖W − T‖² ÷ ‖T‖² of what a federation of these budgets has learned. */
async function missedBy(strategy: Strategy, budgets: readonly number[], given: Partial<Play> = {}, rounds = 30) {
  const target = planted(4, 3);
  const rank = given.rank ?? Math.max(...budgets);
  const play: Play = { clients: budgets.map((budget) => ({ target, budget })), rank, steps: 10, rate: 0.05, ...given };
  const { server } = await playPlanted(strategy, play, rounds);
  return (
    squaredGap(learnedBy(server, rank), target) /
    squaredGap(
      target.map((row) => row.map(() => 0)),
      target,
    )
  );
}

test("FlexLoRA: some clients of the target's rank among weak ones do better than weak ones alone, and no better than strong ones", async (t) => {
  const ranks = { ranks: { 1: 1, 4: 4 } };
  const [weak, mixed, strong] = [
    await missedBy(flexlora(ranks), [1, 1], { rank: 4, rate: 0.01 }),
    await missedBy(flexlora(ranks), [1, 4], { rate: 0.01 }),
    await missedBy(flexlora(ranks), [4, 4], { rate: 0.01 }),
  ];
  t.diagnostic(`left of the target: ${weak}, ${mixed}, ${strong}`);
  assert.ok(mixed < weak && strong <= mixed);
});

test("FLoRA: with few local steps what begins afresh lags behind what keeps its factors, with many it does not", async (t) => {
  const at = async (steps: number, rounds: number) => [
    await missedBy(flora({ freshFactors: "own" }), [4, 4], { steps, rate: 0.02 }, rounds),
    await missedBy(loraFair(), [4, 4], { steps, rate: 0.02 }, rounds),
  ];
  const [few, many] = [await at(1, 60), await at(60, 6)];
  t.diagnostic(`left by FLoRA and LoRA-FAIR: 1 step ${few}, 60 steps ${many}`);
  assert.ok(few[0]! > few[1]! && many[0]! - many[1]! < few[0]! - few[1]!);
});

test("LoRA-FAIR: where clients see other features its residual leaves less than factors averaged apart, seed by seed", async (t) => {
  // Each client sees two of eight directions four times as well as the others.
  const inputsOf = (client: number) =>
    identity.map((row, i) => row.map((value) => value * (Math.floor(i / 2) === client ? 1.6 : 0.4)));
  for (const seed of [1, 2, 3]) {
    const target = planted(4, seed);
    const clients = [0, 1, 2, 3].map((client) => ({ target, inputs: inputsOf(client), budget: 4 }));
    const left: number[] = [];
    for (const options of [{ solver: "none" }, { solver: "l2-closed", lambda: 0.01 }] as const) {
      const { server } = await playPlanted(loraFair(options), { clients, rank: 4, steps: 20, rate: 0.03 }, 6);
      left.push(squaredGap(learnedBy(server, 4), target) / squaredGap(diagonal([]), target));
    }
    t.diagnostic(`seed ${seed}: ${left.map((share) => share.toFixed(4))}`);
    assert.ok(left[1]! < left[0]!);
  }
});
