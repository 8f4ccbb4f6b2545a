/** What every strategy owes the simulator, by the suite that is exported for strategies of one's own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fedavg, strategies, strategyFromSpec } from "../../src/fl/strategies/registry.ts";
import type { Strategy, StrategySampler } from "../../src/fl/strategy.ts";
import { type Finding, testStrategy } from "../../src/testing/strategy.ts";
import { allStrategies } from "../support/all-strategies.ts";
import { firstSeed } from "../support/swarm/commit-seed.ts";

/** One for each task, and a sixth of the others, which moves on with each commit; all of them are in the long part. */
const { seed } = firstSeed();
const needs = allStrategies.map(([make]) => (make().needs ?? []).join());
const some = allStrategies.filter((_, at) => at === needs.indexOf(needs[at]!) || (at + seed) % 6 === 0);

const titleOf = ({ name, spec }: Strategy): string => `${name} ${JSON.stringify(spec)}`;

for (const [make, promises] of some) {
  test(`${titleOf(make())} keeps what every strategy owes`, async () => {
    assert.deepEqual(failures(await testStrategy(make, promises, { realRound: false })), []);
  });
}

for (const [make] of allStrategies) {
  test(`${titleOf(make())}: its spec is plain data that makes it again`, () => {
    const strategy = make();
    const again = strategyFromSpec(JSON.parse(JSON.stringify(strategy.spec)) as typeof strategy.spec);
    assert.deepEqual([again.name, again.spec], [strategy.name, strategy.spec]);
  });
}

test("every strategy there is goes through the suite", () => {
  const tested = new Set(allStrategies.map(([make]) => make().spec.type));
  assert.deepEqual(
    [...strategies.entries.keys()].filter((type) => !tested.has(type)),
    [],
  );
});

/** Begins with everybody, and invites in turn; who is told that its number is odd trains with another rate. */
const choosing = (select: StrategySampler["select"]): Strategy => ({
  ...fedavg(),
  name: "choosing",
  spec: { type: "choosing" },
  prelude: true,
  sampler: { select },
  plan: ({ budget, round, chosen = null }, _server, setting) => ({
    kind: { variant: setting.variant(budget) },
    learningRate: round === 0 || (chosen as number) % 2 === 1 ? 0.01 : 0.02,
  }),
});
const inTurn: StrategySampler["select"] = ({ eligible, count, memory }) => {
  const turn = (memory ?? 0) as number;
  const clients = Array.from({ length: Math.min(count, eligible.length) }, (_, i) => ({
    client: eligible[(turn + i) % eligible.length]!,
    notes: turn + i,
  }));
  return { clients, memory: turn + clients.length };
};

test("a strategy with a prelude and a sampler of its own goes through the suite, and a bad sampler is found out", async () => {
  const found = (select: StrategySampler["select"]) => testStrategy(() => choosing(select), {}, { realRound: false });
  assert.deepEqual(failures(await found(inTurn)), []);
  let calls = 0;
  const bad: [StrategySampler["select"], RegExp][] = [
    [
      (from, setting, draws) => ({
        ...inTurn(from, setting, draws),
        clients: inTurn(from, setting, draws).clients.slice(1),
      }),
      /2 of 3|3 of 8/,
    ],
    [(from, setting, draws) => ({ ...inTurn(from, setting, draws), memory: calls++ }), /same selection/],
    [
      (from, setting, draws) => ({
        ...inTurn(from, setting, draws),
        clients: inTurn(from, setting, draws).clients.map((_, i, all) => all[i === 1 ? 0 : i]!),
      }),
      /nobody is chosen twice/,
    ],
  ];
  for (const [select, problem] of bad) assert.match(failures(await found(select)).join("\n"), problem);
});

const failures = (findings: readonly Finding[]): string[] =>
  findings.flatMap(({ check, problem }) => (problem === null ? [] : [`${check}: ${problem}`]));
