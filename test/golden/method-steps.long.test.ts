/**
 * What methods make of a client's step, on a small language model in float64: three steps of the program that their graph
 * pieces become, against plain loops whose gradients are central differences of what the paper minimises.
 *
 * Differences of 1e-4 are wrong by 1e-8 or so relative to a gradient of 1; 1e-5 leaves room for three steps of that.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId, participationId, round } from "../../src/base/ids.ts";
import { Rng } from "../../src/base/random.ts";
import { emptyMemory, type Plan, usual } from "../../src/fl/plan.ts";
import {
  ccfao,
  fedavg,
  fednova,
  fedprox,
  fedvra,
  hetlora,
  mix,
  otaffl,
  qffl,
  scaffold,
  strategies,
} from "../../src/fl/strategies/registry.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import { llmTask } from "../../src/tasks/llm/task.ts";
import { inOrder, type Steps } from "../../src/tasks/steps.ts";
import { evaluationProgram, probeProgram, trainingStep } from "../../src/tasks/training-step.ts";
import { settingOf } from "../support/quadratic.ts";
import { interpret } from "../support/reference.ts";
import { batchNumbers, batchOf, randomTokens, randomWeights, smallModel } from "../support/small-model.ts";

const config = { ...smallModel, layers: 1, width: 4, heads: 1, keyValueHeads: 1, experts: 3, expertWidth: 2, topK: 2 };
const task = llmTask({ config, lora: { rank: 1, alpha: 2 }, form: "factored" });
const { size } = task.layout;
const weights = Object.fromEntries(randomWeights(config));
const shape = { rows: 4, length: 6 };
const variant = { topK: 2 };
const steps = 3;
const rate = 0.05;
const personalRate = 0.02;
/** A large ε: where a gradient is near 0, its sign does not decide. */
const adam = { beta1: 0.9, beta2: 0.99, epsilon: 1e-2, clip: false, decay: false };

const draws = (purpose: string) => new Rng(7).at(purpose).at(0);
const normals = (purpose: string, scale: number) => {
  const from = draws(purpose);
  return Float64Array.from({ length: size }, () => scale * from.normal());
};
const batches = Array.from({ length: steps }, (_, step) => {
  const from = draws(`batch ${step}`);
  return batchOf(
    Array.from({ length: shape.rows }, (_row, at) => randomTokens(from, 3 + at)),
    shape.length,
  );
});
const start = { parameters: normals("parameters", 0.3), personal: Float64Array.of(0.9) };
/** What the server and the client remember when the client is invited. */
const [c, ci, lambda] = [normals("c", 0.1), normals("ci", 0.1), normals("lambda", 0.1)];

interface Point {
  readonly parameters: Float64Array;
  readonly personal: Float64Array;
}

type Batch = (typeof batches)[number];

const evaluation = evaluationProgram(task, variant, shape, true);

/** Losses and logits at every target of a batch. */
const predict = (at: Point, batch: Batch) =>
  interpret(evaluation, { ...at, ...batchNumbers(batch, config.experts) }, weights) as Record<
    "losses" | "logits",
    Float64Array
  >;

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const lossAt = (at: Point, batch: Batch): number => mean(predict(at, batch).losses);
const half = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0) / 2;
const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

/** Central differences of a function of the parameters and the rescaler. */
function differences(f: (at: Point) => number, at: Point): Point {
  const along = (name: keyof Point) =>
    at[name].map((value, i) => {
      const moved = (by: number) => f({ ...at, [name]: at[name].with(i, value + by) });
      return (moved(1e-4) - moved(-1e-4)) / 2e-4;
    });
  return { parameters: along("parameters"), personal: along("personal") };
}

type Optimizer = "adamw" | "sgd" | { readonly momentum: number };
/** What a client minimises on a batch; what does not depend on where it is evaluated is worked out at `from`. */
type Objective = (batch: Batch, from: Point) => (at: Point) => number;

/** Three steps in plain loops; the rescaler always goes by Adam. */
function trainedBy(objective: Objective, optimizer: Optimizer, rateOf = rate): Point {
  const moments = {
    parameters: [0, 1].map(() => new Float64Array(size)),
    personal: [0, 1].map(() => new Float64Array(1)),
  };
  let now: Point = start;
  for (const [step, batch] of batches.entries()) {
    const gradient = differences(objective(batch, now), now);
    const moved = (name: keyof Point, how: Optimizer, by: number) => {
      const [m, v] = moments[name] as [Float64Array, Float64Array];
      return now[name].map((value, i) => {
        const g = gradient[name][i]!;
        if (how === "sgd") return value - by * g;
        if (typeof how === "object") {
          m[i] = how.momentum * m[i]! + g;
          return value - by * m[i]!;
        }
        m[i] = adam.beta1 * m[i]! + (1 - adam.beta1) * g;
        v[i] = adam.beta2 * v[i]! + (1 - adam.beta2) * g * g;
        const [mHat, vHat] = [m[i]! / (1 - adam.beta1 ** (step + 1)), v[i]! / (1 - adam.beta2 ** (step + 1))];
        return value - (by * mHat) / (Math.sqrt(vHat) + adam.epsilon);
      });
    };
    now = {
      parameters: moved("parameters", optimizer, rateOf),
      personal: moved("personal", "adamw", personalRate),
    };
  }
  return now;
}

const setting = settingOf(task.layout, { rate, budgets: [1, 2], variant: (topK) => ({ topK }) });
const server: ServerState = {
  parameters: Float32Array.from(start.parameters),
  vectors: { c, lbar: normals("lbar", 0.1), "lambda:0": lambda, "counted:0": Float64Array.of(1) },
  notes: null,
};
const view = {
  client: clientId(0),
  budget: 2,
  examples: 4,
  round: round(2),
  memory: { ...emptyMemory, vectors: { ci } },
  draws,
  participation: participationId(0),
};

const planOf = (strategy: Strategy): Plan => strategy.plan?.(view, server, setting) ?? usual(view, setting);

/** The plan's extra inputs as a program is fed them. */
const fed = ({ inputs = {} }: Plan) =>
  Object.fromEntries(
    Object.entries(inputs).map(([name, value]) => [name, typeof value === "number" ? [value] : value]),
  );

/** The same three steps by the program that the method's pieces are part of. */
function trainedByProgram(strategy: Strategy): Point {
  const plan = planOf(strategy);
  const program = trainingStep(
    task,
    variant,
    { clients: 1, ...shape },
    adam,
    strategy.steps?.(plan.kind, setting) ?? {},
  );
  let state: Record<string, ArrayLike<number>> = Object.fromEntries(
    Object.keys(program.inputs).map((name) => [name, new Float64Array(name.startsWith("personal") ? 1 : size)]),
  );
  state = { ...state, ...start };
  for (const [step, batch] of batches.entries()) {
    const feeds = {
      ...state,
      ...fed(plan),
      ...batchNumbers(batch, config.experts),
      start: start.parameters,
      learningRate: [plan.learningRate ?? rate],
      personalLearningRate: [personalRate],
      correction1: [1 / (1 - adam.beta1 ** (step + 1))],
      correction2: [1 / (1 - adam.beta2 ** (step + 1))],
    };
    state = { ...state, ...interpret(program, feeds, weights) };
  }
  return state as unknown as Point;
}

const plain: Objective = (batch) => (at) => lossAt(at, batch);
const near =
  (mu: number): Objective =>
  (batch) =>
  (at) =>
    lossAt(at, batch) + mu * half(at.parameters, start.parameters);

/** Σ over pairs of ‖B‖·‖A‖: of rank 1, all of a pair is its tail. */
const strength = (at: Float64Array): number =>
  task.layout.pairs.reduce((sum, { a, b, inputs, outputs }) => {
    const [ofA, ofB] = [at.subarray(a, a + inputs), at.subarray(b, b + outputs)];
    return sum + Math.sqrt(dot(ofA, ofA) * dot(ofB, ofB));
  }, 0);

/** Σ w·CE ÷ targets, with w = λ for sequences whose mean energy is below the order statistic; w does not move. */
const flooded =
  (floodLambda: number, quantile: number): Objective =>
  (batch, from) => {
    const { logits } = predict(from, batch);
    const classes = logits.length / batch.targets.length;
    const rowOf = [...batch.lossPositions].map((position) => Math.floor(position / shape.length));
    const energies = Array.from({ length: shape.rows }, (_, row) => {
      const ofRow = rowOf.flatMap((of, target) => {
        if (of !== row) return [];
        const z = logits.subarray(target * classes, (target + 1) * classes);
        return [Math.log(z.reduce((sum, value) => sum + Math.exp(value), 0))];
      });
      return mean(Float64Array.from(ofRow));
    });
    const threshold = energies.toSorted((a, b) => a - b)[Math.floor(quantile * (shape.rows - 1))]!;
    const weight = rowOf.map((row) => (energies[row]! < threshold ? floodLambda : 1));
    return (at) => mean(predict(at, batch).losses.map((loss, target) => weight[target]! * loss));
  };

const cases: readonly (readonly [strategy: Strategy, objective: Objective, optimizer: Optimizer, rate?: number])[] = [
  [fedavg(), plain, "adamw"],
  [fedprox({ mu: 0.5 }), near(0.5), "adamw"],
  [mix({ rho: 0.5 }), near(0.5), "adamw"],
  [scaffold(), (batch) => (at) => lossAt(at, batch) + dot(at.parameters, c) - dot(at.parameters, ci), "sgd"],
  [fednova(), plain, "sgd"],
  [fednova({ momentum: 0.9, localLearningRate: 0.1 }), plain, { momentum: 0.9 }, 0.1],
  [fednova({ mu: 0.5 }), near(0.5), "sgd"],
  [fednova({ optimizer: "adamw", mu: 0.5 }), near(0.5), "adamw"],
  [
    fedvra({ gamma: 0.5, localLearningRate: 0.1 }),
    (batch) => (at) => near(0.5)(batch, at)(at) + dot(at.parameters, lambda),
    "sgd",
    0.1,
  ],
  [ccfao(), plain, "sgd"],
  [hetlora({ lambda: 0.5 }), (batch) => (at) => lossAt(at, batch) + 0.5 * strength(at.parameters), "adamw"],
  // In round 2 λ = 0 by the normalised sigmoid; the constant schedule has another.
  [fedavg({ flood: { schedule: "constant", amplitude: 3 } }), flooded(3, 0.7), "adamw"],
  [
    fedprox({ mu: 0.5, flood: { schedule: "constant", amplitude: 0.25, quantile: 0.4 } }),
    (batch, from) => (at) => flooded(0.25, 0.4)(batch, from)(at) + 0.5 * half(at.parameters, start.parameters),
    "adamw",
  ],
];

for (const [strategy, objective, optimizer, rateOf] of cases) {
  test(`${strategy.name} ${JSON.stringify(strategy.spec)}: three steps are those of plain loops`, () => {
    const [found, expected] = [trainedByProgram(strategy), trainedBy(objective, optimizer, rateOf)];
    assertNear(found.parameters, expected.parameters);
    assertNear(found.personal, expected.personal);
  });
}

test("SCAFFOLD's gradient and the losses of q-FFL and OTA-FFL are those of the received model", () => {
  const [batch] = batches as [Batch];
  const probed = (strategy: Strategy) => {
    const plan = planOf(strategy);
    const pieces = strategy.steps!(plan.kind, setting);
    const program = probeProgram(task, variant, { clients: 1, ...shape }, pieces, inOrder(pieces.before)[0]!);
    return interpret(program, { ...start, ...fed(plan), ...batchNumbers(batch, config.experts) }, weights);
  };
  for (const strategy of [qffl(), otaffl()]) {
    const { loss, targets } = probed(strategy);
    assertNear(Float64Array.of(loss![0]! / targets![0]!), Float64Array.of(lossAt(start, batch)));
  }
  const slope = differences((at) => lossAt(at, batch), start).parameters;
  const found = { ...probed(scaffold({ control: "gradient" })), ...probed(otaffl({ sends: "gradient" })) };
  for (const sum of [found.gradient!, found.slope!]) {
    assertNear(
      sum.map((value) => value / found.targets![0]!),
      slope,
    );
  }
});

test("every strategy that changes a client's step is among these", () => {
  // Pieces that read routers are checked in methods-moe.test.ts, those of other tasks beside these: modalities in
  // bmsfed.test.ts, routed ranks in methods-mixture-of-ranks.test.ts, heads in methods-games.test.ts, cuts in refactor.test.ts,
  // gates in pregating.test.ts.
  const checked = new Set(["fedmoe", "fft-moe", "hfedmoe", ...cases.map(([{ spec }]) => spec.type)]);
  const changed = [...strategies.entries.values()].filter((entry) => {
    const strategy = entry.fromSpec({ type: entry.type });
    if (strategy.needs?.some((need) => ["modalities", "slices", "heads", "cut", "gates"].includes(need))) return false;
    const {
      before: _before,
      after: _after,
      merges: _merges,
      ...pieces
    } = strategy.steps?.({ variant }, setting) ?? ({} as Steps);
    return Object.keys(pieces).length > 0;
  });
  assert.deepEqual(
    changed.map(({ type }) => type).filter((type) => !checked.has(type)),
    [],
  );
});

function assertNear(found: Float64Array, expected: Float64Array): void {
  for (const [i, value] of expected.entries()) {
    const gap = Math.abs(found[i]! - value);
    assert.ok(gap <= 1e-5 * Math.max(Math.abs(value), 1e-2), `number ${i} is ${found[i]}, expected ${value}`);
  }
}
