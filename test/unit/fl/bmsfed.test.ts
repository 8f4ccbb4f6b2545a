/** BMSFed: what clients are asked, learn and send. Programs run in float64 on the interpreter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { round as roundOf } from "../../../src/base/ids.ts";
import type { Invited, Plan } from "../../../src/fl/plan.ts";
import { fedavg } from "../../../src/fl/strategies/fedavg.ts";
import { bmsfed } from "../../../src/fl/strategies/modalities/bmsfed.ts";
import type { ServerState, Strategy } from "../../../src/fl/strategy.ts";
import { inOrder } from "../../../src/tasks/steps.ts";
import { probeProgram, type StepOptions, trainingStep } from "../../../src/tasks/training-step.ts";
import { encodeProgram } from "../../../src/tensor/codec.ts";
import { settingOf } from "../../support/quadratic.ts";
import { interpret, type Numbers } from "../../support/reference.ts";
import {
  invited,
  layout,
  normals,
  ofA,
  ofHead,
  ofV,
  parameters,
  part,
  serverOf,
  setting,
  shape,
  task,
} from "../../support/two-view.ts";

const rows = 6;
const options: StepOptions = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, clip: false, decay: true };
const batch = {
  x: normals(2, rows * 7),
  padding: [0, 0, 0, 0, 0, 1],
  positions: [0, 1, 2, 3, 4],
  targets: [0, 1, 2, 1, 0],
  inverseCount: [1 / 5],
};

/** The gradient that a plan's step descends, by an SGD step of 1 without decay. */
function gradientOf(strategy: Strategy, plan: Plan, fed: Numbers = {}): Float64Array {
  const steps = { ...strategy.steps!(plan.kind, setting), optimizer: "sgd" } as const;
  const program = trainingStep(task, plan.kind.variant, { clients: 1, rows, length: 1 }, options, steps);
  const out = interpret(program, { ...batch, parameters, learningRate: [1], decay: [0], ...inputsOf(plan), ...fed });
  return parameters.map((value, i) => value - out.parameters![i]!);
}
const inputsOf = (plan: Plan) => plan.inputs as Numbers;

/** All probes of a plan, each fed what those before it found. */
function probed(strategy: Strategy, plan: Plan, when: "before" | "after", theta = parameters) {
  const steps = strategy.steps!(plan.kind, setting);
  let found: Record<string, Float64Array> = {};
  for (const probe of inOrder(steps[when])) {
    const program = probeProgram(task, plan.kind.variant, { clients: 1, rows, length: 1 }, steps, probe);
    const known = Object.fromEntries(Object.entries(found).map(([name, sums]) => [`found.${name}`, sums]));
    found = { ...found, ...interpret(program, { ...batch, parameters: theta, ...inputsOf(plan), ...known }) };
  }
  return found;
}

const prototypes = (seed: number, known: readonly number[] = [1, 1, 1]) => ({
  prototypes0: normals(seed, 6),
  prototypes1: normals(seed + 1, 6),
  counts0: Float64Array.from(known),
  counts1: Float64Array.from(known),
});
const withPrototypes = (strategy: Strategy, of: ReturnType<typeof prototypes>): ServerState => {
  const server = serverOf(strategy);
  return { ...server, vectors: { ...server.vectors, ...of } };
};

test("with two modalities the prototype loss moves the encoder that lags behind, and the other as without it", () => {
  const strategy = bmsfed();
  const plain = gradientOf(
    strategy,
    { kind: { variant: { views: "av" }, mode: 3, has: 3, warmUp: false } },
    {
      prototypes0: new Float64Array(6),
      known0: [0, 0, 0],
      prototypes1: new Float64Array(6),
      known1: [0, 0, 0],
    },
  );
  const fedavgs = gradientOf({ ...fedavg(), steps: () => ({}) }, { kind: { variant: { views: "av" } }, inputs: {} });
  // No class is known: nothing is added, the masks' −10⁹ included.
  assert.deepEqual(plain, fedavgs);
  const seen = { weakA: 0, weakV: 0 };
  for (let seed = 10; seed < 30; seed++) {
    const server = withPrototypes(strategy, prototypes(seed));
    const plan = strategy.plan!(invited(0, 3), server, setting);
    assert.deepEqual(plan.kind, { variant: { views: "av" }, mode: 3, has: 3, warmUp: false });
    const gradient = gradientOf(strategy, plan);
    assert.deepEqual(part(gradient, ofHead), part(plain, ofHead), "prototypes say nothing of the head");
    const moved = [ofA, ofV].map((range) => part(gradient, range).some((g, i) => g !== part(plain, range)[i]));
    assert.equal(moved[0] !== moved[1], true, `prototypes ${seed}: one of two encoders is helped`);
    seen[moved[0] ? "weakA" : "weakV"]++;
    // Which one, by loops.
    const scores = ["a", "v"].map((_, m) => scoreOf(server.vectors[`prototypes${m}`]! as Float64Array, m));
    assert.equal(moved[0], scores[0]! < scores[1]!, `prototypes ${seed}`);
  }
  assert.ok(seen.weakA > 0 && seen.weakV > 0, JSON.stringify(seen));
});

/** Features of all rows that are examples, by loops. */
function featuresOf(modality: number, theta: ArrayLike<number> = parameters): number[][] {
  const width = shape.inputs[modality]!;
  let at = modality === 0 ? ofA.start : ofV.start;
  const matrix = (height: number, columns: number) =>
    Array.from({ length: height }, () => Array.from({ length: columns }, () => theta[at++]!));
  const [w1, b1, w2, b2] = [matrix(width, 5), matrix(1, 5), matrix(5, 2), matrix(1, 2)];
  const product = (row: readonly number[], m: number[][], bias: number[]) =>
    bias.map((b, column) => row.reduce((sum, value, i) => sum + value * m[i]![column]!, b));
  return batch.positions.map((row) => {
    const x = [...batch.x.slice(7 * row + (modality === 0 ? 0 : 3), 7 * row + (modality === 0 ? 3 : 7))];
    return product(
      product(x, w1, b1[0]!).map((h) => Math.max(0, h)),
      w2,
      b2[0]!,
    );
  });
}

const softmaxBy = (feature: readonly number[], means: Float64Array) => {
  const near = [0, 1, 2].map((y) => Math.exp(-Math.hypot(...feature.map((value, i) => value - means[2 * y + i]!))));
  return near.map((value) => value / near.reduce((a, b) => a + b));
};
const scoreOf = (means: Float64Array, modality: number): number =>
  featuresOf(modality).reduce((sum, feature, i) => sum + softmaxBy(feature, means)[batch.targets[i]!]!, 0);

test("with one modality both encoders' parts are as they should be: its loss by differences, the other's exactly zero", () => {
  const strategy = bmsfed({ alpha: 0.7 });
  const server = withPrototypes(strategy, prototypes(3));
  for (const [mode, range, other, modality] of [
    [1, ofA, ofV, 0],
    [2, ofV, ofA, 1],
  ] as const) {
    const plan = strategy.plan!(invited(0, 3, { chosen: mode }), server, setting);
    assert.deepEqual(Object.keys(plan.inputs!), [`prototypes${modality}`, `known${modality}`]);
    const gradient = gradientOf(strategy, plan);
    assert.ok(
      part(gradient, other).every((g) => g === 0),
      "the other encoder",
    );
    const alone = { ...fedavg(), steps: () => ({}) };
    const plain = gradientOf(alone, { kind: plan.kind, inputs: {} });
    assert.deepEqual(part(gradient, ofHead), part(plain, ofHead));
    const means = server.vectors[`prototypes${modality}`] as Float64Array;
    const lossAt = (theta: ArrayLike<number>) =>
      featuresOf(modality, theta).reduce(
        (sum, feature, i) => sum - Math.log(softmaxBy(feature, means)[batch.targets[i]!]!) / 5,
        0,
      );
    for (let i = range.start; i < range.end; i += 3) {
      const [up, down] = [1e-5, -1e-5].map((h) => lossAt(parameters.with(i, parameters[i]! + h)));
      const added = (0.7 * (up! - down!)) / 2e-5;
      assert.ok(Math.abs(gradient[i]! - plain[i]! - added) < 1e-8, `parameter ${i}`);
    }
  }
});

test("an encoder that rests is not decayed, and keeps every bit through AdamW", () => {
  const strategy = bmsfed();
  const plan = strategy.plan!(invited(0, 1), withPrototypes(strategy, prototypes(3)), setting);
  const steps = strategy.steps!(plan.kind, setting);
  const program = trainingStep(task, plan.kind.variant, { clients: 1, rows, length: 1 }, options, steps);
  const zeros = new Float64Array(layout.size);
  const moments = { parametersMean: zeros.map(() => 0.1), parametersVariance: zeros.map(() => 0.1) };
  const rates = { learningRate: [0.1], decay: [0.01], correction1: [10], correction2: [1000] };
  const out = interpret(program, { ...batch, ...moments, ...rates, parameters, ...inputsOf(plan) });
  assert.deepEqual(part(out.parameters!, ofV), part(parameters, ofV));
  assert.ok(part(out.parameters!, ofA).every((value, i) => value !== part(parameters, ofA)[i]));
});

test("probes find class means, and who is nearest to its own, by loops; a warm-up before its steps, a round after them", () => {
  const strategy = bmsfed();
  const server = serverOf(strategy);
  for (const [round, when] of [
    [0, "before"],
    [1, "after"],
  ] as const) {
    const plan = strategy.plan!(invited(0, 3, { round: roundOf(round) }), server, setting);
    const found = probed(strategy, plan, when);
    assert.deepEqual([...found.counts!], [2, 2, 1]);
    const right = [0, 1].map((modality) => {
      const features = featuresOf(modality);
      const means = new Float64Array(6);
      for (const [i, feature] of features.entries()) {
        for (const [j, value] of feature.entries()) {
          means[2 * batch.targets[i]! + j]! += value / found.counts![batch.targets[i]!]!;
        }
      }
      const sums = found[`sums${modality}`]!;
      for (const [i, mean] of means.entries()) {
        assert.ok(Math.abs(sums[i]! / found.counts![i >> 1]! - mean) < 1e-12, `modality ${modality}, mean ${i}`);
      }
      const nearest = features.map((feature) => {
        const near = softmaxBy(feature, means);
        return near.indexOf(Math.max(...near));
      });
      return nearest.filter((y, i) => y === batch.targets[i]).length;
    });
    assert.deepEqual([found.right0![0], found.right1![0]], right);
    const { sent } = strategy.reply!({ found } as never, plan, invited(0, 3), setting);
    assert.equal(sent!.rho, right[0]! / right[1]!);
    assert.equal((plan.effort ?? 1) * 4, round === 0 ? 1 : 4, "a warm-up is one epoch");
  }
  // In the prelude steps go by the client's own prototypes, which the program asks the probes for.
  const warm = strategy.plan!(invited(0, 3, { round: roundOf(0) }), server, setting);
  const program = trainingStep(
    task,
    warm.kind.variant,
    { clients: 1, rows, length: 1 },
    options,
    strategy.steps!(warm.kind, setting),
  );
  assert.deepEqual(
    Object.keys(program.inputs)
      .filter((name) => name.startsWith("found."))
      .sort(),
    ["found.counts", "found.sums0", "found.sums1"],
  );
});

test("how a client's modalities compare is kept within bounds, and one that has one of them says nothing", () => {
  const strategy = bmsfed({ mostImbalance: 4 });
  const plan = (budget: number) => strategy.plan!(invited(0, budget), serverOf(strategy), setting);
  const rho = (a: number, v: number) => {
    const [right0, right1] = [Float64Array.of(a), Float64Array.of(v)];
    const sums = new Float64Array(6);
    const found = { counts: Float64Array.of(1, 1, 1), sums0: sums, sums1: sums, right0, right1 };
    return strategy.reply!({ found } as never, plan(3), invited(0, 3), setting).sent!.rho;
  };
  assert.deepEqual([rho(9, 3), rho(3, 0), rho(0, 0), rho(0, 3), rho(20, 1)], [3, 4, 1, 0.25, 4]);
  const found = { counts: Float64Array.of(2, 0, 1), sums0: Float64Array.of(2, 4, 0, 0, 5, 6) };
  const { sent } = strategy.reply!({ found } as never, plan(1), invited(0, 1), setting);
  assert.deepEqual(sent, { prototypes0: Float64Array.of(1, 2, 0, 0, 5, 6), counts: found.counts });
});

test("without the prototype loss a client of both modalities runs FedAvg's program", () => {
  const strategy = bmsfed({ alpha: 0, threshold: 10 });
  const plan = strategy.plan!(invited(0, 3), serverOf(strategy), setting);
  assert.deepEqual(plan.inputs, {});
  const digest = (steps: object) =>
    encodeProgram(trainingStep(task, { views: "av" }, { clients: 1, rows, length: 1 }, options, steps)).digest;
  assert.equal(digest(strategy.steps!(plan.kind, setting)), digest({}));
  assert.notEqual(digest(bmsfed({ momentum: 0.9 }).steps!(plan.kind, setting)), digest({}));
});

test("bytes: what a client has comes down, what it trains goes up, and prototypes with either", () => {
  const strategy = bmsfed();
  const bytes = (budget: number, given: Partial<Invited> = {}) =>
    strategy.plan!(invited(0, budget, given), serverOf(strategy), setting).bytes;
  const [a, v, head] = [ofA, ofV, ofHead].map(({ start, end }) => end - start) as [number, number, number];
  const [means, known] = [6, 3];
  assert.deepEqual(bytes(3), {
    down: 4 * (a + v + head + 2 * (means + known)),
    up: 4 * (a + v + head + 2 * means + 3) + 8,
  });
  assert.deepEqual(bytes(3, { chosen: 1 }), {
    down: 4 * (a + v + head + means + known),
    up: 4 * (a + head + 2 * means + 3) + 8,
  });
  assert.deepEqual(bytes(2, { chosen: 1 }), { down: 4 * (v + head + means + known), up: 4 * (v + head + means + 3) });
  assert.deepEqual(bytes(3, { round: roundOf(0) }), {
    down: 4 * (a + v + head),
    up: 4 * (a + v + head + 2 * means + 3) + 8,
  });
});

test("compression around it is refused: of a training that is thrown away nothing may be owed", () => {
  assert.throws(() => bmsfed({ compress: {} }), /bmsfed throws away what clients learn in its prelude/);
});

test("a task of one modality, and a fleet whose gradients would not fit, are refused with what is wrong", () => {
  const one = settingOf({ size: 4, groups: [{ name: "all", ranges: [{ start: 0, end: 4 }] }], pairs: [] });
  assert.throws(
    () => bmsfed().plan!(invited(0, 1), serverOf(bmsfed()), one),
    /strategy bmsfed balances two modalities/,
  );
  assert.deepEqual(bmsfed().problems!(setting), []);
  const [problem] = bmsfed().problems!({ ...setting, clients: 20_000 });
  assert.match(problem!.text, /of 20000 clients, 9 GiB; expected at most 4/);
});
