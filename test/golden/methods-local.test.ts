/** What clients do in a round, by method, against numbers worked out by other means. Parameters are float32, hence 1e-6 where a rule passes through them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as z from "zod";
import { clientId } from "../../src/base/ids.ts";
import { fedavg } from "../../src/fl/strategies/fedavg.ts";
import { effectiveSteps, fednova } from "../../src/fl/strategies/fednova.ts";
import { fedprox } from "../../src/fl/strategies/fedprox.ts";
import { fedvra } from "../../src/fl/strategies/fedvra.ts";
import { scaffold } from "../../src/fl/strategies/scaffold.ts";
import type { ServerState, Strategy } from "../../src/fl/strategy.ts";
import type { Update } from "../../src/fl/update.ts";
import { type FloodOptions, flooded, floodFields, lambdaOf } from "../../src/fl/wrappers/flooded.ts";
import { inOrder } from "../../src/tasks/steps.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import type { Tensor } from "../../src/tensor/graph/ir.ts";
import { reduceSum, scale } from "../../src/tensor/ops/arithmetic.ts";
import { crossEntropy } from "../../src/tensor/ops/nn.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import {
  aggregate,
  emptyMemory,
  participate,
  plainLayout,
  serverOf,
  settingOf,
  updateOf,
} from "../support/quadratic.ts";
import { interpret } from "../support/reference.ts";

const caseOf = goldensOf("fedprox", "scaffold", "fednova", "fedvra", "flood");
const floodDefaults = z.strictObject(floodFields).parse({});

test("FedProx: local steps on a quadratic", () => {
  const { inputs, expected } = caseOf("fedprox", "steps on (y - c)^2 / 2");
  const reach = (steps: number, mu = inputs.mu, rate = inputs.eta) => {
    const strategy = fedprox({ mu });
    const setting = settingOf(plainLayout(inputs.x.length), { rate });
    const client = { client: clientId(0), target: inputs.c, steps, memory: emptyMemory };
    return participate(strategy, serverOf(strategy, inputs.x, setting), client, setting).update.values;
  };
  for (const [step, y] of expected.y.entries()) close(reach(step + 1), y);
  close(reach(200), expected.limit);
  // (c + μ·x) ÷ (1 + μ): of the way to what it wants a client goes 1 in 101 with μ = 100.
  for (const mu of [1, 10, 100]) {
    const held = inputs.x.map((x: number, i: number) => (inputs.c[i] + mu * x) / (1 + mu));
    close(reach(20, mu, 1 / (1 + mu)), held);
  }
});

test("SCAFFOLD: two quadratics over rounds, and a round of a part of the fleet", async () => {
  const two = caseOf("scaffold", "two quadratics (y - e_k)^2 / 2");
  const strategy = scaffold();
  const setting = settingOf(plainLayout(1), { rate: two.inputs.eta, clients: 2 });
  let server = serverOf(strategy, [two.inputs.start], setting);
  let memories = [emptyMemory, emptyMemory];
  const last = two.expected.rounds.at(-1).round;
  for (let round = 1; round <= last; round++) {
    const found = two.inputs.e.map((e: number, at: number) => {
      const client = { client: clientId(at), target: [e], steps: two.inputs.steps[at], memory: memories[at]! };
      return participate(strategy, server, client, setting, round);
    });
    const updates = found.map(({ update }: Json) => update);
    server = await aggregate(strategy, server, updates, setting, round);
    memories = found.map(({ memory }: Json) => memory);
    // Where everybody takes part c is the mean of all c_i; and nobody has one yet in round 1, which is FedAvg's.
    close([2 * server.vectors.c![0]!], memories[0]!.vectors.ci![0]! + memories[1]!.vectors.ci![0]!, 1e-9);
    if (round === 1) {
      const plain = fedavg({ weighting: "uniform" });
      const first = await aggregate(plain, serverOf(plain, [two.inputs.start], setting), updates, setting);
      close(server.parameters, [...first.parameters], 1e-7);
    }
    const wanted = two.expected.rounds.find((row: Json) => row.round === round);
    if (wanted === undefined) continue;
    close(server.parameters, wanted.x);
    close(server.vectors.c!, wanted.c, 5e-6);
    close(
      memories.map(({ vectors }) => vectors.ci![0]!),
      wanted.ck,
      5e-6,
    );
  }
  let averaged = two.inputs.start;
  for (let round = 0; round < 2_000; round++) {
    const reached = two.inputs.e.map(
      (e: number, at: number) => e + (averaged - e) * (1 - two.inputs.eta) ** two.inputs.steps[at],
    );
    averaged = (reached[0] + reached[1]) / 2;
  }
  close([averaged], two.expected.fedavgLimit);

  const part = caseOf("scaffold", "sampling, option II");
  const { N, clients, steps, eta, x, c, ck, y } = part.inputs;
  const wide = settingOf(plainLayout(x.length), { rate: eta, clients: N });
  const before: ServerState = { parameters: Float32Array.from(x), vectors: { c: Float64Array.from(c) }, notes: null };
  const replies = clients.map((client: number, at: number) => {
    const plan = { kind: { variant: {} }, inputs: { c: Float64Array.from(c), ci: Float64Array.from(ck[client]) } };
    const update = updateOf(x, y[at], { client: clientId(client), steps: steps[at], plan });
    const reply = strategy.reply!(
      { ...update, found: {} },
      plan,
      { memory: { vectors: { ci: plan.inputs.ci }, notes: null } } as never,
      wide,
    );
    return { update: { ...update, sent: reply.sent! }, memory: reply.memory! };
  });
  const next = await aggregate(
    strategy,
    before,
    replies.map(({ update }: Json) => update),
    wide,
  );
  close(next.parameters, part.expected.x);
  close(next.vectors.c!, part.expected.c, 1e-12);
  for (const [at, client] of clients.entries()) close(replies[at].memory.vectors.ci, part.expected.ck[client], 1e-12);
});

test("FedNova: normalised means, and the limit of two quadratics", async () => {
  const { inputs, expected } = caseOf("fednova", "aggregate");
  const { n, tau, x, delta } = inputs;
  const setting = settingOf(plainLayout(x.length), { rate: 0.1 });
  const updates = n.map((examples: number, at: number) =>
    updateOf(
      x,
      x.map((value: number, i: number) => value + delta[at][i]),
      { client: clientId(at), examples, steps: tau[at] },
    ),
  );
  for (const [form, options] of [
    ["plain", {}],
    ["momentum 0.9", { momentum: 0.9 }],
    ["proximal eta 0.1 mu 0.5", { mu: 0.5 }],
  ] as const) {
    const strategy = fednova(options);
    const { momentum = 0, mu = 0 } = options as { momentum?: number; mu?: number };
    close(
      tau.map((steps: number) => effectiveSteps(steps, momentum, 0.1 * mu)),
      expected[form].a,
      1e-12,
    );
    close((await aggregate(strategy, serverOf(strategy, x, setting), updates, setting)).parameters, expected[form].x);
  }
  const alike = updates.map((update: Update) => ({ ...update, steps: 3 }));
  const after = async (strategy: Strategy) =>
    (await aggregate(strategy, serverOf(strategy, x, setting), alike, setting)).parameters;
  close(await after(fednova()), [...(await after(fedavg()))], 1e-7);
  const limits = caseOf("fednova", "limit of two quadratics, tau 1 and 10");
  for (const [eta, limit] of Object.entries(limits.expected)) {
    // One round is affine in x: x ← slope·x + offset, and the limit its fixed point.
    const strategy = fednova();
    const at = settingOf(plainLayout(1), { rate: Number(eta) });
    const reach = async (start: number) => {
      const server = serverOf(strategy, [start], at);
      const found = limits.inputs.e.map((e: number, client: number) =>
        participate(
          strategy,
          server,
          { client: clientId(client), target: [e], steps: limits.inputs.tau[client], memory: emptyMemory },
          at,
        ),
      );
      const changes = found.map(({ update }: Json) => (update.values[0] - update.base[0]) / update.steps);
      return start + ((1 + 10) / 2) * ((changes[0] + changes[1]) / 2);
    };
    const offset = await reach(0);
    close([offset / (1 - ((await reach(1)) - offset))], limit as number, 1e-9);
  }
});

for (const mode of ["mean", "damped", "stale"] as const) {
  test(`FedVRA, mode ${mode}: duals and server over rounds of a part of the fleet`, async () => {
    const { inputs, expected } = caseOf("fedvra", `mode ${mode}`);
    const { start, w, gamma, a, rounds, theta } = inputs;
    const setting = settingOf(plainLayout(start.length), { clients: w.length, examples: (client) => w[client] });
    const strategy = fedvra({ gamma, a, serverMode: mode });
    let server = serverOf(strategy, start, setting);
    for (const [at, clients] of rounds.entries()) {
      const updates = clients.map((client: number) =>
        updateOf(server.parameters, theta[at][client], { client: clientId(client), examples: w[client] }),
      );
      server = await aggregate(strategy, server, updates, setting, at + 1);
      const { x, lam, lbar } = expected.rounds[at];
      close(server.parameters, x);
      close(server.vectors.lbar!, lbar);
      for (const [client, lambda] of lam.entries()) {
        close(server.vectors[`lambda:${client}`] ?? new Float64Array(start.length), lambda);
      }
    }
  });
}

test("FedVRA: exact local solves reach the optimum with a = 1 and miss it with a = 0", async () => {
  const title = "exact local solves of (x-c)'H(x-c)/2, gamma 1, everybody";
  const { inputs, expected } = caseOf("fedvra", title);
  const { w, H, c } = inputs;
  const setting = settingOf(plainLayout(3), { clients: w.length, examples: (client) => w[client] });
  for (const a of [0, 1]) {
    const strategy = fedvra({ gamma: 1, a });
    let server = serverOf(strategy, [0, 0, 0], setting);
    for (let round = 1; round <= 600; round++) {
      const updates = w.map((examples: number, client: number) => {
        const lambda = server.vectors[`lambda:${client}`];
        // H diagonal: H·(θ − c) + λ + θ − x = 0.
        const solved = [0, 1, 2].map(
          (i) => (H[client][i] * c[client][i] - (lambda?.[i] ?? 0) + server.parameters[i]!) / (H[client][i] + 1),
        );
        return updateOf(server.parameters, solved, { client: clientId(client), examples });
      });
      server = await aggregate(strategy, server, updates, setting, round);
    }
    close(server.parameters, expected.limits[`a=${a}`]);
    if (a === 1) close(server.parameters, expected.optimum);
  }
});

/** FLood's pieces on a batch of one target a row, run by the plain interpreter. */
function floodedBatch(logits: number[][], labels: number[], options: Partial<FloodOptions>, lambda: number) {
  const [rows, classes] = [logits.length, logits[0]!.length];
  const graph = new Graph();
  const inputs = {
    logits: graph.input("logits", "float32", [rows, classes]),
    labels: graph.input("labels", "int32", [rows]),
    rows: graph.input("rows", "int32", [rows]),
    present: graph.input("present", "float32", [rows]),
    floodLambda: graph.input("floodLambda", "float32", [1]),
  };
  const losses = crossEntropy(inputs.logits, inputs.labels);
  const mean = (t: Tensor) => scale(reduceSum(t, [0], true), 1 / rows);
  const pass = {
    batch: {},
    losses,
    client: () => inputs.rows,
    example: () => inputs.rows,
    logits: inputs.logits,
    // A head that says what it reads.
    readout: (change: (features: Tensor) => Tensor) => change(inputs.logits),
    present: () => inputs.present,
    counts: inputs.present,
  };
  const given = { floodLambda: inputs.floodLambda };
  const at = {
    graph,
    pass,
    loss: mean(losses),
    mean,
    parameters: inputs.logits,
    start: inputs.logits,
    received: () => pass,
    given,
    found: () => inputs.present,
  };
  const steps = flooded(fedavg(), { ...floodDefaults, ...options }).steps!({ variant: {} }, settingOf(plainLayout(1)));
  const loss = steps.objective!(at);
  const outputs = { loss, gradient: gradients(loss, [inputs.logits])[0]!, ...inOrder(steps.after)[0]!(at) };
  return interpret(
    { name: "flood", inputs, outputs },
    {
      logits: logits.flat(),
      labels,
      rows: labels.map((_, row) => row),
      present: labels.map(() => 1),
      floodLambda: [lambda],
    },
  );
}

test("FLood: weights of clients, flags, loss and gradient of a batch, schedule", async () => {
  for (const title of ["client weights", "by hand"]) {
    const { inputs, expected } = caseOf("flood", title);
    const { n, S, alpha } = inputs;
    const strategy = flooded(fedavg(), { ...floodDefaults, alpha });
    const setting = settingOf(plainLayout(n.length));
    // Client k moves coordinate k by one, so coordinate k comes to be its weight.
    const updates = n.map((examples: number, k: number) =>
      updateOf(
        n.map(() => 0),
        n.map((_: number, i: number) => (i === k ? 1 : 0)),
        { client: clientId(k), examples, sent: { floodScore: S[k] } },
      ),
    );
    const zeros = n.map(() => 0);
    close((await aggregate(strategy, serverOf(strategy, zeros, setting), updates, setting)).parameters, expected.w);
  }
  const batch = caseOf("flood", "batch");
  const { logits, labels, q, lam, temperature } = batch.inputs;
  for (const granularity of ["sequence", "token"] as const) {
    const found = floodedBatch(logits, labels, { quantile: q, temperature, granularity }, lam);
    close(found.loss!, batch.expected.loss, 1e-9);
    close(found.gradient!, batch.expected.gradientOfLogits.flat(), 1e-9);
    close(
      found.floodScore!,
      batch.expected.scores.reduce((a: number, b: number) => a + b, 0),
      1e-9,
    );
    assert.equal(found.floodItems![0], labels.length);
  }
  const flags = caseOf("flood", "flags per batch size");
  for (const [size, flagged] of Object.entries(flags.expected)) {
    const rows = Array.from({ length: Number(size) }, (_, row) => [Math.sin(7 * row), Math.cos(3 * row)]);
    const plain = floodedBatch(
      rows,
      rows.map(() => 0),
      { quantile: flags.inputs.q },
      1,
    ).loss![0]!;
    // With a weight of 0 the loss loses the flagged share; equal losses are not needed: flags are counted by gradient rows.
    const { gradient } = floodedBatch(
      rows,
      rows.map(() => 0),
      { quantile: flags.inputs.q },
      0,
    );
    const silent = rows.filter((_, row) => gradient![2 * row] === 0 && gradient![2 * row + 1] === 0).length;
    assert.equal(silent, flagged, `batch of ${size} with loss ${plain}`);
  }
  const schedule = caseOf("flood", "sigmoid-normalised schedule, a = 50");
  const horizon = 1_000;
  const lambdas = schedule.inputs.u.map((u: number) =>
    lambdaOf({ ...floodDefaults, amplitude: 50, horizon }, Math.round(u * horizon) + 1),
  );
  close(lambdas, schedule.expected.lam, 1e-12);
  assert.equal(lambdaOf(floodDefaults, 0), 1);
  assert.ok(Math.abs(lambdaOf(floodDefaults, 1)) < 1e-12, "the second round ignores what is flagged");
});

test("FLood: a constant on all logits changes no flag, and the score by that constant", () => {
  const logits = [
    [1, 2, 0.5],
    [0.1, -1, 0.3],
    [3, 1, 0],
    [0.2, 0.1, 0.4],
  ];
  const [plain, raised] = [logits, logits.map((row) => row.map((z) => z + 2))].map((of) =>
    floodedBatch(of, [1, 0, 0, 2], { quantile: 0.7 }, 3),
  );
  close([...raised!.loss!, ...raised!.gradient!], [...plain!.loss!, ...plain!.gradient!], 1e-9);
  close([...raised!.floodScore!], [plain!.floodScore![0]! + 2 * logits.length], 1e-9);
});

test("FLood: the detector ASH leaves a twentieth of what the head reads, of each row its largest", () => {
  const logits = [0, 1].map((row) => Array.from({ length: 40 }, (_, at) => Math.sin(3 * at + row)));
  const { floodScore } = floodedBatch(logits, [0, 1], { detector: "ash", temperature: 2 }, 1);
  // Two of forty are left; the others are zeros, e⁰ each.
  const scores = logits.map((row) => {
    const [first, second] = row.toSorted((a, b) => b - a) as [number, number];
    return 2 * Math.log(38 + Math.exp(first / 2) + Math.exp(second / 2));
  });
  close(floodScore!, [scores[0]! + scores[1]!], 1e-9);
});

test("FLood: with a cap no client's share of scores is more than five times its share of heads", async () => {
  const scores = [100, 1, 1, 1, 1, 1, 1, 1, 1, 1];
  const zeros = scores.map(() => 0);
  const setting = settingOf(plainLayout(scores.length));
  const strategy = flooded(fedavg(), { ...floodDefaults, alpha: 1, cap: true });
  const updates = scores.map((floodScore, k) =>
    updateOf(
      zeros,
      zeros.map((_, i) => Number(i === k)),
      { client: clientId(k), sent: { floodScore } },
    ),
  );
  const { parameters } = await aggregate(strategy, serverOf(strategy, zeros, setting), updates, setting);
  const o = scores.map((score) => Math.min(0.5, score / 109));
  const all = 1 + o.reduce((sum, share) => sum + share, 0);
  close(
    parameters,
    o.map((share) => (0.1 + share) / all),
  );
});

test("FLood: scores that are not positive are measured from the smallest, or leave the round to the method", async () => {
  const [zeros, setting] = [[0, 0], settingOf(plainLayout(2))];
  const updates = [-1, 3].map((floodScore, k) =>
    updateOf(zeros, [Number(k === 0), Number(k === 1)], { client: clientId(k), sent: { floodScore } }),
  );
  const after = async (nonPositive: FloodOptions["nonPositive"]) => {
    const strategy = flooded(fedavg(), { ...floodDefaults, alpha: 1, nonPositive });
    return (await aggregate(strategy, serverOf(strategy, zeros, setting), updates, setting)).parameters;
  };
  close(await after("plain"), [0.5, 0.5]);
  // Scores 0 and 4, but for 1e-6.
  close(await after("shift"), [0.25, 0.75]);
});
