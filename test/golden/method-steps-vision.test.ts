/**
 * What methods make of a client's step on images: three steps of the program that their graph pieces become, against float64
 * loops of the network whose gradients are central differences of what the paper minimises. The tolerance is that of
 * `method-steps.long.test.ts`.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { emptyMemory, type Plan, usual } from "../../src/fl/plan.ts";
import {
  ccfao,
  embracingfl,
  fedavg,
  fednova,
  fedprox,
  fedvra,
  mix,
  scaffold,
  splitMix,
} from "../../src/fl/strategies/registry.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import { trainingStep } from "../../src/tasks/training-step.ts";
import { visionTask } from "../../src/tasks/vision/task.ts";
import { plainLogits } from "../support/plain-vision.ts";
import { settingOf } from "../support/quadratic.ts";
import { interpret } from "../support/reference.ts";

const image = { height: 2, width: 2, channels: 1 };
const pixels = 4;
const classes = 4;
const networks = [
  { network: { type: "mlp", hidden: [3, 3] }, image, classes },
  { network: { type: "cnn", channels: [2, 2] }, image, classes },
] as const;
type Model = (typeof networks)[number];
const rows = 4;
const rate = 0.05;
/** A large ε: where a gradient is near 0, its sign does not decide. */
const adam = { beta1: 0.9, beta2: 0.99, epsilon: 1e-2, clip: false, decay: false };

const draws = (purpose: string) => new Rng(5).at(purpose).at(0);
const normals = (purpose: string, size: number, scale: number) => {
  const from = draws(purpose);
  return Float64Array.from({ length: size }, () => scale * from.normal());
};
/** Pixels in [0, 1], and labels that leave one class out. */
const batches = [0, 1, 2].map((step) => {
  const from = draws(`batch ${step}`);
  return {
    x: Array.from({ length: rows * pixels }, () => from.uniform()),
    targets: Array.from({ length: rows }, () => from.below(classes - 1)),
  };
});
type Batch = (typeof batches)[number];

const logSum = (z: readonly number[]): number => Math.log(z.reduce((sum, value) => sum + Math.exp(value), 0));
const logitsOf = (model: Model, at: Float64Array, { x }: Batch): number[][] =>
  batches[0]!.targets.map((_, row) => plainLogits(model, at, x.slice(row * pixels, (row + 1) * pixels)));
/** Mean cross-entropy, each row weighted, of what `seen` makes of its logits. */
const lossOf = (
  model: Model,
  at: Float64Array,
  batch: Batch,
  seen = (z: readonly number[]) => z,
  weights: readonly number[] = [1, 1, 1, 1],
): number =>
  logitsOf(model, at, batch).reduce((sum, logits, row) => {
    const z = seen(logits);
    return sum + (weights[row]! * (logSum(z) - z[batch.targets[row]!]!)) / rows;
  }, 0);

/** What is minimised on a batch; what does not depend on where it is evaluated is worked out at `from`. */
type Objective = (model: Model, batch: Batch, from: Float64Array) => (at: Float64Array) => number;
type Optimizer = "adamw" | "sgd" | { readonly momentum: number };

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
const half = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / 2;
const plain: Objective = (model, batch) => (at) => lossOf(model, at, batch);
const near =
  (mu: number): Objective =>
  (model, batch) =>
  (at) =>
    lossOf(model, at, batch) + mu * half(at, startOf(model));
const startOf = (model: Model) => normals("parameters", visionTask(model).layout.size, 0.5);
const vectorOf = (model: Model, name: string) => normals(name, visionTask(model).layout.size, 0.1);

/** Three steps in plain loops; coordinates that `rests` says stay as they are. */
function byLoops(model: Model, objective: Objective, optimizer: Optimizer, by: number, rests: (i: number) => boolean) {
  let now: Float64Array = startOf(model);
  const [m, v] = [new Float64Array(now.length), new Float64Array(now.length)];
  for (const [step, batch] of batches.entries()) {
    const f = objective(model, batch, now);
    const gradient = now.map((value, i) => (f(now.with(i, value + 1e-4)) - f(now.with(i, value - 1e-4))) / 2e-4);
    now = now.map((value, i) => {
      const g = gradient[i]!;
      if (rests(i)) return value;
      if (optimizer === "sgd") return value - by * g;
      if (typeof optimizer === "object") {
        m[i] = optimizer.momentum * m[i]! + g;
        return value - by * m[i]!;
      }
      m[i] = adam.beta1 * m[i]! + (1 - adam.beta1) * g;
      v[i] = adam.beta2 * v[i]! + (1 - adam.beta2) * g * g;
      const [mHat, vHat] = [m[i]! / (1 - adam.beta1 ** (step + 1)), v[i]! / (1 - adam.beta2 ** (step + 1))];
      return value - (by * mHat) / (Math.sqrt(vHat) + adam.epsilon);
    });
  }
  return now;
}

/** The same three steps by the program that the method's pieces are part of. */
function byProgram(strategy: Strategy, model: Model): Float64Array {
  const task = visionTask({ ...model, norms: strategy.shape?.norms ?? 1 });
  const { size } = task.layout;
  const setting = settingOf(task.layout, { rate, budgets: [1, 2, 3], variant: task.budget.variant });
  const start = startOf(model);
  const lambda = vectorOf(model, "lambda");
  const server: ServerState = {
    parameters: Float32Array.from(start),
    vectors: {
      c: vectorOf(model, "c"),
      lbar: vectorOf(model, "lbar"),
      "lambda:0": lambda,
      "counted:0": Float64Array.of(1),
    },
    notes: null,
  };
  const view = {
    ...{ client: clientId(0), budget: 3, examples: rows, round: round(2), draws, participation: participationId(0) },
    memory: { ...emptyMemory, vectors: { ci: vectorOf(model, "ci") } },
  };
  const budget = strategy.name.startsWith("embracing") ? 2 : 3;
  const plan: Plan = strategy.plan?.({ ...view, budget }, server, setting) ?? usual(view, setting);
  const steps = strategy.steps?.(plan.kind, setting) ?? {};
  const program = trainingStep(task, plan.kind.variant, { clients: 1, rows, length: 1 }, adam, steps);
  const fed = Object.entries(plan.inputs ?? {}).map(([name, value]) => [
    name,
    typeof value === "number" ? [value] : value,
  ]);
  let state: Record<string, ArrayLike<number>> = Object.fromEntries(
    Object.keys(program.inputs).map((name) => [name, new Float64Array(size)]),
  );
  state = { ...state, parameters: start };
  for (const [step, { x, targets }] of batches.entries()) {
    const feeds = {
      ...state,
      ...Object.fromEntries(fed),
      ...{ x, targets, padding: [0, 0, 0, 0], positions: [0, 1, 2, 3], inverseCount: [1 / rows], start },
      learningRate: [plan.learningRate ?? rate],
      correction1: [1 / (1 - adam.beta1 ** (step + 1))],
      correction2: [1 / (1 - adam.beta2 ** (step + 1))],
    };
    state = { ...state, ...interpret(program, feeds) };
  }
  return state.parameters as Float64Array;
}

/** Σ w·CE ÷ targets, with w = λ for images whose energy is below the order statistic; w does not move. */
const flooded =
  (lambda: number, quantile: number): Objective =>
  (model, batch, from) => {
    const energies = logitsOf(model, from, batch).map(logSum);
    const threshold = energies.toSorted((a, b) => a - b)[Math.floor(quantile * (rows - 1))]!;
    const weights = energies.map((energy) => (energy < threshold ? lambda : 1));
    return (at) => lossOf(model, at, batch, undefined, weights);
  };

/** Logits of classes that a batch does not have count as 0, all are divided. */
const masked: Objective = (model, batch) => (at) =>
  lossOf(model, at, batch, (logits) => logits.map((z, label) => (batch.targets.includes(label) ? z / 2 : 0)));

const none = () => false;
const cases: readonly (readonly [
  Strategy,
  Objective,
  Optimizer,
  number?,
  ((model: Model) => (i: number) => boolean)?,
])[] = [
  [fedavg(), plain, "adamw"],
  [fedprox({ mu: 0.5 }), near(0.5), "adamw"],
  [mix({ rho: 0.5 }), near(0.5), "adamw"],
  [
    scaffold(),
    (model, batch) => (at) => lossOf(model, at, batch) + dot(at, vectorOf(model, "c")) - dot(at, vectorOf(model, "ci")),
    "sgd",
  ],
  [fednova({ momentum: 0.9, localLearningRate: 0.1 }), plain, { momentum: 0.9 }, 0.1],
  [
    fedvra({ gamma: 0.5, localLearningRate: 0.1 }),
    (model, batch) => (at) => near(0.5)(model, batch, at)(at) + dot(at, vectorOf(model, "lambda")),
    "sgd",
    0.1,
  ],
  [ccfao(), plain, "sgd"],
  [fedavg({ flood: { schedule: "constant", amplitude: 3 } }), flooded(3, 0.7), "adamw"],
  [splitMix({ bases: 1, minOne: true, maskedLoss: true, temperature: 2 }), masked, "adamw"],
  [
    embracingfl(),
    plain,
    "adamw",
    rate,
    // Two of three blocks train.
    (model) => (i) => i < visionTask(model).layout.groups[1]!.ranges[0]!.start,
  ],
];

for (const model of networks) {
  for (const [strategy, objective, optimizer, by = rate, rests = () => none] of cases) {
    test(`${model.network.type}, ${strategy.name} ${JSON.stringify(strategy.spec)}: three steps are those of plain loops`, () => {
      const [found, expected] = [byProgram(strategy, model), byLoops(model, objective, optimizer, by, rests(model))];
      for (const [i, value] of expected.entries()) {
        const gap = Math.abs(found[i]! - value);
        assert.ok(gap <= 1e-5 * Math.max(Math.abs(value), 1e-2), `number ${i} is ${found[i]}, expected ${value}`);
      }
    });
  }
}
