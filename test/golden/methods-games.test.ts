/** Heads that play, and bases that mix, against numbers worked out by other means. Parameters are float32, hence 1e-6 where a rule passes through them. */
import { test } from "node:test";
import { clientId, participationId, round } from "../../src/base/ids.ts";
import { flGames, splitMix } from "../../src/fl/strategies/registry.ts";
import { affordableBases } from "../../src/fl/strategies/shapes/split-mix.ts";
import { predictTogether } from "../../src/tasks/coloured/heads.ts";
import { together } from "../../src/tasks/scores.ts";
import { visionTask } from "../../src/tasks/vision/task.ts";
import { gradients } from "../../src/tensor/autodiff.ts";
import { Graph } from "../../src/tensor/graph/graph.ts";
import { reduceMean, scale, square, sub } from "../../src/tensor/ops/arithmetic.ts";
import { reshape } from "../../src/tensor/ops/layout.ts";
import { fresh, gameSetting, meanHead, playRound, seenIn, wanting } from "../support/games.ts";
import { close, goldensOf, type Json } from "../support/method-goldens.ts";
import { aggregate, drawsOf, emptyMemory, plainLayout, serverOf, settingOf, updateOf } from "../support/quadratic.ts";
import { interpret } from "../support/reference.ts";
import { batchOf } from "../support/small-model.ts";

const caseOf = goldensOf("fl-games", "split-mix");

const invited = (client: number) => ({
  client: clientId(client),
  participation: participationId(0),
  budget: 1,
  examples: 1,
  round: round(1),
  memory: emptyMemory,
  draws: drawsOf(1),
});

test("FL Games: gradient play ends at the equilibrium", async () => {
  const { inputs, expected } = caseOf("fl-games", "equilibrium of (mean(w) - t_k)^2 / 2");
  const strategy = flGames({ box: inputs.W, optimizer: "sgd" });
  for (const [at, ts] of inputs.t.entries()) {
    const setting = gameSetting(ts.length, 1, { rate: 0.5 });
    let server = fresh(strategy, setting);
    for (let at = 1; at <= 1_000; at++) server = await playRound(strategy, server, ts.map(wanting), setting, at);
    // Heads of up to 20 in float32.
    close(meanHead(server, ts.length), expected.mean[at], 1e-4);
  }
});

test("FL Games: what moves a head is 1 ÷ m of the ensemble's gradient, and the rate makes up for it", () => {
  const { inputs, expected } = caseOf("fl-games", "head gradients, squared loss / 2");
  const [m, features] = [inputs.heads.length, inputs.heads[0].length];
  const rows = inputs.x[0].length;
  const graph = new Graph();
  const given = {
    heads: graph.input("heads", "float32", [1, m, features + 1]),
    x: graph.input("x", "float32", [1, rows, features]),
    y: graph.input("y", "float32", [rows]),
  };
  const shares = graph.constant(new Array<number>(m).fill(1 / m), [1, 1, m]);
  const said = predictTogether(given.x, given.heads, shares, { features, hidden: 0, classes: 1 });
  const loss = scale(reduceMean(square(sub(reshape(said, [rows]), given.y)), [0]), 0.5);
  const program = { name: "game", inputs: given, outputs: { gradient: gradients(loss, [given.heads])[0]! } };
  const strategy = flGames({ optimizer: "sgd", smooth: "off" });
  const setting = gameSetting(m, features);
  for (let client = 0; client < m; client++) {
    const heads = inputs.heads.flatMap((head: number[]) => [...head, 0]);
    const { gradient } = interpret(program, { heads, x: inputs.x[client].flat(), y: inputs.y[client] });
    const own = gradient!.slice(client * (features + 1), client * (features + 1) + features);
    close(own, expected.gradients[client], 1e-12);
    const { learningRate } = strategy.plan!(invited(client), fresh(strategy, setting), setting);
    const next = own.map((g, i) => inputs.heads[client][i] - learningRate! * g);
    close(next, expected.next[client], 1e-12);
  }
  const server = { ...fresh(strategy, setting), parameters: Float32Array.from(inputs.heads.flat()) };
  close(meanHead(server, m), expected.ensemble);
});

test("FL Games: smoothed, a client sees half of what others are and half of what they were", () => {
  const { inputs, expected } = caseOf("fl-games", "smooth: average");
  const [m, features] = [inputs.heads.length, inputs.heads[0].length];
  const buffer = inputs.buffers[0].length;
  const strategy = flGames({ buffer });
  const setting = gameSetting(m, features);
  const server = {
    parameters: Float32Array.from(inputs.heads.flat()),
    vectors: { plays: Float32Array.from(inputs.buffers.flat(2)) },
    notes: { plays: new Array<number>(m).fill(buffer), stopped: null },
  };
  for (let client = 0; client < m; client++) {
    const plan = strategy.plan!(invited(client), server, setting);
    close(seenIn(plan.inputs!, server, m), expected.ensembleSeenByClient[client]);
  }
});

test("Split-Mix: a base is averaged over the clients that trained it", async () => {
  const { inputs, expected } = caseOf("split-mix", "aggregate");
  const { sets, n, old, uploads } = inputs;
  const [bases, size] = [old.length, old[0].length];
  const setting = settingOf(plainLayout(size, bases));
  const strategy = splitMix({ bases });
  const updates = sets.map((members: number[], client: number) =>
    updateOf(
      old.flat(),
      old.flatMap((base: number[], j: number) => uploads[client][j] ?? base),
      {
        client: clientId(client),
        examples: n[client],
        plan: { kind: { variant: {} }, members },
        trained: Uint8Array.from({ length: bases }, (_, j) => (members.includes(j) ? 1 : 0)),
      },
    ),
  );
  const { parameters } = await aggregate(strategy, serverOf(strategy, old.flat(), setting), updates, setting);
  close(parameters, expected.bases.flat());
});

test("Split-Mix: the first bases predict by the mean of their logits", () => {
  const { inputs, expected } = caseOf("split-mix", "mixing");
  const { logits, labels } = inputs;
  const batch = { ...batchOf([[0]], 1), targets: Int32Array.from(labels) };
  for (const [count, losses] of Object.entries(expected.crossEntropyByM as Json)) {
    const mixed = logits.slice(0, Number(count)).map((of: number[][]) => ({
      logits: Float32Array.from(of.flat()),
      counts: new Float32Array(1),
    }));
    close(together(mixed, batch, "logits").losses as Float32Array, losses as number[]);
  }
});

test("Split-Mix: eight narrow networks have a third of the wide one's weights, and a budget has its share of them", () => {
  const { inputs, expected } = caseOf("split-mix", "weights only, 64-256-256-10");
  const image = { height: 8, width: 8, channels: 1 };
  const weights = (narrow: number) => {
    const task = visionTask({ network: { type: "mlp", hidden: [256, 256] }, image, classes: 10, narrow });
    const biases = (2 * 256) / narrow + 10;
    return task.layout.size - biases;
  };
  close(
    [weights(1), weights(inputs.k), inputs.k * weights(inputs.k)],
    [expected.wide, expected.base, expected.eight],
    0,
  );
  const shares = caseOf("split-mix", "bases of a budget");
  close(
    shares.inputs.R.map((share: number) => affordableBases(share, shares.inputs.k)),
    shares.expected.bases,
    0,
  );
});
