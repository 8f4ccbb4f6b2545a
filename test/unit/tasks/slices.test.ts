/** Ranks that a router chooses by the prompt, in the experts' LoRA, in float64 on the plain interpreter. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { InputError } from "../../../src/base/errors.ts";
import { Rng } from "../../../src/base/random.ts";
import { type Batch, idsOf } from "../../../src/data/batches.ts";
import { adapterLayout, type LoraConfig } from "../../../src/model/adapter.ts";
import {
  readAdapterFolder,
  readAdapterLike,
  writeAdapterFolder,
} from "../../../src/model/formats/adapters/adapter-folder.ts";
import { initialMember } from "../../../src/model/initial-adapter.ts";
import { llmTask } from "../../../src/tasks/llm/task.ts";
import { evaluationProgram, probeProgram, trainingStep } from "../../../src/tasks/training-step.ts";
import { folderOfFile } from "../../support/folders.ts";
import { interpret } from "../../support/reference.ts";
import { baseModel } from "../../support/reference-training.ts";
import { batchNumbers, batchOf, randomAdapter, randomWeights, smallModel } from "../../support/small-model.ts";

const config = smallModel;
const { layers, experts, topK: full } = config;
const lora = { rank: 4, alpha: 3, slices: { routed: 3, zero: 1, topK: 2 } } satisfies LoraConfig;
const candidates = 4;
const task = llmTask({ config, lora, form: "factored" });
const plain = llmTask({ config, lora: { rank: lora.rank, alpha: lora.alpha }, form: "factored" });
const weights = randomWeights(config);
const stored = Object.fromEntries(weights);

/** With loss from the fourth token of a row on; what stands before is a prompt. */
function answersOf(rows: readonly (readonly number[])[]): Batch {
  const whole = batchOf(rows, 8);
  const isAnswer = (at: number) => whole.lossPositions[at]! % 8 >= 3;
  return {
    ...whole,
    lossPositions: whole.lossPositions.filter((_, at) => isAnswer(at)),
    targets: whole.targets.filter((_, at) => isAnswer(at)),
  };
}
const texts = [
  [3, 1, 4, 1, 5, 9, 2],
  [6, 5, 3, 5, 8],
  [12, 12, 0, 7, 7, 7, 1, 1],
];
const batch = answersOf(texts);
const shape = { rows: texts.length, length: 8 };
const parameters = randomAdapter(task.adapter, 7);
const personal = new Array<number>(layers).fill(1);
const variant = { topK: 2, ranks: 2 };

/** 1 less the geometric mean of what the base model gives to the prompt's tokens. */
function degradationOf(tokens: readonly number[]): number {
  const { losses } = baseModel(weights, batchOf([tokens.slice(0, 4)], 4));
  return 1 - Math.exp(-losses!.reduce((sum, loss) => sum + loss, 0) / 3);
}

/** g of all ranks, by hand: the shared one, and p of the chosen among the others divided by their sum. */
function gatesOf(layer: number, s: number, most: number): number[] {
  const { start } = task.adapter.rankRouters[layer]!;
  const logits = Array.from({ length: candidates }, (_, at) => {
    const [slope, bias] = [parameters[start + 2 * at]!, parameters[start + 2 * at + 1]!];
    return slope * s + bias;
  });
  const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  const p = logits.map((logit) => Math.exp(logit) / sum);
  const chosen = [...p.keys()].sort((a, b) => p[b]! - p[a]!).slice(0, most);
  const mass = chosen.reduce((total, at) => total + p[at]!, 0);
  const routed = p.slice(0, 3).map((value, at) => (chosen.includes(at) ? value / mass : 0));
  return [1, ...routed];
}

/** Plain LoRA, each rank of whose B is multiplied by what that rank counts for one prompt. */
function asPlain(s: number, most: number): Float64Array {
  const flat = new Float64Array(plain.adapter.size);
  for (let expert = 0; expert < layers * experts; expert++) {
    const gates = gatesOf(Math.floor(expert / experts), s, most);
    for (const { name, rows, columns } of task.adapter.blocks) {
      const [from, to] = [task.adapter.matrix(name, expert).start, plain.adapter.matrix(name, expert).start];
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const value = parameters[from + row * columns + column]!;
          if (name.endsWith("A")) flat[to + row * columns + column] = value;
          else flat[to + column * rows + row] = value * gates[row]!;
        }
      }
    }
  }
  return flat;
}

const evaluated = (own: ReturnType<typeof llmTask>, given: Batch, flat: ArrayLike<number>, at: object, rows: number) =>
  interpret(
    evaluationProgram(own, at as typeof variant, { rows, length: 8 }),
    { parameters: flat, personal, ...batchNumbers(given, experts) },
    stored,
  );

test("each prompt has plain LoRA whose ranks count what its surprise has chosen, with as many as the budget allows", () => {
  for (const most of [1, 2, 4]) {
    const { losses } = evaluated(task, batch, parameters, { topK: 2, ranks: most }, texts.length);
    const expected = texts.flatMap((tokens) => {
      const alone = evaluated(plain, answersOf([tokens]), asPlain(degradationOf(tokens), most), { topK: 2 }, 1);
      return [...alone.losses!];
    });
    assert.equal(losses!.length, expected.length);
    for (const [i, loss] of losses!.entries()) assert.ok(Math.abs(loss - expected[i]!) <= 1e-12);
  }
});

test("padded and shared calls are the same mathematics, and what an answer says does not choose", () => {
  const padded = llmTask({ config, lora, form: "padded" });
  const { losses } = evaluated(task, batch, parameters, variant, texts.length);
  const same = evaluated(padded, batch, parameters, variant, texts.length).losses!;
  for (const [i, loss] of losses!.entries()) assert.ok(Math.abs(loss - same[i]!) <= 1e-12);

  const severity = (given: Batch) => {
    const probe = ({ pass }: { pass: { ranks?: { severity: never } } }) => ({ severity: pass.ranks!.severity });
    const program = probeProgram(task, variant, { clients: 1, ...shape }, {}, probe as never);
    const feeds = { parameters, personal, ...batchNumbers(given, experts) };
    return [...interpret(program, feeds, stored).severity!];
  };
  const otherwise = answersOf(texts.map((tokens) => [...tokens.slice(0, 4), ...tokens.slice(4).map((id) => id ^ 1)]));
  assert.notDeepEqual(idsOf(otherwise), idsOf(batch));
  assert.deepEqual(severity(otherwise), severity(batch));
  for (const [row, s] of severity(batch).entries()) assert.ok(Math.abs(s - degradationOf(texts[row]!)) <= 1e-12);
});

const resting = { beta1: 0, beta2: 0, epsilon: 1, clip: false, decay: false };
const feedsOf = (clients: number) => ({
  parametersMean: new Float64Array(clients * task.adapter.size),
  parametersVariance: new Float64Array(clients * task.adapter.size),
  personal: new Float64Array(clients * layers).fill(1),
  personalMean: new Float64Array(clients * layers),
  personalVariance: new Float64Array(clients * layers),
  learningRate: new Array<number>(clients).fill(1),
  personalLearningRate: new Array<number>(clients).fill(1),
  correction1: [1],
  correction2: [1],
});

test("the step has the slopes of its loss, router and ranks alike; what nobody chose rests and counts nothing", () => {
  const step = trainingStep(task, variant, { clients: 1, ...shape }, resting);
  const found = interpret(step, { parameters, ...feedsOf(1), ...batchNumbers(batch, experts) }, stored);
  const lossAt = (flat: ArrayLike<number>) => {
    const { losses } = evaluated(task, batch, flat, variant, texts.length);
    return losses!.reduce((sum, loss) => sum + loss, 0) / losses!.length;
  };
  const [h, point] = [1e-5, Float64Array.from(parameters)];
  for (let direction = 0; direction < 3; direction++) {
    const way = new Rng(3).at("way", direction).at(0);
    // The router alone in the last, so that its part does not drown.
    const isMoved = (i: number) => direction < 2 || i >= task.adapter.rankRouters[0]!.start;
    const along = point.map((_, i) => (isMoved(i) ? way.normal() : 0));
    const at = (factor: number) => lossAt(point.map((value, i) => value + factor * along[i]!));
    const slope = (at(h) - at(-h)) / (2 * h);
    const expected = along.reduce((sum, d, i) => sum + d * found.parametersMean![i]!, 0);
    assert.ok(Math.abs(slope - expected) <= 1e-6, `slope ${slope}, gradient ${expected}`);
  }
  const { groups, routedRanks } = task.layout;
  const tokens = texts.flat().length;
  // A token of the last layer whose next one carries no loss is counted and teaches nothing.
  for (const [group, { ranges, name }] of groups.entries()) {
    const moved = ranges.some(({ start, end }) => found.parametersMean!.subarray(start, end).some((g) => g !== 0));
    assert.ok(!moved || found.counts![group]! > 0, name);
  }
  assert.ok(routedRanks!.some((group) => found.counts![group] === 0));
  const ofRouters = found.counts!.slice(-layers);
  assert.deepEqual([...ofRouters], new Array(layers).fill(tokens));
  // The shared rank of all experts together: every token went to two.
  const shared = found.counts!.slice(routedRanks!.length, routedRanks!.length + experts);
  assert.equal(
    shared.reduce((sum, count) => sum + count, 0),
    2 * tokens,
  );
});

test("two clients in one call have what each has alone", () => {
  const own = [parameters, randomAdapter(task.adapter, 8)];
  const given = [batch, answersOf(texts.toReversed())];
  const options = { ...resting, epsilon: 1e-8 };
  const alone = given.map((one, client) => {
    const feeds = { parameters: own[client]!, ...feedsOf(1), ...batchNumbers(one, experts) };
    return interpret(trainingStep(task, variant, { clients: 1, ...shape }, options), feeds, stored);
  });
  const numbers = given.map((one) => batchNumbers(one, experts));
  const together = interpret(
    trainingStep(task, variant, { clients: 2, ...shape }, options),
    {
      parameters: own.flatMap((flat) => [...flat]),
      ...feedsOf(2),
      ids: given.flatMap((one) => [...idsOf(one)]),
      padding: numbers.flatMap(({ padding }) => padding),
      positions: given.flatMap(({ lossPositions }, client) => [...lossPositions].map((at) => at + 24 * client)),
      targets: given.flatMap(({ targets }) => [...targets]),
      inverseCount: given.flatMap(({ targets }) => Array.from(targets, () => 1 / targets.length)),
    },
    stored,
  );
  const { size, groups } = task.layout;
  for (const [client, { parametersMean, counts }] of alone.entries()) {
    const part = together.parametersMean!.slice(client * size, (client + 1) * size);
    for (const [i, value] of part.entries()) assert.ok(Math.abs(value - parametersMean![i]!) <= 1e-12);
    for (const group of groups.keys()) assert.equal(together.counts![2 * group + client], counts![group]);
  }
});

test("groups cover the vector once; the first model is the base; zero slots add rows to the router alone", () => {
  const { size, groups, pairs, routedRanks } = task.layout;
  const seen = new Uint8Array(size);
  for (const { start, end } of groups.flatMap(({ ranges }) => ranges)) for (let i = start; i < end; i++) seen[i]!++;
  assert.ok(seen.every((times) => times === 1));
  assert.equal(routedRanks!.length, layers * experts * 3);
  assert.equal(pairs.length, layers * experts * 4 * 3);
  const more = adapterLayout(config, { ...lora, slices: { ...lora.slices, zero: 3 } });
  assert.equal(more.size - size, layers * 2 * 2);
  const first = initialMember(task.adapter, new Rng(1), 0);
  const { losses } = evaluated(task, batch, first, { topK: full, ranks: 2 }, texts.length);
  assert.deepEqual(losses, baseModel(weights, batch).losses);
  assert.deepEqual(task.abilities, ["slices"]);
  assert.ok(!plain.abilities.includes("slices"));
  assert.deepEqual(
    [1, 2, 3].map((budget) => task.budget.variant(budget).ranks),
    [1, 2, 2],
  );
});

test("they are written in a folder of their own kind and read back bit for bit; another model's is refused", () => {
  const folder = join(folderOfFile(), "slices");
  writeAdapterFolder(folder, task.adapter, parameters, { baseModelName: "base", rescaler: personal });
  const read = readAdapterFolder(folder, config);
  assert.deepEqual([read.adapter, read.layout.lora], [parameters, lora]);
  assert.throws(() => readAdapterLike(folder, config, plain.adapter), /holds LoRA of rank 4 and alpha 3, 2 of 3 ranks/);
  assert.throws(() => readAdapterFolder(folder, { ...config, layers: 3 }), {
    name: InputError.name,
    message: /ranks_config\.json: model\.layers is 2, but the model has 3/,
  });
  const path = join(folder, "ranks_config.json");
  writeFileSync(path, readFileSync(path, "utf8").replace('"routed": 3', '"routed": 5'));
  assert.throws(() => readAdapterFolder(folder, config), /slices\.routed is 5, but rank is 4/);
});
