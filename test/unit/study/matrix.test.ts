import assert from "node:assert/strict";
import { test } from "node:test";
import { fedbuff } from "../../../src/fl/policies/registry.ts";
import { oort } from "../../../src/fl/samplers/registry.ts";
import { fedavg, hetlora } from "../../../src/fl/strategies/registry.ts";
import { configure } from "../../../src/scenario/configure.ts";
import { scenarioToJson, strategyOf } from "../../../src/scenario/define.ts";
import { loadScenario } from "../../../src/study/load-scenario.ts";
import { type CellPlan, type MatrixSource, planMatrix } from "../../../src/study/matrix/plan.ts";
import { type Axes, matrixOf, plannedStudy } from "../../../src/study/matrix/planned.ts";
import { isHopeless } from "../../../src/study/run-cell.ts";
import { timingOnly, training } from "../../support/scenarios.ts";

const scenario = timingOnly();
const source: MatrixSource = { engine: "auto", source: null };
const axes = (changes: Axes = {}): Axes => ({
  // Without training they differ, since they send different bytes.
  strategies: ["flexlora", "hetlora"],
  dropouts: [0, 0.3],
  seeds: [1, 2, 3],
  ...changes,
});
const planOf = (changes: Axes = {}, scenarios = [scenario], origin = source) =>
  planMatrix(scenarios, matrixOf(axes(changes)), origin);
const cellsOf = (changes: Axes = {}): readonly CellPlan[] => planOf(changes).cells;
const keysOf = (changes: Axes = {}): string[] => cellsOf(changes).map(({ key }) => key);

test("cells that any kind of processor trains are cells of their own, and the study says so", () => {
  const trained = training("embedded");
  const plan = (mixedHardware: boolean, of = trained) => planOf({ seeds: [1] }, [of], { ...source, mixedHardware });
  const [plain, mixed] = [plan(false), plan(true)];
  assert.ok(plain.cells.every(({ key }) => !mixed.cells.some((cell) => cell.key === key)));
  assert.deepEqual(plain.notes, []);
  assert.match(mixed.notes.join(), /last digits may differ/);
  assert.deepEqual(plan(true, scenario).notes, []);
});

test("a strategy that is none is told beside that of the scenario's own", () => {
  const own = timingOnly({ strategy: { ...fedavg(), name: "mine", spec: { type: "mine" } } });
  assert.equal(planOf({ strategies: ["mine", "fedavg"], dropouts: [], seeds: [1] }, [own]).cells[0]!.method, "mine");
  assert.throws(
    () => planOf({ strategies: ["mime"] }, [own]),
    /mime is not the scenario's own, mine, .*; did you mean mine\?\n +expected one of mine, bmsfed/,
  );
});

test("a matrix has a cell for every combination, one seed after the other", () => {
  const plans = cellsOf();
  assert.equal(plans.length, 12);
  assert.deepEqual(
    plans.map(({ seed }) => seed),
    [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3],
  );
  assert.deepEqual(
    plans.slice(0, 4).map(({ method, condition, at }) => [method, condition, at.dropout!.value]),
    [
      ["flexlora", "dropout 0 %", 0],
      ["flexlora", "dropout 30 %", 0.3],
      ["hetlora", "dropout 0 %", 0],
      ["hetlora", "dropout 30 %", 0.3],
    ],
  );
});

test("a cell is the scenario with strategy, seed and every tier's dropout changed, and nothing else", () => {
  const plan = cellsOf().find(({ method, condition }) => method === "hetlora" && condition === "dropout 30 %")!;
  const { data } = plan.scenario;
  assert.equal(data.strategy.type, "hetlora");
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
  const all = {
    policies: ["fedbuff"],
    attackers: ["scaling:share=0.5"],
    samplers: ["round-robin"],
    vary: { seed: [7] },
  };
  for (const { changes, scenario: resolved } of cellsOf(all)) {
    assert.equal(scenarioToJson(configure(scenario, changes)), scenarioToJson(resolved));
  }
});

test("a cell keeps its key while the matrix grows, and gets another when anything in it changes", () => {
  const keys = keysOf();
  assert.equal(new Set(keys).size, keys.length);
  assert.deepEqual(keysOf({ seeds: [1, 2, 3, 4] }).slice(0, 12), keys);
  const wider = new Set(keysOf({ vary: { "rounds.minUpdates": [2, 4] } }));
  assert.ok(
    keys.every((key) => wider.has(key)),
    "2 is what the scenario has",
  );
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
    planOf({}, [of as typeof scenario], { engine: "auto", source: text }).cells.map(({ key }) => key);
  assert.deepEqual(keys(scenario, "// a"), keys(scenario, "// b"));
  assert.notDeepEqual(keys(own, "// a"), keys(own, "// b"));
});

test("equal cells are one, and it is said", () => {
  const { cells, notes } = planOf({ strategies: ["hetlora", "hetlora:experts=own"] });
  assert.equal(cells.length, 6);
  assert.deepEqual(notes, [
    "hetlora stands for hetlora:experts=own, which without training ask the same of clients: it is run once",
  ]);
});

test("without training strategies that only aggregate are run once; with training they are not the same", () => {
  const strategies = ["flame", "fedavg", "krum", "hetlora"];
  const { cells, notes } = planOf({ strategies, dropouts: [], seeds: [1] });
  assert.deepEqual(
    cells.map(({ method }) => method),
    ["flame", "hetlora"],
  );
  assert.deepEqual(notes, [
    "flame stands for fedavg, krum, which without training ask the same of clients: it is run once",
  ]);
  const set = ['data.source={"type":"instructions","examples":200}', "timingOnly=false", 'model="embedded"'];
  const { sizes: _, ...data } = scenario.data.data;
  const trained = { ...scenario, data: { ...scenario.data, data: { ...data, partition: { type: "iid" as const } } } };
  assert.equal(planOf({ strategies, dropouts: [], seeds: [1], set }, [trained]).cells.length, 4);
});

test("one strategy of the author's own goes by its name or type beside the built-in", () => {
  const mine = { ...hetlora(), name: "mine(1)", spec: { type: "mine" } };
  const own = { ...scenario, own: { ...scenario.own, strategy: mine } };
  for (const name of ["mine", "mine(1)"]) {
    const plans = planOf({ strategies: ["flexlora", name], dropouts: [], seeds: [1] }, [own]).cells;
    assert.deepEqual(
      plans.map((plan) => strategyOf(plan.scenario).name),
      ["flexlora", "mine(1)"],
    );
  }
});

test("a sampler and a policy of the author's own stand beside the built-in as well", () => {
  const [policy, sampler] = [
    { ...fedbuff({ concurrency: 2 }), name: "mine" },
    { ...oort(), name: "mine" },
  ];
  const own = { ...scenario, own: { ...scenario.own, policy, sampler } };
  const one = { strategies: [], dropouts: [], seeds: [1] };
  const cells = planOf({ ...one, policies: ["mine", "synchronous"], samplers: ["mine", "uniform"] }, [own]).cells;
  assert.deepEqual(
    cells.map((cell) => [cell.scenario.own.policy?.name, cell.scenario.own.sampler?.name]),
    [
      ["mine", "mine"],
      ["mine", undefined],
      [undefined, "mine"],
      [undefined, undefined],
    ],
  );
  assert.throws(() => planOf({ ...one, samplers: ["mime"] }, [own]), /sampler: mime is not the scenario's own, mine/);
});

test("fields are crossed: where one method is compared with itself they are its rows, else where methods are compared", () => {
  const vary = { "data.sizes.examplesPerClient": [10, 20], "training.learningRate": [1e-3, 3e-3] };
  const alone = planOf({ strategies: [], dropouts: [], seeds: [1], vary });
  assert.deepEqual(
    alone.cells.map(({ method, condition }) => [method, condition]),
    [
      ["examplesPerClient 10 · learningRate 0.001", null],
      ["examplesPerClient 10 · learningRate 0.003", null],
      ["examplesPerClient 20 · learningRate 0.001", null],
      ["examplesPerClient 20 · learningRate 0.003", null],
    ],
  );
  assert.deepEqual(
    alone.cells.map((cell) => cell.scenario.data.training.learningRate),
    [1e-3, 3e-3, 1e-3, 3e-3],
  );
  const several = planOf({ dropouts: [], seeds: [1], vary });
  assert.equal(several.cells.length, 8);
  assert.equal(several.cells[1]!.condition, "examplesPerClient 10 · learningRate 0.003");
  assert.deepEqual(
    several.axes.map(({ id, role }) => [id, role]),
    [
      ["strategy", "method"],
      ["data.sizes.examplesPerClient", "condition"],
      ["training.learningRate", "condition"],
    ],
  );
});

test("a varied field may be an object, and a field that is not there is a mistake before anything runs", () => {
  const partitions = [{ type: "iid" }, { type: "dirichlet", alpha: 0.1 }];
  const set = ["data.sizes.examplesPerClient=20"];
  const plans = cellsOf({ strategies: [], dropouts: [], seeds: [1], set, vary: { "data.partition": partitions } });
  assert.deepEqual(
    plans.map((plan) => plan.scenario.data.data.partition!.type),
    ["iid", "dirichlet"],
  );
  assert.throws(() => keysOf({ vary: { "data.partitoin.alpha": [1] } }), /data.*partitoin/);
});

test("scenarios of one file are rows", () => {
  const other = { ...scenario, data: { ...scenario.data, name: "other" } };
  const { cells, axes: found } = planOf({ strategies: [], dropouts: [0, 0.5], seeds: [1] }, [scenario, other]);
  assert.deepEqual(
    cells.map(({ method, condition, name }) => [method, condition, name]),
    [
      ["timing", "dropout 0 %", "timing"],
      ["timing", "dropout 50 %", "timing"],
      ["other", "dropout 0 %", "other"],
      ["other", "dropout 50 %", "other"],
    ],
  );
  assert.equal(found[0]!.id, "scenario");
});

test("attackers are a share of a fifth unless told, and none is a world without", () => {
  const plans = cellsOf({
    ...{ strategies: [], dropouts: [], seeds: [1] },
    attackers: ["none", "sign-flip", "scaling:factor=5:share=0.3:tier=phone"],
  });
  assert.deepEqual(
    plans.map((plan) => plan.scenario.data.attackers),
    [
      [],
      [{ share: 0.2, attack: { type: "sign-flip", factor: 1 } }],
      [{ share: 0.3, tier: "phone", attack: { type: "scaling", factor: 5 } }],
    ],
  );
  assert.throws(() => keysOf({ attackers: ["sing-flip"] }), /attackers\[0\]\.attack/);
});

test("without strategies and rates the scenario's own are used", () => {
  const [plan] = cellsOf({ strategies: [], dropouts: [], seeds: [9] });
  assert.equal(plan!.method, "flame(t=2)");
  assert.equal(plan!.condition, null);
  assert.deepEqual(plan!.scenario.data.fleet, scenario.data.fleet);
});

test("a policy by its bare name is as large as the scenario's rounds", () => {
  const policies = ["synchronous", "fedbuff", "fedasync:mixing=0.3", "semi-synchronous"];
  const plans = cellsOf({ strategies: [], dropouts: [], seeds: [1], policies });
  assert.deepEqual(
    plans.map((plan) => plan.scenario.data.rounds.policy),
    [
      { type: "synchronous", cohort: 8, deadline: 60_000, minUpdates: 2, overSelection: 1 },
      { type: "fedbuff", concurrency: 8, buffer: 2, timeout: 60_000 },
      { type: "fedasync", concurrency: 8, timeout: 60_000, mixing: 0.3 },
      { type: "semi-synchronous", concurrency: 8, timeout: 60_000, period: 60_000 },
    ],
  );
  assert.equal(plans[1]!.method, "fedbuff");
});

test("a strategy may carry its parameters", () => {
  const [plan] = cellsOf({ strategies: ["flame:frequencyExponent=4"] });
  assert.deepEqual(plan!.scenario.data.strategy, { ...scenario.data.strategy, frequencyExponent: 4 });
  assert.throws(() => keysOf({ strategies: ["flame:4"] }), /expected name or name:key=value/);
});

test("a mistake in one cell is found before any runs", () => {
  assert.throws(() => keysOf({ strategies: ["flame", "fedpox"] }), /strategy/);
  assert.throws(() => keysOf({ dropouts: [0, 1.2] }), /study\.dropouts\[1\] is 1\.2, expected a probability/);
  assert.throws(() => keysOf({ policies: ["fedbuff:concurrency=99"] }), /rounds\.policy\.concurrency is 99/);
});

test("variants are compared like strategies, and conditions apart", () => {
  const variant = (name: string, seed: number) => ({ name, set: [`rounds.minUpdates=${seed}`] });
  const conditions = [0.2, 0.8].map((alpha) => ({ name: `alpha ${alpha}`, set: [`training.epochs=${alpha * 5}`] }));
  const variants = [variant("a", 1), variant("b", 2)];
  const plans = cellsOf({ strategies: ["flame"], dropouts: [], seeds: [1], conditions, variants });
  assert.deepEqual(
    plans.map(({ method, condition, scenario: { data } }) => [
      method,
      condition,
      data.rounds.minUpdates,
      data.training.epochs,
    ]),
    [
      ["a", "alpha 0.2", 1, 1],
      ["a", "alpha 0.8", 1, 4],
      ["b", "alpha 0.2", 2, 1],
      ["b", "alpha 0.8", 2, 4],
    ],
  );
});

/** 6 · 5 · 4 combinations. */
const grid = {
  "rounds.minUpdates": [1, 2, 3, 4, 5, 6],
  "training.epochs": [1, 2, 3, 4, 5],
  "training.batchSize": [4, 8, 16, 32],
};
const drawn = (count: number, by: "random" | "latin", changes: Axes = {}): string[] =>
  cellsOf({ strategies: [], dropouts: [], seeds: [1], vary: grid, sample: { count, by }, ...changes }).map(
    ({ method }) => method,
  );

test("a random sample is the same for any seeds and strategies, and a larger one holds it", () => {
  const few = drawn(20, "random");
  assert.equal(new Set(few).size, 20);
  assert.deepEqual(drawn(40, "random").slice(0, 20), few);
  const other = cellsOf({ dropouts: [], seeds: [5], vary: grid, sample: { count: 20, by: "random" } });
  assert.deepEqual([...new Set(other.map(({ condition }) => condition))], few);
  assert.throws(() => drawn(121, "random"), /a sample of 121 is asked for, but --vary has 120 combinations/);
});

test("in a Latin hypercube every level of every axis comes up equally often, give or take one", () => {
  for (const count of [20, 30, 60]) {
    const found = cellsOf({ strategies: [], dropouts: [], seeds: [1], vary: grid, sample: { count, by: "latin" } });
    assert.equal(found.length, count);
    for (const [field, levels] of Object.entries(grid)) {
      const counts = levels.map((level) => found.filter(({ at }) => at[field]!.value === level).length);
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, `${field}: ${counts} of ${count}`);
    }
  }
});

test("the paper's studies make cells of their scenarios, small ones too", async () => {
  for (const name of ["main-table", "rescaler", "temperature", "normaliser", "clients", "dropouts"]) {
    const { scenarios, study } = await loadScenario(`paper/${name}`);
    const { smoke, ...all } = study!;
    const plans = planMatrix(scenarios, matrixOf(all), source).cells;
    const small = planMatrix(scenarios, matrixOf({ ...all, ...smoke }), source).cells;
    assert.deepEqual(new Set(plans.map(({ seed }) => seed)), new Set([1, 2, 3, 4, 5]), name);
    const rates = (smoke!.dropouts ?? all.dropouts).length / Math.max(1, all.dropouts.length);
    assert.equal(small.length, (plans.length / 5) * (rates || 1), name);
  }
});

test("a study that is none is named with what is wrong", () => {
  assert.equal(plannedStudy(undefined, "a.ts"), null);
  assert.throws(() => plannedStudy({ smoke: { rounds: 1 }, seed: [1] }, "a.ts"), /a\.ts: study\.seed is not a field/);
});

test("a run is without hope when its loss is no number, or twice in a row above the base model's", () => {
  const of = (...losses: number[]) =>
    isHopeless(
      losses.map((loss, round) => ({ round, evaluations: [{ budget: 1, loss, accuracy: 0, exactMatch: 0 }] })),
    );
  assert.ok(!of(2));
  assert.ok(!of(2, 3));
  assert.ok(!of(2, 3, 1.9));
  assert.ok(!of(2, 1.9, 3));
  assert.ok(of(2, 3, 2.1));
  assert.ok(of(2, Number.NaN));
});
