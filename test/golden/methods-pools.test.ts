/** Small experts beside the mixture and ensembles of members, against numbers worked out by other means. Parameters are float32, hence 1e-6 where a rule passes through them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { clientId } from "../../src/base/ids.ts";
import { largest } from "../../src/fl/sparse.ts";
import { divergence, meanProbability, referenceOf } from "../../src/fl/strategies/shapes/fft-moe.ts";
import { shefl } from "../../src/fl/strategies/shapes/shefl.ts";
import { together } from "../../src/tasks/scores.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { softmax } from "../../src/tensor/ops/nn.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import { aggregate, drawsOf, emptyMemory, plainLayout, serverOf, settingOf, updateOf } from "../support/quadratic.ts";
import { interpret } from "../support/reference.ts";
import { batchOf } from "../support/small-model.ts";

const caseOf = goldensOf("fft-moe", "shefl");

test("FFT-MoE: the auxiliary loss and its gradient, for an even reference and for one that asks for the starved", () => {
  for (const title of ["uniform", "heterogeneity-aware"]) {
    const { inputs, expected } = caseOf("fft-moe", title);
    const { logits, usage, eps } = inputs;
    const rho = title === "uniform" ? 0 : inputs.rho;
    close(referenceOf(usage, rho, eps), inputs.q, 1e-12);
    const [tokens, experts] = [logits.length, logits[0].length];
    const graph = new Graph();
    const given = {
      logits: graph.input("logits", "float32", [tokens, experts]),
      tokens: graph.input("tokens", "float32", [tokens, 1]),
      q: graph.input("q", "float32", [experts]),
    };
    const mean = meanProbability(softmax(given.logits), given.tokens);
    const loss = divergence(mean, given.q);
    const outputs = { mean, loss, gradient: gradients(loss, [given.logits])[0]! };
    const feeds = { logits: logits.flat(), tokens: logits.map(() => 1), q: inputs.q };
    const found = interpret({ name: "auxiliary", inputs: given, outputs }, feeds);
    close(found.mean!, expected.pbar, 1e-12);
    close(found.loss!, expected.loss, 1e-12);
    close(found.gradient!, expected.gradientOfLogits.flat(), 1e-12);
  }
});

test("SHEFL: members are averaged over who trained them, by share of members to the power ρ", async () => {
  const { inputs, expected } = caseOf("shefl", "aggregate");
  const { sets, n, old, delta } = inputs;
  const members = old.length;
  const size = old[0].length;
  const layout = plainLayout(size, members);
  const setting = settingOf(layout, { budgets: [1, 2, 3] });
  const base = old.flat();
  const updates = sets.map((chosen: number[], client: number) => {
    const values = base.slice();
    for (const member of chosen) {
      for (let i = 0; i < size; i++) values[member * size + i] += delta[client][member][i];
    }
    return updateOf(base, values, {
      client: clientId(client),
      examples: n[client],
      budget: chosen.length,
      plan: { kind: { variant: {} }, members: chosen },
      trained: new Uint8Array(members).fill(1),
    });
  });
  for (const [rho, wanted] of Object.entries(expected)) {
    const strategy = shefl({ members, rho: Number(rho) });
    const server = serverOf(strategy, base, setting);
    close((await aggregate(strategy, server, updates, setting)).parameters, (wanted as number[][]).flat());
  }
});

test("SHEFL: the largest entries are sent, and the rest is owed", () => {
  const { inputs, expected } = caseOf("shefl", "top-k, sigma 0.5, error feedback");
  const size = inputs.updates[0].length;
  // σ = 0.5 + 0.5·c^q, and c^q is below half a unit of 0.5.
  const strategy = shefl({ members: 1, sigmaMin: 0.5, sigmaPower: 60 });
  const setting = settingOf(plainLayout(size), { budgets: [1, 2] });
  let memory = emptyMemory;
  let owed = new Float64Array(size);
  for (const [step, update] of inputs.updates.entries()) {
    const { sent, remainder } = expected.steps[step];
    owed = owed.map((value, i) => value + update[i]);
    const kept = largest(owed, size / 2);
    close(kept, sent, 1e-12);
    owed = owed.map((value, i) => value - kept[i]!);
    close(owed, remainder, 1e-12);

    const base = new Float32Array(size);
    const plan = { kind: { variant: {} }, members: [0] };
    const trained = updateOf(base, Float32Array.from(update as number[]), { plan });
    const view = { client: clientId(0), budget: 1, examples: 1, round: trained.round, memory, draws: drawsOf(1) };
    const reply = strategy.reply!({ ...trained, found: {} }, plan, view, setting);
    close(reply.values!, sent);
    memory = reply.memory!;
    close(memory.vectors.owed!, remainder);
  }
});

test("SHEFL: members predict by the mean of their probabilities", () => {
  const { inputs, expected } = caseOf("shefl", "prediction");
  const { memberProbabilities } = inputs;
  const examples = expected.mean.length;
  const classes = expected.mean[0].length;
  const predictions = memberProbabilities.map((rows: number[][]) => ({
    logits: Float32Array.from(rows.flat(), Math.log),
    counts: new Float32Array(1),
  }));
  const batch = batchOf([Array.from({ length: examples + 1 }, () => 0)], examples + 1);
  for (let target = 0; target < classes; target++) {
    const targets = new Int32Array(examples).fill(target);
    const [first] = predictions;
    const [alone, agreed] = [[first!], [first!, first!]].map(
      (some) => together(some, { ...batch, targets }, "probabilities").losses,
    );
    close(agreed as Float32Array, [...(alone as Float32Array)]);
    const { losses } = together(predictions, { ...batch, targets }, "probabilities");
    close(
      (losses as Float32Array).map((loss) => Math.exp(-loss)),
      expected.mean.map((row: Json) => row[target]),
    );
    for (const [at, loss] of (losses as Float32Array).entries()) {
      const own = memberProbabilities.map((rows: number[][]) => -Math.log(rows[at]![target]!));
      const mean = own.reduce((sum: number, value: number) => sum + value / own.length, 0);
      assert.ok(loss < mean, "members that differ lose less together than on average");
    }
  }
});
