/**
 * Makes the frozen restorer of the task `restore` again, from nothing but a seed:
 *
 *   node --import tsx scripts/restorer.ts assets/restorer
 *
 * It is trained on mildly degraded pictures alone, so that there is something left for ranks to learn.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Rng } from "../src/base/random.ts";
import { loadImages, pictures } from "../src/data/images/source.ts";
import { namedTensors } from "../src/model/formats/flat-tensors.ts";
import { writeSafetensors } from "../src/model/formats/safetensors-writer.ts";
import { degradePictures, type Levels, usualLevels } from "../src/tasks/restore/data.ts";
import { products, restored, restorerSize, restorerTensors } from "../src/tasks/restore/restorer.ts";
import { gradients } from "../src/tensor/autodiff.ts";
import { OnnxExecutor } from "../src/tensor/executors/onnx.ts";
import { Graph } from "../src/tensor/graph/graph.ts";
import { reduceMean, square, sub } from "../src/tensor/ops/arithmetic.ts";
import { reshape } from "../src/tensor/ops/layout.ts";
import { adamW } from "../src/tensor/optimizer.ts";

const recipe = { seed: 1, steps: 4_000, rows: 16, examples: 2_048, side: 32, rate: 3e-3 } as const;
const { positionals } = parseArgs({ allowPositionals: true });
const [folder = "assets/restorer"] = positionals;
const { seed, steps, rows, examples, side, rate } = recipe;
const rng = new Rng(seed);
const executor = new OnnxExecutor();

function program() {
  const graph = new Graph();
  const vector = (name: string) => graph.input(name, "float32", [restorerSize]);
  const scalar = (name: string) => graph.input(name, "float32", [1]);
  const inputs = {
    low: graph.input("low", "float32", [(rows * side ** 2) / 4]),
    high: graph.input("high", "float32", [rows * side ** 2]),
    parameters: vector("parameters"),
    mean: vector("mean"),
    variance: vector("variance"),
    learningRate: scalar("learningRate"),
    correction1: scalar("correction1"),
    correction2: scalar("correction2"),
  };
  const { parameters, mean, variance, learningRate, correction1, correction2 } = inputs;
  const output = restored(parameters, reshape(inputs.low, [rows, side ** 2 / 4, 1]), side / 2);
  const errors = reduceMean(square(sub(output, reshape(inputs.high, [rows, side ** 2]))), [1]);
  const [gradient] = gradients(reduceMean(errors, [0], true), [parameters]);
  const step = { learningRate, decay: learningRate, correction1, correction2 };
  const options = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
  const next = adamW({ parameters, mean, variance }, gradient!, step, options, false);
  return { name: "restorer", inputs, outputs: { errors, ...next } };
}

/** He's rule; the last convolution begins a tenth as large, near pictures as they are. */
function initial(): Float32Array {
  const draws = rng.at("restorer").at(0);
  return Float32Array.from(
    products.flatMap(({ inputs, outputs }, at) => {
      const deviation = (at === products.length - 1 ? 0.1 : 1) * Math.sqrt(2 / inputs);
      return Array.from({ length: (inputs + 1) * outputs }, (_, i) =>
        i < inputs * outputs ? deviation * draws.normal() : 0,
      );
    }),
  );
}

/** @param key other pictures for another one */
function rowsFrom(count: number, key: number, levels: Levels) {
  const images = loadImages(pictures({ examples: count, side }), { seed: seed + key });
  const { low, high } = degradePictures(images, levels, new Rng(seed + key)).columns;
  const of = ({ width, values }: NonNullable<typeof low>, chosen: readonly number[]) =>
    Float32Array.from(chosen.flatMap((n) => [...values.subarray(n * width, (n + 1) * width)]));
  return (chosen: readonly number[]) => ({ low: of(low!, chosen), high: of(high!, chosen) });
}

async function main(): Promise<void> {
  const trained = rowsFrom(examples, 0, { mild: usualLevels.mild! });
  const executable = await executor.compile(program(), null);
  const draws = rng.at("order").at(0);
  const zeros = new Float32Array(restorerSize);
  const stateAt = (parameters: Float32Array) => ({ parameters, mean: zeros, variance: zeros });
  const numbers = (learningRate: number, step: number) => ({
    learningRate: Float32Array.of(learningRate),
    correction1: Float32Array.of(1 / (1 - 0.9 ** step)),
    correction2: Float32Array.of(1 / (1 - 0.999 ** step)),
  });
  let state: Record<string, Float32Array> = stateAt(initial());
  for (let step = 1; step <= steps; step++) {
    const chosen = Array.from({ length: rows }, () => draws.below(examples));
    const cosine = 0.5 * (1 + Math.cos((Math.PI * step) / steps));
    const out = await executable.run({ ...trained(chosen), ...state, ...numbers(rate * cosine, step) });
    const { errors: _, ...next } = out as Record<string, Float32Array>;
    state = next;
    if (step % 500 === 0) console.log(`step ${step} of ${steps}`);
  }
  /** Mean over 400 pictures of a level, in decibels. */
  const psnrAt = async (parameters: Float32Array, levels: Levels) => {
    const held = rowsFrom(400, 1, levels);
    let sum = 0;
    for (let from = 0; from < 400; from += rows) {
      const chosen = Array.from({ length: rows }, (_, i) => from + i);
      const { errors } = await executable.run({ ...held(chosen), ...stateAt(parameters), ...numbers(0, 1) });
      for (const error of errors as Float32Array) sum -= 10 * Math.log10(error);
    }
    return (sum / 400).toFixed(2);
  };
  mkdirSync(folder, { recursive: true });
  writeSafetensors(join(folder, "model.safetensors"), namedTensors(restorerTensors, state.parameters!));
  const table: string[] = [];
  for (const [name, level] of Object.entries(usualLevels)) {
    const [none, own] = [await psnrAt(zeros, { [name]: level }), await psnrAt(state.parameters!, { [name]: level })];
    table.push(`| ${name} | ${level.blur.join(" to ")} | ${level.noise.join(" to ")} | ${none} | ${own} |`);
  }
  writeFileSync(join(folder, "README.md"), card(table));
  executable.dispose();
}

const card = (table: readonly string[]) => `# The embedded restorer

Doubles the resolution of a picture: three 3x3 convolutions, ${restorerSize} numbers, float32. The task \`restore\` keeps it
frozen and trains ranks on its products. Made by \`scripts/restorer.ts\` from generated pictures (bars and blobs on a slope
of greys), ${steps} AdamW steps of ${rows}, rate ${rate} falling to 0, seed ${seed}; only mild degradation was seen.

Mean PSNR over 400 other pictures of ${side} x ${side}, in dB, beside that of larger pixels:

| degradation | blur, pixels | noise, greys | larger pixels | restored |
| --- | --- | --- | ---: | ---: |
${table.join("\n")}
`;

await main();
