/** `flame synthesize`: a model of a published shape, or of a shape of one's own, with random weights. */
import { existsSync } from "node:fs";
import { requireSpace } from "../../../base/disk.ts";
import { ScenarioError } from "../../../base/errors.ts";
import { formatBytes } from "../../../base/units.ts";
import { byteTokenizer } from "../../../data/tokenizer.ts";
import { countParameters } from "../../../model/accounting.ts";
import type { ModelConfig } from "../../../model/config.ts";
import { synthesize, synthesizedBytes, unfinished } from "../../../pretraining/synthetic.ts";
import { knownShapes } from "../../../run/package.ts";
import { openModel } from "../../../tasks/llm/load-model.ts";
import { colors } from "../../screen/colors.ts";
import { terminal } from "../../screen/terminal.ts";
import { requireEmpty } from "./empty-folder.ts";
import { filling } from "./filling.ts";
import { modelFolder } from "./subject.ts";

interface Flags {
  readonly like: string;
  readonly to: string;
  readonly layers?: number;
  readonly seed: number;
}

export async function synthesizeModel(flags: Flags): Promise<void> {
  const { like, to, seed } = flags;
  const config = shapeOf(flags);
  const total = synthesizedBytes(config);
  requireFree(to);
  await filling(to, total, async ({ signal, onWritten }) => {
    // The process that held the lock may have finished its model.
    requireFree(to);
    requireSpace(to, total, `a model like ${like}`);
    await synthesize(to, config, { seed, signal, onProgress: onWritten });
    const parameters = countParameters(config).total.toLocaleString("en-US");
    const { layers } = config;
    const shape = `${layers} ${layers === 1 ? "layer" : "layers"}, ${parameters} parameters, ${formatBytes(total)}`;
    terminal.out.write(`${colors.bold(to)}: random weights in the shape of ${like}, ${shape}; reads bytes\n`);
  });
}

function shapeOf({ like, layers }: Flags): ModelConfig {
  const folder = modelFolder(like);
  if (!existsSync(folder)) {
    const names = [...knownShapes().keys()].join(", ");
    throw new ScenarioError(`--like ${like}: expected ${names}, or a folder with a config.json`);
  }
  const { config } = openModel(folder);
  if (config.vocabulary < byteTokenizer.vocabulary) {
    const wanted = `expected at least ${byteTokenizer.vocabulary}, the tokens of the tokenizer of bytes`;
    throw new ScenarioError(`--like ${like} has a vocabulary of ${config.vocabulary}, ${wanted}`);
  }
  if (layers === undefined) return config;
  if (layers > config.layers) throw new ScenarioError(`--layers is ${layers}, but ${like} has ${config.layers}`);
  return { ...config, layers };
}

/** What a synthesis left that was killed is written over. */
const requireFree = (to: string): void =>
  requireEmpty(to, "", (name) => name.startsWith("lock") || name.endsWith(unfinished));
