import assert from "node:assert/strict";
import { test } from "node:test";
import { ScenarioError } from "../../../src/base/errors.ts";
import { minutes } from "../../../src/base/units.ts";
import { iid } from "../../../src/data/partition.ts";
import { file } from "../../../src/data/source.ts";
import { fedbuff, synchronous } from "../../../src/fl/policies/registry.ts";
import { dpfedavg, fedavg, flame } from "../../../src/fl/strategies/registry.ts";
import { configure } from "../../../src/scenario/configure.ts";
import {
  defineScenario,
  type ScenarioInput,
  scenarioFromJson,
  scenarioToJson,
  unusedFields,
} from "../../../src/scenario/define.ts";
import { expectThat, lossFalls } from "../../../src/scenario/expect.ts";
import { crash, hook } from "../../../src/sim/script/effects.ts";
import { at } from "../../../src/sim/script/timeline.ts";
import { threeTiers, timingOnly } from "../../support/scenarios.ts";

const good = {
  name: "good",
  fleet: [...threeTiers],
  rounds: { count: 2, cohort: 4, deadline: minutes(1) },
} satisfies ScenarioInput;

/** What an author without a compiler may write. */
const define = (changes: Record<string, unknown>) => () => defineScenario({ ...good, ...changes } as never);

const fails = (changes: Record<string, unknown>, message: RegExp) =>
  assert.throws(define(changes), (error) => error instanceof ScenarioError && message.test(error.message));

test("what is left out has a default", () => {
  const { data } = defineScenario(good);
  assert.equal(data.seed, 1);
  assert.equal(data.model, "embedded");
  assert.deepEqual(data.lora, { rank: 8, alpha: 16 });
  assert.equal(data.strategy.type, "flame");
  assert.equal(data.rounds.minUpdates, 1);
});

test("a factory's product and its plain data are the same scenario", () => {
  const made = defineScenario({ ...good, strategy: flame({ frequencyExponent: 3 }) });
  const plain = defineScenario({ ...good, strategy: { type: "flame", frequencyExponent: 3 } });
  assert.deepEqual(made.data, plain.data);
});

test("an unknown field is named, with the field that was probably meant", () => {
  fails(
    { rounds: { ...good.rounds, cohrot: 4 } },
    /scenario "good": rounds\.cohrot is not a field .*did you mean cohort\?/,
  );
  const [phone, ...others] = threeTiers;
  fails(
    { fleet: [{ ...phone, dropuot: 0.1 }, ...others] },
    /fleet\[0\]\.dropuot is not a field .*did you mean dropout\?/,
  );
});

test("a mistake says what came and what was expected", () => {
  fails({ seed: -1 }, /seed is -1, expected at least 0/);
  fails({ rounds: { ...good.rounds, count: "ten" } }, /rounds\.count is "ten", expected a number|whole number/);
  fails({ strategy: { type: "flam" } }, /strategy.* is .*"flam".*, expected one of .*"flame"/);
  fails({ fleet: [] }, /fleet is \[\], expected at least 1/);
  fails({ name: "two words" }, /name is "two words", expected letters/);
  fails({ fleet: undefined }, /fleet is missing, expected an array/);
});

test("several mistakes are reported together", () => {
  const [phone, ...others] = threeTiers;
  assert.throws(
    define({ seed: 1.5, fleet: [{ ...phone, clients: 0 }, ...others], rounds: { ...good.rounds, cohort: 0 } }),
    /has 3 mistakes\n {2}seed is 1\.5.*\n {2}fleet\[0\]\.clients is 0.*\n {2}rounds\.cohort is 0/,
  );
});

test("probabilities and rates are checked by those who know what they mean", () => {
  const [phone, ...others] = threeTiers;
  fails({ fleet: [{ ...phone, dropout: 1.2 }, ...others] }, /fleet\[0\]\.dropout is 1\.2, expected a probability/);
  fails({ fleet: [{ ...phone, uplink: 0 }, ...others] }, /fleet\[0\]\.uplink is 0, expected more than 0/);
});

test("a field that belongs to something else is not suggested as itself", () => {
  const [phone, ...others] = threeTiers;
  const tokensPerSecond = { type: "log-normal", median: 3, sigma: 1, mean: 2 };
  fails(
    { fleet: [{ ...phone, tokensPerSecond }, ...others] },
    /tokensPerSecond\.mean is not a field that exists here$/,
  );
});

test("sizes that nobody would mean are refused by their field, and a name is not repeated whole", () => {
  const phone = threeTiers[0];
  fails(
    { fleet: [{ ...phone, name: "n".repeat(5e6) }] },
    /^.{0,60}fleet\[0\]\.name is "n{70,80}…, expected at most 64 in length$/,
  );
  fails({ fleet: [{ ...phone, clients: 1e12 }] }, /fleet\[0\]\.clients is 1000000000000, expected at most 16777216/);
  const shape = { vocabulary: 264, layers: 2, width: 16, heads: 2, experts: 4, expertWidth: 8, topK: 4 };
  for (const [field, most] of [
    ["layers", 512],
    ["experts", 1_024],
    ["width", 2 ** 20],
    ["vocabulary", 2 ** 24],
  ] as const) {
    const model = { ...shape, [field]: 1e9 };
    fails({ timingOnly: true, model }, new RegExp(`model\\.${field} is 1000000000, expected at most ${most}`));
  }
  fails({ timingOnly: true, model: { ...shape, layers: 500, experts: 500 } }, /at most 65536 experts in all layers/);
  fails({ rounds: { count: 1e6, cohort: 4 } }, /rounds\.count is 1000000, expected at most 999999/);
  const timeline = new Array(100_001).fill(at(minutes(1), crash("phone")));
  fails({ world: { timeline } }, /world\.timeline .*expected at most 100000/);
  const battery = { charging: { dayCharges: { perDay: 1e15, meanLength: minutes(1) } } };
  fails({ world: { battery } }, /dayCharges\.perDay is 1000000000000000, expected at most 1440/);
});

test("contradictions between fields are mistakes", () => {
  fails({ rounds: { ...good.rounds, cohort: 25 } }, /rounds\.cohort is 25, but the fleet has 24 clients/);
  fails({ rounds: { ...good.rounds, minUpdates: 5 } }, /rounds\.minUpdates is 5, but a round ends with 4 updates/);
  fails({ fleet: [threeTiers[0], threeTiers[0]] }, /fleet.*"phone"/);
  fails(
    { data: { source: { type: "instructions", examples: 20 } } },
    /data\.partition deals 18 training examples to 24 clients/,
  );
  fails(
    { rounds: { count: 1, cohort: 1, policy: { type: "fedbuff", concurrency: 100 } } },
    /rounds\.policy\.concurrency/,
  );
});

test("a scenario that was written down and read again is the same", () => {
  const scenario = timingOnly({ strategy: fedavg(), expect: [] });
  const again = scenarioFromJson(JSON.parse(scenarioToJson(scenario)));
  assert.deepEqual(again, scenario);
});

test("a scenario with code of its own says so in its file, and the file is not run without it", () => {
  const own = defineScenario({
    ...good,
    world: {
      timeline: [
        at(
          minutes(1),
          hook(() => {}),
        ),
      ],
    },
    expect: [expectThat("all is well", () => true), lossFalls({ by: 0.1 })],
  });
  const json = JSON.parse(scenarioToJson(own)) as { own: string[]; expect: unknown[] };
  assert.deepEqual(json.own, ['expect "all is well"', "function run"]);
  assert.equal(json.expect.length, 1);
  assert.throws(() => scenarioFromJson(json), /came from code that a JSON file cannot hold/);
});

test("the command line changes fields by their path", () => {
  const scenario = defineScenario({ ...good, strategy: flame() });
  const changed = configure(scenario, {
    seed: 9,
    rounds: 3,
    data: "mine.jsonl",
    set: ["fleet[0].dropout=0.5", 'strategy={"type":"fedavg"}', "rounds.deadline=null", "question=why"],
  });
  assert.equal(changed.data.seed, 9);
  assert.equal(changed.data.rounds.count, 3);
  assert.deepEqual(changed.data.data.source, { type: "file", path: "mine.jsonl" });
  assert.equal(changed.data.fleet[0]!.dropout, 0.5);
  assert.equal(changed.data.strategy.type, "fedavg");
  assert.equal(changed.data.rounds.deadline, null);
  assert.equal(changed.data.question, "why");
  assert.equal(scenario.data.seed, 1, "the scenario itself is not changed");
});

test("another data file is read as the scenario's own would have been", () => {
  const data = { source: file("mine.jsonl", { loss: "every" }), partition: iid() };
  const { source } = configure(defineScenario({ ...good, data }), { data: "yours.jsonl" }).data.data;
  assert.deepEqual(source, { type: "file", path: "yours.jsonl", loss: "every" });
});

test("what the command line sets is checked like everything else", () => {
  const scenario = defineScenario(good);
  assert.throws(() => configure(scenario, { set: ["rounds.cohrt=3"] }), /rounds\.cohrt is not a field/);
  assert.throws(() => configure(scenario, { set: ["rounds"] }), /--set rounds: expected key=value/);
  assert.throws(() => configure(scenario, { set: ["fleet[7].budget=1"] }), /there is no element 7 in a list of 3/);
  assert.throws(() => configure(scenario, { set: ["__proto__.x=1"] }), /expected a path/);
});

test("fields of rounds that a policy brings itself are said not to be used", () => {
  const { count, cohort } = timingOnly().data.rounds;
  const policy = fedbuff({ concurrency: 4, buffer: 2 });
  assert.deepEqual(unusedFields(timingOnly({ rounds: { count, cohort, policy } })), []);
  assert.deepEqual(unusedFields(timingOnly({ rounds: { count, cohort, policy, deadline: 60_000, minUpdates: 2 } })), [
    "rounds.deadline is not used: the round policy brings its own",
    "rounds.minUpdates is not used: the round policy brings its own",
  ]);
  assert.deepEqual(unusedFields(timingOnly()), []);
  const strategy = dpfedavg();
  assert.match(
    unusedFields(timingOnly({ strategy })).join(),
    /^rounds\.minUpdates is how many clients have to be there, no more/,
  );
  assert.deepEqual(unusedFields(timingOnly({ strategy, rounds: { count, cohort } })), []);
  const late = synchronous({ cohort, minUpdates: 2 });
  assert.match(
    unusedFields(timingOnly({ strategy, rounds: { count, cohort, policy: late } })).join(),
    /^rounds\.policy\.min/,
  );
});
