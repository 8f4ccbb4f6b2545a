/** What methods of mixtures claim in the small: experts that stay in use, a pool worth sharing, a budget well spent. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Rng } from "../../src/base/random.ts";
import { bestOf, spreadExperts, usedIn } from "../../src/fl/experts/scores.ts";
import type { Invited } from "../../src/fl/plan.ts";
import { fftMoe, hfedmoe } from "../../src/fl/strategies/registry.ts";
import type { Strategy } from "../../src/fl/strategy.ts";
import { pairedTest } from "../../src/report/statistics/tests.ts";
import type { StepContext } from "../../src/tasks/steps.ts";
import { cycles, SmallFederation } from "../support/small-federation.ts";
import { prepared, randomWeights, smallModel } from "../support/small-model.ts";

let weights: Awaited<ReturnType<typeof prepared>>;
before(async () => {
  weights = await prepared(smallModel, randomWeights(smallModel));
});
after(() => weights.cleanUp());

const federationOf = (t: { after(done: () => void): void }, strategy: Strategy): SmallFederation => {
  const federation = new SmallFederation(weights, strategy);
  t.after(() => federation.dispose());
  return federation;
};

const tokens = Array.from({ length: smallModel.vocabulary - 1 }, (_, at) => at + 1);
const seeds = [1, 2, 3, 4, 5, 6, 7, 8];
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value / values.length, 0);
const shown = (values: readonly number[]): string => values.map((value) => value.toFixed(3)).join(" ");
const drawsOf = (seed: number, at: number) => new Rng(seed).at("tokens").at(at);

test("FFT-MoE: where two kinds of clients leave experts idle the auxiliary loss brings them into use, and costs the task nothing", async (t) => {
  const experts = 4;
  const halves = [tokens.slice(0, 6), tokens.slice(6)];
  const held = halves.flatMap((own, at) => cycles(own, drawsOf(0, at), { rows: 8 }));
  const played = async (lambda: number) => {
    const federation = federationOf(t, fftMoe({ experts, width: 4, kept: 1, lambda }));
    const least: number[] = [];
    const losses: number[] = [];
    for (const seed of seeds) {
      const clients = [0, 1, 2, 3].map((client) => ({
        budget: 1,
        batches: cycles(halves[client % 2]!, drawsOf(seed, client), { batches: 4 }),
      }));
      const start = federation.initial(seed);
      // Half of the experts say what others say, more softly: hardly a token is theirs.
      for (const { ranges } of federation.task.layout.groups.slice(-smallModel.layers)) {
        const router = start.subarray(ranges[0]!.start, ranges[0]!.end);
        const half = router.length / 2;
        for (let i = 0; i < half; i++) router[half + i] = 0.8 * router[i]!;
      }
      const server = await federation.play(clients, 10, start);
      const usage = server.vectors.usage!;
      const leastOf = (layer: number) => {
        const own = [...usage.subarray(layer * experts, (layer + 1) * experts)];
        return Math.min(...own) / own.reduce((sum, used) => sum + used, 0);
      };
      least.push(mean(Array.from({ length: smallModel.layers }, (_, layer) => leastOf(layer))));
      losses.push(await federation.lossOf(1, server, held));
    }
    return { least, losses };
  };
  // Beside the task's gradients, which are large in so small a model, the default of 0.01 shows nothing in ten rounds.
  const [without, balanced] = [await played(0), await played(1)];
  t.diagnostic(`least share: without it ${shown(without.least)}; with it ${shown(balanced.least)}`);
  t.diagnostic(`loss: without it ${shown(without.losses)}; with it ${shown(balanced.losses)}`);
  const differences = (of: "least" | "losses") => balanced[of].map((value, at) => value - without[of][at]!);
  const [use, loss] = [pairedTest(differences("least"))!, pairedTest(differences("losses"))!];
  assert.ok(use.interval.low > 0, "more use, with 95 % confidence");
  assert.ok(loss.interval.low < 0, "no loss that noise does not explain");
});

test("FFT-MoE: a client that keeps one expert does better with what others put into the pool than on its own", async (t) => {
  const federation = federationOf(t, fftMoe({ experts: 4, width: 4, kept: { 1: 1, 2: 2, 3: 4 } }));
  const gains: number[] = [];
  for (const seed of seeds.slice(0, 5)) {
    const clients = [1, 1, 2, 3].map((budget, client) => ({
      budget,
      batches: cycles(tokens, drawsOf(seed, client), { noise: 0.4 }),
    }));
    const held = cycles(tokens, drawsOf(0, 0), { batches: 4 });
    const start = federation.initial(seed);
    const lossAfter = async (own: typeof clients) => federation.lossOf(1, await federation.play(own, 30, start), held);
    const together = await lossAfter(clients);
    const alone = [await lossAfter(clients.slice(0, 1)), await lossAfter(clients.slice(1, 2))];
    t.diagnostic(`seed ${seed}: together ${together.toFixed(3)}, alone ${shown(alone)}`);
    gains.push(mean(alone) - together);
  }
  assert.ok(pairedTest(gains)!.interval.low > 0, "with 95 % confidence");
});

/** HFedMoE whose batches train experts of this chance instead of its scores, of those that tokens reached. */
function byChance(own: Strategy, chanceOf: (client: Invited) => Float64Array): Strategy {
  const experts = smallModel.layers * smallModel.experts;
  return {
    ...own,
    plan(client, server, setting) {
      return { ...own.plan!(client, server, setting), inputs: { chance: chanceOf(client) } };
    },
    steps(kind, setting) {
      const { tallies, ...rest } = own.steps!(kind, setting);
      const active = (at: StepContext) => bestOf(at.given.chance!, usedIn(at), kind.active as number);
      return {
        ...rest,
        given: { chance: experts },
        moves: (at) => spreadExperts(setting.layout, active(at)),
        tallies: (at) => ({ ...tallies!(at), active: active(at) }),
      };
    },
  };
}

test("HFedMoE: experts chosen by their scores serve as well as ones drawn by chance, and far better where clients differ", async (t) => {
  const options = { budgets: { 1: 0.25 }, trainRouters: false };
  const experts = smallModel.layers * smallModel.experts;
  let seed = 0;
  const uniforms = (draws: ReturnType<typeof drawsOf>) => Float64Array.from({ length: experts }, () => draws.uniform());
  const scored = federationOf(t, hfedmoe(options));
  // The same for everybody, as the scores are where all have the same data: sets that differ train more experts in all.
  const common = federationOf(
    t,
    byChance(hfedmoe(options), () => uniforms(new Rng(seed).at("experts").at(0))),
  );
  const anew = federationOf(
    t,
    byChance(hfedmoe(options), ({ draws }) => uniforms(draws("experts"))),
  );
  const lossesOf = async (federation: SmallFederation, kinds: readonly (readonly number[])[]) => {
    const losses: number[] = [];
    for (seed of seeds.slice(0, 5)) {
      const orders = kinds.map((own, kind) => new Rng(seed).at("order").at(kind).shuffle(own.slice()));
      const ofClient = (client: number) => orders[client % orders.length]!;
      const clients = [0, 1, 2].map((client) => ({
        budget: 1,
        batches: cycles(ofClient(client), drawsOf(seed, client), { batches: 3 }),
      }));
      const held = orders.flatMap((own, kind) => cycles(own, drawsOf(0, kind), { rows: 8 }));
      const server = await federation.play(clients, 10, federation.initial(seed));
      losses.push(await federation.lossOf(smallModel.topK, server, held));
    }
    return losses;
  };
  const thirds = [tokens.slice(0, 4), tokens.slice(4, 8), tokens.slice(8)];
  const [alike, alikeByChance] = [await lossesOf(scored, [tokens]), await lossesOf(common, [tokens])];
  const [skewed, skewedByChance] = [await lossesOf(scored, thirds), await lossesOf(anew, thirds)];
  t.diagnostic(`alike: by score ${shown(alike)}, by chance ${shown(alikeByChance)}`);
  t.diagnostic(`skewed: by score ${shown(skewed)}, by chance ${shown(skewedByChance)}`);
  assert.ok(mean(alike) <= mean(alikeByChance));
  for (const [at, loss] of skewed.entries()) assert.ok(loss < skewedByChance[at]! - 0.1, `seed ${seeds[at]}`);
});
