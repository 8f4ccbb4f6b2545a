/** `flame pretrain`: makes a small base model from the generated corpus. */

import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { makeFolder, onDisk, writeAtomically } from "../../../base/disk.ts";
import { InputError } from "../../../base/errors.ts";
import { readJsonAs } from "../../../base/json.ts";
import { byteTokenizer } from "../../../data/tokenizer.ts";
import { awaitLock } from "../../../folder/lock.ts";
import type { ModelConfig } from "../../../model/config.ts";
import { SafetensorsFile } from "../../../model/formats/safetensors.ts";
import { writeSafetensors } from "../../../model/formats/safetensors-writer.ts";
import { writeCheckpoint } from "../../../model/formats/write-checkpoint.ts";
import { modelCard } from "../../../pretraining/model-card.ts";
import {
  type Making,
  makings,
  Pretrainer,
  type PretrainRecipe,
  type PretrainReport,
  type PretrainState,
} from "../../../pretraining/pretrainer.ts";
import { OnnxExecutor } from "../../../tensor/executors/onnx.ts";
import { colors } from "../../screen/colors.ts";
import { onInterrupt } from "../../screen/interrupt.ts";
import { ProgressLine } from "../../screen/progress-line.ts";
import { terminal } from "../../screen/terminal.ts";
import { requireEmpty } from "./empty-folder.ts";

interface Flags {
  readonly to: string;
  readonly dense?: boolean;
  readonly steps?: number;
  readonly seed?: number;
  readonly threads: number;
  readonly saveEvery: number;
  readonly force?: boolean;
}

const curveSchema: z.ZodType<{ readonly curve: readonly PretrainReport[] }> = z.object({
  curve: z.array(
    z.object({ step: z.int(), loss: z.number(), balance: z.number(), z: z.number(), load: z.array(z.number()) }),
  ),
});

/** Held-out batches behind every row of the loss curve. */
const heldOutBatches = 8;
const measureEvery = 200;

export async function pretrain(flags: Flags): Promise<void> {
  requireFree(flags);
  onDisk(`cannot write to ${flags.to}`, () => makeFolder(flags.to));
  const lock = await awaitLock(join(flags.to, "lock"), (text) => void terminal.err.write(`${text}\n`));
  try {
    // The process that held the lock may have finished its model.
    requireFree(flags);
    await train(flags);
  } finally {
    lock.release();
  }
}

const stateName = "pretraining.safetensors";
const curveName = "training.json";

/** An interrupted pre-training goes on; before its first state it leaves no more than a curve, and half-written files. */
function requireFree({ to, force }: Flags): void {
  if (force === true || existsSync(join(to, stateName))) return;
  const isLeftover = (name: string) => name.startsWith("lock") || name === curveName || name.endsWith(".tmp");
  requireEmpty(to, ", or --force to make the model anew in its place", isLeftover);
}

async function train(flags: Flags): Promise<void> {
  const made = makings[flags.dense === true ? "dense" : "embedded"];
  const { steps = made.recipe.steps, seed = made.recipe.seed } = flags;
  const making: Making = { ...made, recipe: { ...made.recipe, steps, seed } };
  const { config, recipe } = making;
  const stateFile = join(flags.to, stateName);
  const curveFile = join(flags.to, curveName);
  const resumed = existsSync(stateFile) ? readState(stateFile, recipe) : null;
  const trainer = await Pretrainer.create(new OnnxExecutor({ threads: flags.threads }), making, resumed);
  const curve: PretrainReport[] = resumed ? readCurve(curveFile).filter(({ step }) => step <= resumed.step) : [];
  const progress = new ProgressLine("step", recipe.steps, trainer.state.step);

  let interrupted: number | null = null;
  const listening = await onInterrupt((exitCode) => {
    interrupted = exitCode;
  });
  listening.leave({ words: "ended at once; the same command goes on from the state that was saved last" });
  // The curve first: rows of later steps than the state's are dropped when it goes on, missing ones would stay missing.
  const save = () => {
    writeAtomically(curveFile, `${JSON.stringify({ recipe, curve }, null, 1)}\n`);
    writeState(stateFile, trainer.state, recipe);
  };
  while (trainer.state.step < recipe.steps && interrupted === null) {
    const { step, loss } = await trainer.step();
    progress.update(step, `loss ${loss.toFixed(3)}`);
    if (step % measureEvery === 0 || step === recipe.steps) {
      const report = await trainer.heldOut(heldOutBatches);
      curve.push(report);
      progress.note(describe(config, report));
    }
    if (step % flags.saveEvery === 0) save();
  }
  save();
  progress.close();
  listening.deafen();
  if (interrupted !== null) {
    terminal.err.write(`stopped after step ${trainer.state.step}; the same command goes on from here\n`);
    process.exitCode = interrupted;
    return;
  }
  writeCheckpoint(flags.to, trainer.weights(), {
    dtype: "F16",
    endTokens: [byteTokenizer.end],
    padToken: byteTokenizer.pad,
  });
  writeAtomically(join(flags.to, "README.md"), modelCard(making, curve));
  rmSync(stateFile);
  trainer.dispose();
  terminal.out.write(`${colors.bold(flags.to)}: ${describe(config, curve.at(-1)!)}\n`);
}

function describe({ layers, experts }: ModelConfig, { step, loss, balance, load }: PretrainReport): string {
  const quality = `step ${step}: held-out loss ${loss.toFixed(4)}`;
  if (experts === 1) return quality;
  const worst = Array.from({ length: layers }, (_, layer) => {
    const row = load.slice(layer * experts, (layer + 1) * experts);
    return (Math.max(...row) * experts) / row.reduce((a, b) => a + b, 0);
  });
  const loads = worst.map((value) => value.toFixed(2)).join(" ");
  return `${quality}, balance ${balance.toFixed(3)}, max/mean load per layer ${loads}`;
}

function writeState(path: string, state: PretrainState, recipe: PretrainRecipe): void {
  const tensors = (["weights", "mean", "variance"] as const).map((name) => ({
    name,
    shape: [state[name].length],
    values: state[name],
  }));
  writeSafetensors(path, tensors, { metadata: { step: String(state.step), recipe: JSON.stringify(recipe) } });
}

function readState(path: string, recipe: PretrainRecipe): PretrainState {
  const file = SafetensorsFile.open(path);
  try {
    const made = file.metadata.get("recipe");
    if (made !== JSON.stringify(recipe)) {
      throw new InputError(
        `${path} belongs to another pre-training: expected ${JSON.stringify(recipe)}, got ${made}. Remove it to start over.`,
      );
    }
    const read = (name: string) => {
      const values = new Float32Array(file.entry(name).size);
      file.readFloats(name, values);
      return values;
    };
    return {
      step: Number(file.metadata.get("step")),
      weights: read("weights"),
      mean: read("mean"),
      variance: read("variance"),
    };
  } finally {
    file.close();
  }
}

const readCurve = (path: string): readonly PretrainReport[] => readJsonAs(curveSchema, path).curve;
