/** `flame export`: what a run has learned, for others to load: a PEFT adapter, or a whole model with everything merged. */

import { resolve } from "node:path";
import { ScenarioError } from "../../base/errors.ts";
import { given } from "../../base/given.ts";
import { exportPeft } from "../../model/formats/peft.ts";
import { BaseWeightsFile } from "../../model/formats/prepare-weights.ts";
import type { StoredDtype } from "../../model/formats/safetensors-writer.ts";
import { writeCheckpoint } from "../../model/formats/write-checkpoint.ts";
import { mergedWeights } from "../../model/merge.ts";
import { isRunFolder } from "../../run/trained-adapter.ts";
import { colors } from "../screen/colors.ts";
import { terminal } from "../screen/terminal.ts";
import { requireEmpty } from "./empty-folder.ts";
import { checkBudget, openSubject, type Subject, warn } from "./subject.ts";

interface ExportFlags {
  readonly to: string;
  readonly round?: number;
  readonly budget?: number;
  readonly merge?: boolean;
  readonly dtype: StoredDtype;
  readonly model?: string;
}

export async function exportRun(run: string, flags: ExportFlags): Promise<void> {
  if (!isRunFolder(run)) throw new ScenarioError(`${run} is not a run folder: it has no scenario.json`);
  const { to, round, budget, merge = false, model } = flags;
  requireEmpty(to);
  const subject = openSubject({
    adapter: run,
    ...given({ round, model }),
  });
  const topK = checkBudget(budget ?? subject.model.config.topK, subject.model.config);
  if (merge) await exportMerged(subject, topK, flags);
  else await exportAdapter(subject, topK, to);
}

async function exportAdapter({ model, trained, remarks }: Subject, topK: number, to: string): Promise<void> {
  const baseModelName = resolve(model.folder);
  const rescaler = trained.rescaler(topK);
  // Converting the weights of a large model takes a while; only whole routers need them.
  const weights = trained.layout.routers.length === 0 ? null : await model.weights();
  warn(remarks(weights === null ? {} : { model: weights.digest }));
  const base = weights === null ? null : new BaseWeightsFile(weights);
  try {
    exportPeft(to, trained.layout, trained.adapter, { baseModelName, rescaler, ...(base && { base }) });
  } finally {
    base?.close();
  }
  const { rank, alpha } = trained.layout.lora;
  say(`${colors.bold(to)}: adapter of round ${trained.round}, rank ${rank}, alpha ${alpha}, for PEFT`);
  if (topK !== model.config.topK) {
    say(`for k = ${topK}: set num_experts_per_tok of the base model, which is ${model.config.topK}, to ${topK}`);
  }
}

async function exportMerged(
  { model, trained, remarks }: Subject,
  topK: number,
  { to, dtype }: ExportFlags,
): Promise<void> {
  const rescaler = trained.rescaler(topK);
  const { endTokens, padToken } = model.description;
  const weights = await model.weights();
  warn(remarks({ model: weights.digest }));
  const base = new BaseWeightsFile(weights);
  try {
    writeCheckpoint(to, mergedWeights(base, trained.layout, trained.adapter, rescaler), {
      dtype,
      endTokens,
      padToken,
      topK,
      tokenizerFrom: model.folder,
    });
  } finally {
    base.close();
  }
  const factors = Array.from(rescaler, (s) => s.toFixed(3)).join(", ");
  say(`${colors.bold(to)}: full model with the adapter of round ${trained.round}, num_experts_per_tok = ${topK}`);
  say(`rescaler merged into the down projections, by layer: ${factors}`);
}

const say = (line: string): boolean => terminal.out.write(`${line}\n`);
