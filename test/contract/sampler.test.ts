/** What every client sampler owes the server, run on each of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientId } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import type { ClientSampler, History } from "../../src/fl/sampler.ts";
import {
  oort,
  powerOfChoice,
  roundRobin,
  samplerFromSpec,
  tifl,
  uniform,
  weighted,
} from "../../src/fl/samplers/registry.ts";
import { candidatesOf, count, makeFleet, makeHistory } from "../support/fl-fleet.ts";

samplerContract(() => uniform());
samplerContract(() => weighted());
samplerContract(() => roundRobin());
samplerContract(() => powerOfChoice({ candidates: 20 }));
samplerContract(() => oort());
samplerContract(() => oort({ maxUses: 2, maxExamples: 5, paceWindow: 2 }));
samplerContract(() => tifl());
samplerContract(() => tifl({ tiers: 3, credits: 2, interval: 1, adaptive: true }));

function samplerContract(make: () => ClientSampler): void {
  const sampler = make();
  const says = `${sampler.name} ${JSON.stringify(sampler.spec)}:`;
  const fleet = makeFleet(60, { examples: (row) => 1 + (row % 7), tokensPerSecond: (row) => 100 * (1 + (row % 5)) });

  test(`${says} chooses distinct eligible clients, ascending, and no more than asked`, () => {
    for (let seed = 0; seed < 50; seed++) {
      const draws = new Rng(seed).at("sampler-contract").at(0);
      const away = new Set<number>(draws.sample(60, draws.below(61)));
      const isEligible = (client: ClientId) => !away.has(client);
      const wanted = 1 + draws.below(30);
      const chosen = sampler.select(
        candidatesOf(fleet, { history: livedHistory(seed), inRound: 9, isEligible }),
        wanted,
        draws,
      );
      assert.ok(chosen.length <= Math.min(wanted, 60 - away.size));
      if (wanted + away.size <= 60 && !sampler.name.startsWith("tifl")) assert.ok(chosen.length > 0);
      for (const client of chosen) assert.ok(isEligible(client), `${client} is away`);
      for (let i = 1; i < chosen.length; i++) assert.ok(chosen[i]! > chosen[i - 1]!);
    }
  });

  test(`${says} finds the last clients that are eligible`, () => {
    const last = new Set([3, 31, 59]);
    const isEligible = (client: ClientId) => last.has(client);
    const found = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const draws = new Rng(seed).at("sampler-contract").at(1);
      const chosen = sampler.select(candidatesOf(fleet, { isEligible }), 5, draws);
      assert.ok(chosen.length > 0);
      for (const client of chosen) found.add(client);
    }
    assert.deepEqual(
      [...found].sort((a, b) => a - b),
      [3, 31, 59],
    );
  });

  test(`${says} chooses nobody when nobody is eligible or wanted`, () => {
    const draws = () => new Rng(1).at("sampler-contract").at(2);
    assert.deepEqual(sampler.select(candidatesOf(fleet, { isEligible: () => false }), 5, draws()), []);
    assert.deepEqual(sampler.select(candidatesOf(fleet), 0, draws()), []);
  });

  test(`${says} the same draws, history and state give the same rounds, also across a snapshot`, () => {
    assert.deepEqual(
      live(make(), fleet, 30, (state) => structuredClone(state)),
      live(make(), fleet, 30),
    );
  });

  test(`${says} selecting twice with the same draws gives the same clients and changes nothing`, () => {
    const candidates = candidatesOf(fleet, { history: livedHistory(3), inRound: 9 });
    const before = structuredClone(candidates.history);
    const select = () => sampler.select(candidates, 8, new Rng(4).at("sampler-contract").at(3));
    const first = select();
    sampler.nextState?.(candidates, first);
    assert.deepEqual(select(), first);
    assert.deepEqual(candidates.history, before);
  });

  test(`${says} over many rounds everybody with data gets a turn`, () => {
    const history = makeHistory(60);
    live(sampler, fleet, 400, undefined, history);
    assert.ok(
      history.timesCounted.every((times) => times > 0),
      `${history.timesCounted}`,
    );
  });

  test(`${says} its spec is plain data that makes it again`, () => {
    const again = samplerFromSpec(JSON.parse(JSON.stringify(sampler.spec)) as typeof sampler.spec);
    assert.deepEqual([again.name, again.spec, again.needsLosses], [sampler.name, sampler.spec, sampler.needsLosses]);
    assert.deepEqual(live(again, fleet, 10), live(sampler, fleet, 10));
  });
}

/** Runs rounds of eight in which everyone invited is counted; losses fall with every turn. */
function live(
  sampler: ClientSampler,
  fleet: ReturnType<typeof makeFleet>,
  rounds: number,
  keep: (state: unknown) => unknown = (state) => state,
  history: History = makeHistory(fleet.size),
): ClientId[][] {
  const chosen: ClientId[][] = [];
  let state: unknown;
  for (let inRound = 1; inRound <= rounds; inRound++) {
    const candidates = candidatesOf(fleet, { history, inRound, state });
    const cohort = sampler.select(candidates, 8, new Rng(7).at("sampler-contract", inRound).at(0));
    if (sampler.nextState !== undefined) state = keep(sampler.nextState(candidates, cohort));
    for (const client of cohort) {
      count(history, client, inRound, 1e6 / fleet.tokensPerSecond[client]!, 3 / (1 + history.timesCounted[client]!));
    }
    chosen.push(cohort);
  }
  return chosen;
}

/** Half of the clients were counted in some round up to the eighth. */
function livedHistory(seed: number): History {
  const draws = new Rng(seed).at("sampler-history").at(0);
  const history = makeHistory(60);
  for (const client of draws.sample(60, 30)) {
    count(history, client as ClientId, 1 + draws.below(8), 500 + draws.below(5_000), draws.exponential(2));
  }
  return history;
}
