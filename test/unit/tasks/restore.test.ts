/** The restoration task: its forward pass against plain loops, its slopes, its counts, and what it is given to restore. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rng } from "../../../src/base/random.ts";
import { columnsOf } from "../../../src/data/examples.ts";
import { hashesOf, imageData } from "../../../src/data/images/labelled.ts";
import { generatedPictures } from "../../../src/data/images/pictures.ts";
import { degradePictures, type Levels, usualLevels } from "../../../src/tasks/restore/data.ts";
import { degraded, scoresOf } from "../../../src/tasks/restore/degrade.ts";
import { embeddedRestorer, products, restorerSize } from "../../../src/tasks/restore/restorer.ts";
import { restoreTask } from "../../../src/tasks/restore/task.ts";
import { evaluationProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import { OnnxExecutor } from "../../../src/tensor/executors/onnx.ts";
import { Graph } from "../../../src/tensor/graph/graph.ts";
import { close } from "../../support/method-goldens.ts";
import { interpret, type Numbers } from "../../support/reference.ts";

const side = 3;
const ranks = { shared: 1, routed: 3, zero: 2 };
const scale = 0.5;
const draws = new Rng(1).at("numbers").at(0);
const normals = (count: number, deviation: number) => Array.from({ length: count }, () => deviation * draws.normal());
const base = Float32Array.from(normals(restorerSize, 0.2));
const task = restoreTask({ ranks, topK: 3, scale, side, base });
const { layout } = task;
const rows = 3;
/** The last row fills up the batch. */
const batch = {
  low: normals(rows * side ** 2, 0.3).map((value) => value + 0.5),
  high: normals(rows * 4 * side ** 2, 0.3).map((value) => value + 0.5),
  degradation: [0.1, 0.2, 0.7, 0.4, 0, 0],
  positions: [0, 1],
};
const variant = task.budget.variant(2);

/** What a picture becomes, by the definitions. */
function restoredBy(parameters: ArrayLike<number>, low: number[], s: number[], most: number, gates: "topk" | "none") {
  let from = 0;
  let start = 0;
  let image = low.map((value) => [value]);
  for (const [at, { inputs, outputs }] of products.entries()) {
    const take = (count: number) => Array.from({ length: count }, () => parameters[start++]!);
    const matrix = (rowCount: number, columns: number) => Array.from({ length: rowCount }, () => take(columns));
    const [a, b, router] = [matrix(4, inputs), matrix(4, outputs), matrix(5, 3)];
    const logits = router.map(([x, y, bias]) => x! * s[0]! + y! * s[1]! + bias!);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    const p = logits.map((logit) => Math.exp(logit) / total);
    const chosen = [0, 1, 2, 3, 4].sort((i, j) => p[j]! - p[i]! || i - j).slice(0, most);
    const norm = gates === "topk" ? chosen.reduce((sum, i) => sum + p[i]!, 0) : 1;
    const gate = [1, ...[0, 1, 2].map((i) => (chosen.includes(i) ? p[i]! / norm : 0))];
    const channels = image[0]!.length;
    image = image.map((_, place) => {
      const seen: number[] = [];
      for (const dy of [-1, 0, 1]) {
        for (const dx of [-1, 0, 1]) {
          const [y, x] = [Math.floor(place / side) + dy, (place % side) + dx];
          const isInside = y >= 0 && y < side && x >= 0 && x < side;
          seen.push(...(isInside ? image[y * side + x]! : new Array<number>(channels).fill(0)));
        }
      }
      const inner = a.map((row, rank) => gate[rank]! * row.reduce((sum, value, i) => sum + value * seen[i]!, 0));
      return Array.from({ length: outputs }, (_, out) => {
        let sum: number = base[from + inputs * outputs + out]!;
        for (const [i, value] of seen.entries()) sum += base[from + i * outputs + out]! * value;
        for (const [rank, value] of inner.entries()) sum += scale * value * b[rank]![out]!;
        return at === products.length - 1 ? sum : sum / (1 + Math.exp(-sum));
      });
    });
    from += (inputs + 1) * outputs;
  }
  return Array.from({ length: 4 * side ** 2 }, (_, i) => {
    const [y, x] = [Math.floor(i / (2 * side)), i % (2 * side)];
    const place = Math.floor(y / 2) * side + Math.floor(x / 2);
    return low[place]! + image[place]![2 * (y % 2) + (x % 2)]!;
  });
}

const lossOf = (restored: number[], row: number): number => {
  const high = batch.high.slice(row * restored.length, (row + 1) * restored.length);
  return restored.reduce((sum, value, i) => sum + (value - high[i]!) ** 2, 0) / restored.length / (2 * 0.1 ** 2);
};

const point = [...task.initial(new Rng(2), 0)].map((value) => value + 0.3 * draws.normal());

test("a picture is restored as plain loops restore it, at any budget, with either norm of the gates", () => {
  for (const most of [1, 2, 3]) {
    for (const gates of ["topk", "none"] as const) {
      const own = { ...task.budget.variant(most), ...(gates === "none" && { gates }) };
      const wanted = [0, 1].map((row) =>
        restoredBy(
          point,
          batch.low.slice(row * side ** 2, (row + 1) * side ** 2),
          batch.degradation.slice(2 * row, 2 * row + 2),
          most,
          gates,
        ),
      );
      const graph = new Graph();
      const parameters = graph.input("parameters", "float32", [layout.size]);
      const shape = { clients: 1, rows, length: 1 };
      const pass = task.pass(graph, { parameters, personal: null }, own, shape);
      const { losses, restored } = pass;
      const inputs = { parameters, ...pass.batch };
      const found = interpret(
        { name: "restore", inputs, outputs: { losses, restored: restored! } },
        { parameters: point, ...batch },
      );
      const clipped = wanted.flat().map((value) => Math.min(1, Math.max(0, value)));
      close(found.restored!.slice(0, clipped.length), clipped, 1e-12);
      close(found.losses!, wanted.map(lossOf), 1e-10);
    }
  }
});

test("at the start the ranks change nothing, exactly", () => {
  const shape = { rows, length: 1 };
  const lossesAt = (parameters: ArrayLike<number>) =>
    interpret(evaluationProgram(task, variant, shape), { parameters, ...batch }).losses!;
  assert.deepEqual(lossesAt(task.initial(new Rng(2), 0)), lossesAt(new Float64Array(layout.size)));
});

const resting = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };
const feedsAt = (parameters: ArrayLike<number>, clients = 1): Numbers => ({
  parameters,
  parametersMean: new Float64Array(parameters.length),
  parametersVariance: new Float64Array(parameters.length),
  learningRate: new Array(clients).fill(1),
  correction1: [1],
  correction2: [1],
});

test("the whole step has the slopes of its loss, and counts who chose what, without rows that fill up", () => {
  const step = trainingStep(task, variant, { clients: 1, rows, length: 1 }, resting);
  const found = interpret(step, { ...feedsAt(point), inverseCount: [1 / 2], ...batch });
  const evaluation = evaluationProgram(task, variant, { rows, length: 1 });
  const lossAt = (parameters: number[]) => {
    const { losses } = interpret(evaluation, { parameters, ...batch });
    return losses!.reduce((sum, loss) => sum + loss, 0) / losses!.length;
  };
  close(found.loss!, [lossAt(point)], 1e-12);
  // Central differences along random directions of a smooth loss of about 5: good to about 1e-8 while no choice changes.
  const h = 1e-6;
  for (let direction = 0; direction < 6; direction++) {
    const way = normals(point.length, 1);
    const at = (factor: number) => lossAt(point.map((value, i) => value + factor * way[i]!));
    const slope = (at(h) - at(-h)) / (2 * h);
    const expected = way.reduce((sum, d, i) => sum + d * found.parametersMean![i]!, 0);
    assert.ok(
      Math.abs(slope - expected) <= 1e-6 * Math.max(1, Math.abs(slope)),
      `slope ${slope}, gradient ${expected}`,
    );
  }
  const counts = [...found.counts!];
  assert.equal(counts.length, layout.groups.length);
  for (const [at] of products.entries()) {
    const chosen = counts.slice(3 * at, 3 * at + 3);
    assert.ok(chosen.every((count) => count <= 2) && chosen.reduce((sum, count) => sum + count, 0) <= 2 * 2);
  }
  assert.deepEqual(counts.slice(9), new Array(6).fill(2), "shared ranks and routers saw both pictures");
  for (const [group, { ranges }] of layout.groups.entries()) {
    const moved = ranges.some(({ start, end }) => found.parametersMean!.slice(start, end).some((g) => g !== 0));
    assert.equal(moved, counts[group]! > 0, "what nobody chose has no gradient");
  }
});

test("two clients that share a step have what each has alone", () => {
  const other = point.map((value) => value + 0.1 * draws.normal());
  const otherBatch = {
    ...batch,
    low: batch.low.toReversed(),
    degradation: batch.degradation.toReversed(),
    positions: [1, 2],
  };
  const alone = [
    [point, batch],
    [other, otherBatch],
  ].map(([parameters, own]) =>
    interpret(trainingStep(task, variant, { clients: 1, rows, length: 1 }, resting), {
      ...feedsAt(parameters as number[]),
      inverseCount: [1 / 2],
      ...(own as typeof batch),
    }),
  );
  const both = interpret(trainingStep(task, variant, { clients: 2, rows, length: 1 }, resting), {
    ...feedsAt([...point, ...other], 2),
    inverseCount: [0.5, 0.5, 0.5, 0.5],
    low: [...batch.low, ...otherBatch.low],
    high: [...batch.high, ...otherBatch.high],
    degradation: [...batch.degradation, ...otherBatch.degradation],
    positions: [0, 1, rows + 1, rows + 2],
  });
  close(both.parameters!, [...alone[0]!.parameters!, ...alone[1]!.parameters!], 1e-12);
  const counts = alone[0]!.counts!;
  assert.deepEqual(
    [...both.counts!],
    [...counts].flatMap((count, group) => [count, alone[1]!.counts![group]!]),
  );
});

test("without ranks to choose from it has nothing for a strategy that asks for them, and says which field that is", () => {
  const bare = restoreTask({ ranks: { ...ranks, routed: 0 }, topK: 1, scale, side, base });
  assert.deepEqual(bare.abilities, []);
  assert.deepEqual(bare.withheld!("slices"), { path: "task.routed", text: "is 0, expected at least 1" });
});

test("work is counted by formula: what is frozen passes gradients on and has none, zero slots cost nothing", () => {
  const places = side ** 2;
  const frozen = 2 * places * (9 * 16 + 144 * 16 + 144 * 4);
  const rank = 2 * places * (9 + 16 + 144 + 16 + 144 + 4);
  assert.deepEqual(task.cost({ ranks: 2 }), { training: 2 * frozen + 3 * 3 * rank, forward: frozen + 3 * rank });
  assert.deepEqual(task.cost({ ranks: 5 }), task.cost({ ranks: 3 }), "there are three routed ranks");
});

test("without blur and noise a low picture is the mean of its squares; blur keeps a flat one, noise has its spread", () => {
  const high = Float32Array.from(normals(64, 0.1), (value) => 0.5 + value);
  const luck = () => new Rng(5).at("luck").at(0);
  const low = degraded(high, 8, { blur: 0, noise: 0 }, luck());
  close(low.slice(5, 6), [(high[18]! + high[19]! + high[26]! + high[27]!) / 4], 1e-7);
  const flat = new Float32Array(64).fill(0.25);
  close(degraded(flat, 8, { blur: 1.7, noise: 0 }, luck()), new Array(16).fill(0.25), 1e-6);
  const grey = new Float32Array(4096).fill(0.5);
  const noisy = degraded(grey, 64, { blur: 0, noise: 0.1 }, luck());
  const spread = Math.sqrt(noisy.reduce((sum, value) => sum + (value - 0.5) ** 2, 0) / noisy.length);
  // The standard error of a deviation from 1,024 draws is 2 %.
  assert.ok(Math.abs(spread - 0.1) < 0.008, `${spread}`);
  const edge = Float32Array.from({ length: 64 }, (_, i) => Number(i % 8 > 3));
  const soft = degraded(edge, 8, { blur: 1.5, noise: 0 }, luck());
  assert.ok(
    soft[1]! > 0.05 && soft[1]! < 0.5 && Math.abs(soft[1]! + soft[2]! - 1) < 1e-6,
    "an edge is soft and stays where it was",
  );
});

test("scores lie in [0, 1), and are higher for worse", () => {
  assert.deepEqual(scoresOf({ blur: 0, noise: 0 }), [0, 0]);
  assert.deepEqual(scoresOf({ blur: 1, noise: 0.1 }), [0.5, 0.5]);
  const [blur, noise] = scoresOf({ blur: 9, noise: 5 });
  assert.ok(blur > 0.5 && blur < 1 && noise > 0.5 && noise < 1);
});

const imagesOf = (count: number, size: number, rng: Rng) => {
  const made = generatedPictures(count, size, rng);
  return imageData(made, hashesOf(made));
};

test("generated pictures differ, with edges between what covers and what is covered; a longer list begins alike", () => {
  const { pixels } = generatedPictures(4, 32, new Rng(6));
  const pictureAt = (n: number) => pixels.subarray(n * 1024, (n + 1) * 1024);
  for (let n = 0; n < 4; n++) {
    const steps = pictureAt(n).filter((grey, i) => i % 32 > 0 && Math.abs(grey - pictureAt(n)[i - 1]!) > 12);
    assert.ok(steps.length > 10, `${steps.length} places where it changes`);
  }
  assert.notDeepEqual(pictureAt(0), pictureAt(1));
  assert.deepEqual(generatedPictures(9, 32, new Rng(6)).pixels.subarray(0, 4096), pixels);
});

test("levels take turns, and each picture is degraded within its own", () => {
  const rng = new Rng(8);
  const levels = { b: { blur: [1, 2], noise: [0, 0] }, a: { blur: [0, 0], noise: [0.1, 0.2] } } satisfies Levels;
  const { columns, category, categoryNames } = degradePictures(imagesOf(6, 4, rng), levels, rng);
  assert.deepEqual(
    [categoryNames, [...category]],
    [
      ["a", "b"],
      [0, 1, 0, 1, 0, 1],
    ],
  );
  for (let n = 0; n < 6; n++) {
    const [blur, noise] = columns.degradation!.values.subarray(2 * n, 2 * n + 2);
    if (category[n] === 0) assert.ok(blur === 0 && noise! >= 0.5 - 1e-6 && noise! <= 2 / 3 + 1e-6);
    else assert.ok(noise === 0 && blur! >= 0.5 - 1e-6 && blur! <= 2 / 3 + 1e-6);
  }
});

test("the restorer that comes with the program restores what is mildly degraded better than larger pixels do", async () => {
  const side = 32;
  const rng = new Rng(7);
  const data = degradePictures(imagesOf(8, side, rng), { mild: usualLevels.mild! }, rng);
  const all = Uint32Array.from({ length: 8 }, (_, n) => n);
  const feeds = { ...columnsOf(data, all, 8), positions: Int32Array.from(all) };
  const lossOf = async (base: Float32Array) => {
    const own = restoreTask({ ranks, topK: 1, scale, side: side / 2, base });
    const executable = await new OnnxExecutor().compile(
      evaluationProgram(own, { ranks: 1 }, { rows: 8, length: 1 }),
      null,
    );
    try {
      const { losses } = await executable.run({ parameters: new Float32Array(own.layout.size), ...feeds });
      return (losses as Float32Array).reduce((sum, loss) => sum + loss, 0);
    } finally {
      executable.dispose();
    }
  };
  const [larger, restored] = [await lossOf(new Float32Array(restorerSize)), await lossOf(embeddedRestorer())];
  // 5 dB better on average is a third of the squared error.
  assert.ok(restored < 0.5 * larger, `${restored} and ${larger}`);
});
