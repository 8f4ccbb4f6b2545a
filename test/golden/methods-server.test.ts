/** What the server makes of a round, by method, against numbers worked out by other means. Parameters are float32, hence 1e-6 where a rule passes through them. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { clientId } from "../../src/base/ids.ts";
import { scaleOf } from "../../src/fl/channel.ts";
import { boxChebyshev, leastNorm } from "../../src/fl/fair-weights.ts";
import { ccfao } from "../../src/fl/strategies/ccfao.ts";
import { ewwa } from "../../src/fl/strategies/ewwa.ts";
import { fedavgm } from "../../src/fl/strategies/fedavgm.ts";
import { fedadagrad, fedadam, fedyogi } from "../../src/fl/strategies/fedopt.ts";
import { flame } from "../../src/fl/strategies/flame.ts";
import { otaffl } from "../../src/fl/strategies/otaffl.ts";
import { qffl } from "../../src/fl/strategies/qffl.ts";
import type { Update } from "../../src/fl/update.ts";
import { close, goldensOf, type Json, methods } from "../support/method-goldens.ts";
import { aggregate, plainLayout, serverOf, settingOf, updateOf } from "../support/quadratic.ts";

const caseOf = goldensOf("q-ffl", "ewwa-fl", "cc-fao", "ota-ffl", "fedopt", "flame");

test("q-FFL: steps that lean towards large losses", async () => {
  const { inputs, expected } = caseOf("q-ffl", "aggregate");
  const setting = settingOf(plainLayout(inputs.x.length), { rate: 1 / inputs.L });
  for (const [q, x] of Object.entries(expected)) {
    const strategy = qffl({ q: Number(q) });
    const updates = inputs.local.map((local: number[], at: number) =>
      updateOf(inputs.x, local, { client: clientId(at), sent: { loss: inputs.loss[at] } }),
    );
    close(
      (await aggregate(strategy, serverOf(strategy, inputs.x, setting), updates, setting)).parameters,
      x as number[],
    );
  }
});

for (const signal of ["signed", "abs"] as const) {
  test(`EWWA-FL, ${signal}: element-wise weights over two rounds`, async () => {
    const { inputs, expected } = caseOf("ewwa-fl", `two rounds, ${signal}`);
    const setting = settingOf(plainLayout(inputs.start.length), { clients: 3 });
    const strategy = ewwa({ a: inputs.a, b1: inputs.b1, b2: inputs.b2, epsilon: inputs.eps, signal });
    let server = serverOf(strategy, inputs.start, setting);
    for (const [at, { clients, x }] of expected.rounds.entries()) {
      const updates = clients.map((client: number) =>
        updateOf(server.parameters, inputs.local[at][client], { client: clientId(client) }),
      );
      server = await aggregate(strategy, server, updates, setting, at + 1);
      close(server.parameters, x);
    }
    for (const client of [0, 1, 2]) {
      close(server.vectors[`m:${client}`]!, expected.moments.m[client]);
      close(server.vectors[`v:${client}`]!, expected.moments.v[client]);
      close(server.vectors[`n:${client}`]!, expected.moments.steps[client]);
    }
  });
}

test("EWWA-FL: symmetric disagreement pushes down, as the paper's rule has it", async () => {
  const { expected } = caseOf("ewwa-fl", "symmetric disagreement");
  const setting = settingOf(plainLayout(1));
  const strategy = ewwa();
  const updates = [-1, 1].map((value, client) => updateOf([0], [value], { client: clientId(client) }));
  const { parameters } = await aggregate(strategy, serverOf(strategy, [0], setting), updates, setting);
  close([-parameters[0]!], expected.merged);
  const absolute = ewwa({ signal: "abs" });
  close((await aggregate(absolute, serverOf(absolute, [0], setting), updates, setting)).parameters, 0);
});

test("CC-FAO: the server's optimizer over buffered arrivals", async () => {
  const off = caseOf("cc-fao", "amsgrad, per step, memory off");
  const on = caseOf("cc-fao", "amsgrad, per step, memory on");
  const fadas = caseOf("cc-fao", "amsgrad, memory off, biasCorrection fadas, delayAdaptive with tau_c 1");
  const { N, eps, eta, arrivals } = off.inputs;
  for (const [options, expected] of [
    [{}, off.expected],
    [{ memory: true }, on.expected],
    [{ biasCorrection: "fadas", delayAdaptive: true }, fadas.expected],
  ] as const) {
    const setting = settingOf(plainLayout(3), { clients: N });
    const strategy = ccfao({ epsilon: eps, serverLearningRate: eta, ...options });
    let server = serverOf(strategy, [0, 0, 0], setting);
    for (const [at, buffer] of arrivals.entries()) {
      const updates = buffer.map(({ client, delta, steps, staleness }: Json) =>
        updateOf([0, 0, 0], delta, { client: clientId(client), steps, staleness }),
      );
      server = await aggregate(strategy, server, updates, setting, at + 1);
      close(server.parameters, expected.x[at]);
    }
  }
  const scalar = caseOf("cc-fao", "scalar run");
  const setting = settingOf(plainLayout(1));
  const strategy = ccfao({ epsilon: 1e-8, serverLearningRate: 1, lazy: false });
  let server = serverOf(strategy, [0], setting);
  for (const [at, delta] of scalar.inputs.Delta.entries()) {
    const before = server.parameters[0]!;
    server = await aggregate(strategy, server, [updateOf([0], [delta])], setting, at + 1);
    close([server.parameters[0]! - before], scalar.expected.stepOverEta[at]);
  }
});

test("OTA-FFL: weights inside a box, and the scale of a transmission", () => {
  const byLoss = caseOf("ota-ffl", "weights by eps");
  const total = byLoss.inputs.n.reduce((sum: number, n: number) => sum + n, 0);
  const prior = Float64Array.from(byLoss.inputs.n, (n: number) => n / total);
  for (const [eps, weights] of Object.entries(byLoss.expected)) {
    close(boxChebyshev(prior, byLoss.inputs.loss, Number(eps)), weights as number[], 1e-12);
  }
  const byNorm = caseOf("ota-ffl", "mgda in the box by eps");
  const unit = byNorm.inputs.gradients.map((g: number[]) => g.map((x) => x / Math.hypot(...g)));
  const gram = unit.map((x: number[]) =>
    Float64Array.from(unit, (y: number[]) => x.reduce((sum, value, i) => sum + value * y[i]!, 0)),
  );
  for (const [eps, { weights }] of Object.entries(byNorm.expected) as [string, Json][]) {
    close(leastNorm(prior, gram, Number(eps)), weights, 1e-10);
  }
  const air = caseOf("ota-ffl", "over the air");
  const gains = air.inputs.gainRe.map((re: number, at: number) => Math.hypot(re, air.inputs.gainIm[at]));
  close([scaleOf(air.inputs.weights, air.expected.variance, gains)], air.expected.c, 1e-10);
});

test("OTA-FFL: the whole round on a noiseless channel is the weighted mean, and softmax weights", async () => {
  const { inputs, expected } = caseOf("ota-ffl", "softmax, temperature 0.5");
  const zeros = inputs.loss.map(() => 0);
  const updates = inputs.loss.map((loss: number, k: number) =>
    updateOf(
      zeros,
      zeros.map((_: number, i: number) => (i === k ? 1 : 0)),
      { client: clientId(k), sent: { loss } },
    ),
  );
  const setting = settingOf(plainLayout(zeros.length));
  for (const channel of ["none", "air"] as const) {
    const strategy = otaffl({ weightRule: "softmax", temperature: 0.5, channel, noiseless: true });
    close(
      (await aggregate(strategy, serverOf(strategy, zeros, setting), updates, setting)).parameters,
      expected.weights,
    );
  }
});

test("FedAvgM, FedAdagrad, FedAdam, FedYogi: three rounds of their recurrences", async () => {
  const { inputs, expected } = caseOf("fedopt", "three rounds");
  const { start, mean, eta, tau, b1, b2 } = inputs;
  const options = { serverLearningRate: eta, tau, beta1: b1 };
  const made = {
    fedavgm: fedavgm({ momentum: b1 }),
    fedadagrad: fedadagrad({ ...options, beta1: 0 }),
    fedadam: fedadam({ ...options, beta2: b2 }),
    fedyogi: fedyogi({ ...options, beta2: b2 }),
  };
  const setting = settingOf(plainLayout(start.length));
  for (const [name, strategy] of Object.entries(made)) {
    let server = serverOf(strategy, start, setting);
    for (const [round, delta] of mean.entries()) {
      const base = start.map(() => 0);
      server = await aggregate(strategy, server, [updateOf(base, delta)], setting, round + 1);
      close(server.parameters, expected[name][round]);
    }
  }
});

test("FLAME: shares of clients and the next values, by expert, for every exponent and both norms", async () => {
  const { inputs, expected } = caseOf("flame", "one round");
  const { base, uploads, n, tokens, k, activations } = inputs;
  const width = base[0].length;
  const setting = settingOf(plainLayout(width, base.length));
  for (const [title, wanted] of Object.entries<Json>(expected)) {
    const [exponent, norm] = title.slice(2).split(",");
    const strategy = flame({ frequencyExponent: Number(exponent), frequencyNorm: norm as "tokens" | "share" });
    const updates = n.map((examples: number, client: number) =>
      updateOf(base.flat(), uploads[client].flat(), {
        client: clientId(client),
        examples,
        budget: k[client],
        units: tokens[client],
        counts: Float64Array.from(activations[client]),
        trained: Uint8Array.from(activations[client], (count) => (Number(count) > 0 ? 1 : 0)),
      }),
    );
    for (const group of base.keys()) {
      const weights = updates.map((update: Update) => strategy.weight(update, group, setting.layout));
      const total = weights.reduce((a: number, b: number) => a + b, 0);
      const idle = activations.every((counts: number[]) => counts[group] === 0);
      const shares = weights.map((weight: number) => (idle ? 0 : weight / total));
      close(
        shares,
        wanted.shares.map((row: number[]) => row[group]),
        1e-12,
      );
    }
    const next = await aggregate(strategy, serverOf(strategy, base.flat(), setting), updates, setting);
    close(next.parameters, wanted.experts.flat());
  }
  for (const title of ["by hand", "by hand, sizes"]) {
    const { inputs: hand, expected: shares } = caseOf("flame", title);
    const strategy = flame({ frequencyExponent: hand.t });
    const weights = hand.n.map((examples: number, i: number) =>
      strategy.weight(
        updateOf([0], [0], { examples, units: 1_000, counts: Float64Array.of(1_000 * hand.f[i]) }),
        0,
        plainLayout(1),
      ),
    );
    close([weights[0] / (weights[0] + weights[1])], shares.shares[0], 1e-12);
  }
});

test("every method with golden numbers is held to them", () => {
  const read = readdirSync(import.meta.dirname)
    .filter((file) => /^methods-.*\.test\.ts$/.test(file))
    .map((file) => readFileSync(join(import.meta.dirname, file), "utf8"));
  for (const method of methods)
    assert.ok(
      read.some((text) => text.includes(`caseOf("${method}"`)),
      method,
    );
});
