import assert from "node:assert/strict";
import { test } from "node:test";
import { configure } from "../../../src/scenario/configure.ts";
import { scenarioToJson } from "../../../src/scenario/define.ts";
import { loadScenario } from "../../../src/study/load-scenario.ts";
import { cellPlans, type Matrix } from "../../../src/study/matrix.ts";
import { plannedStudy } from "../../../src/study/planned.ts";
import { timingOnly } from "../../support/scenarios.ts";

const scenario = timingOnly();
const source = { engine: "auto", source: null };
const matrix = (changes: Partial<Matrix> = {}): Matrix => ({
  strategies: ["flame", "fedavg"],
  policies: [],
  dropouts: [0, 0.3],
  seeds: [1, 2, 3],
  ...changes,
});
const keysOf = (changes: Partial<Matrix> = {}) => cellPlans(scenario, matrix(changes), source).map((p) => p.key);

test("a matrix has a cell for every combination, one seed after the other", () => {
  const plans = cellPlans(scenario, matrix(), source);
  assert.equal(plans.length, 12);
  assert.deepEqual(
    plans.map(({ seed }) => seed),
    [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3],
  );
  assert.deepEqual(
    plans.slice(0, 4).map(({ label, dropout }) => `${label} ${dropout}`),
    ["flame 0", "flame 0.3", "fedavg 0", "fedavg 0.3"],
  );
});

test("a cell is the scenario with strategy, seed and every tier's dropout changed, and nothing else", () => {
  const plan = cellPlans(scenario, matrix(), source).find(({ label, dropout }) => label === "fedavg" && dropout > 0)!;
  const { data } = plan.scenario;
  assert.equal(data.strategy.type, "fedavg");
  assert.deepEqual(
    data.fleet.map(({ dropout }) => dropout),
    [0.3, 0.3, 0.3],
  );
  const restored = {
    ...data,
    strategy: scenario.data.strategy,
    fleet: data.fleet.map((tier, i) => ({ ...tier, dropout: scenario.data.fleet[i]!.dropout })),
  };
  assert.deepEqual(JSON.parse(JSON.stringify(restored)), JSON.parse(JSON.stringify(scenario.data)));
});

test("the changes of a cell give the same run from the command line", () => {
  for (const { changes, scenario: resolved } of cellPlans(scenario, matrix({ policies: ["fedbuff"] }), source)) {
    assert.equal(scenarioToJson(configure(scenario, changes)), scenarioToJson(resolved));
  }
});

test("a cell keeps its key while the matrix grows, and gets another when anything in it changes", () => {
  const keys = keysOf();
  assert.equal(new Set(keys).size, keys.length);
  assert.deepEqual(keysOf({ seeds: [1, 2, 3, 4] }).slice(0, 12), keys);
  for (const change of [{ rounds: 2 }, { set: ["rounds.minUpdates=1"] }, { policies: ["fedasync"] }]) {
    assert.ok(
      keysOf(change).every((key) => !keys.includes(key)),
      JSON.stringify(change),
    );
  }
});

test("code that a scenario is made of is part of its cells' keys; a comment beside plain data is not", () => {
  const own = { ...scenario, own: { ...scenario.own, expect: [{ claim: "x", spec: null, needsTraining: false }] } };
  const keys = (of: object, text: string) =>
    cellPlans(of as typeof scenario, matrix(), { engine: "auto", source: text }).map(({ key }) => key);
  assert.deepEqual(keys(scenario, "// a"), keys(scenario, "// b"));
  assert.notDeepEqual(keys(own, "// a"), keys(own, "// b"));
});

test("equal cells are one", () => {
  assert.equal(keysOf({ strategies: ["flame", "flame:frequencyExponent=2"] }).length, 6);
});

test("without strategies and rates the scenario's own are used, under its mean dropout", () => {
  const [plan] = cellPlans(scenario, matrix({ strategies: [], dropouts: [], seeds: [9] }), source);
  assert.equal(plan!.label, "flame(t=2)");
  // 12 of 24 clients drop out with probability 0.2.
  assert.ok(Math.abs(plan!.dropout - 0.1) < 1e-12);
});

test("a policy by its bare name is as large as the scenario's rounds", () => {
  const policies = ["synchronous", "fedbuff", "fedasync:mixing=0.3", "semi-synchronous"];
  const plans = cellPlans(scenario, matrix({ strategies: [], dropouts: [], seeds: [1], policies }), source);
  assert.deepEqual(
    plans.map((plan) => plan.scenario.data.rounds.policy),
    [
      { type: "synchronous", cohort: 8, deadline: 60_000, minUpdates: 2, overSelection: 1 },
      { type: "fedbuff", concurrency: 8, buffer: 2, timeout: 60_000 },
      { type: "fedasync", concurrency: 8, timeout: 60_000, mixing: 0.3 },
      { type: "semi-synchronous", concurrency: 8, timeout: 60_000, period: 60_000 },
    ],
  );
  assert.match(plans[1]!.label, /fedbuff\(8\/2\)/);
});

test("a strategy may carry its parameters", () => {
  const [plan] = cellPlans(scenario, matrix({ strategies: ["flame:frequencyExponent=4"] }), source);
  assert.deepEqual(plan!.scenario.data.strategy, { ...scenario.data.strategy, frequencyExponent: 4 });
  assert.throws(() => keysOf({ strategies: ["flame:4"] }), /expected name or name:key=value/);
});

test("a mistake in one cell is found before any runs", () => {
  assert.throws(() => keysOf({ strategies: ["flame", "fedpox"] }), /strategy/);
  assert.throws(() => keysOf({ dropouts: [0, 1.2] }), /fleet\[0\]\.dropout is 1\.2, expected a (?:number|probability)/);
  assert.throws(() => keysOf({ policies: ["fedbuff:concurrency=99"] }), /rounds\.policy\.concurrency is 99/);
});

test("variants are compared like strategies, and conditions apart", () => {
  const variant = (name: string, seed: number) => ({ name, set: [`rounds.minUpdates=${seed}`] });
  const conditions = [0.2, 0.8].map((alpha) => ({ name: `alpha ${alpha}`, set: [`training.epochs=${alpha * 5}`] }));
  const plans = cellPlans(
    scenario,
    matrix({
      strategies: ["flame"],
      dropouts: [],
      seeds: [1],
      conditions,
      variants: [variant("a", 1), variant("b", 2)],
    }),
    source,
  );
  assert.deepEqual(
    plans.map(({ label, condition, scenario: { data } }) => [
      label,
      condition,
      data.rounds.minUpdates,
      data.training.epochs,
    ]),
    [
      ["a", "alpha 0.2", 1, 1],
      ["b", "alpha 0.2", 2, 1],
      ["a", "alpha 0.8", 1, 4],
      ["b", "alpha 0.8", 2, 4],
    ],
  );
});

test("the paper's studies make cells of their scenarios, small ones too", async () => {
  for (const name of ["main-table", "rescaler", "temperature", "normaliser", "clients", "dropouts"]) {
    const { scenarios, study } = await loadScenario(`paper/${name}`);
    const { smoke, ...all } = study!;
    const plans = cellPlans(scenarios[0]!, { ...all, policies: [], dropouts: [] }, source);
    const small = cellPlans(scenarios[0]!, { ...all, ...smoke, policies: [], dropouts: [] }, source);
    assert.deepEqual(new Set(plans.map(({ seed }) => seed)), new Set([1, 2, 3, 4, 5]), name);
    assert.equal(small.length, plans.length / 5, name);
  }
});

test("a study that is none is named with what is wrong", () => {
  assert.equal(plannedStudy(undefined, "a.ts"), null);
  assert.throws(() => plannedStudy({ smoke: { rounds: 1 }, seed: [1] }, "a.ts"), /a\.ts: study: .*seed/s);
});
