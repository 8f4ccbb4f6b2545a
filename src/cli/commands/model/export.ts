/** `flame export`: what a run has learned, for others to load: a PEFT adapter, or a whole model with everything merged. */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { Draft, requireSpace } from "../../../base/disk.ts";
import { ScenarioError } from "../../../base/errors.ts";
import { given } from "../../../base/given.ts";
import { writeRescalers } from "../../../folder/rescalers.ts";
import { countParameters } from "../../../model/accounting.ts";
import { writeAdapterFolder } from "../../../model/formats/adapters/adapter-folder.ts";
import { BaseWeightsFile } from "../../../model/formats/prepare-weights.ts";
import { dtypeBytes } from "../../../model/formats/safetensors-header.ts";
import type { StoredDtype } from "../../../model/formats/safetensors-writer.ts";
import { writeCheckpoint } from "../../../model/formats/write-checkpoint.ts";
import { mergedWeights } from "../../../model/merge.ts";
import { isRunFolder } from "../../../run/trained-adapter.ts";
import { colors } from "../../screen/colors.ts";
import { terminal } from "../../screen/terminal.ts";
import { requireEmpty } from "./empty-folder.ts";
import { filling } from "./filling.ts";
import { checkBudget, openSubject, type Subject, warn, weightsOf } from "./subject.ts";

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
  if (merge) requireFree(to);
  else requireEmpty(to);
  const subject = openSubject({
    adapter: run,
    ...given({ round, model }),
  });
  const topK = checkBudget(budget ?? subject.model.config.topK, subject.model.config);
  if (merge) await exportMerged(subject, topK, flags);
  else await exportAdapter(subject, topK, to);
}

async function exportAdapter({ model, trained, remarks }: Subject, topK: number, to: string): Promise<void> {
  const { lora, members, pool, layers, routers } = trained.layout;
  // What cannot be merged keeps its rescalers beside it, as the run does.
  const isPlain = members === 1 && pool === null && lora.slices === undefined;
  const baseModelName = resolve(model.folder);
  const rescaler = isPlain ? trained.rescaler(topK) : new Float32Array(layers).fill(1);
  // Converting the weights of a large model takes a while; only whole routers need them.
  const weights = routers.length === 0 ? null : await weightsOf(model);
  warn(remarks(weights === null ? {} : { model: weights.digest }));
  const base = weights === null ? null : new BaseWeightsFile(weights);
  const { budgets } = trained;
  const draft = new Draft();
  try {
    // Somebody may have put something there while weights were converted.
    requireEmpty(to);
    draft.add(to, { isPlace: existsSync(to) });
    writeAdapterFolder(to, trained.layout, trained.adapter, { baseModelName, rescaler, ...(base && { base }) });
    if (!isPlain && budgets !== null) {
      writeRescalers(to, { rescalers: budgets.map((k) => ({ topK: k, factors: [...trained.rescaler(k)] })) });
    }
    draft.keep();
  } finally {
    draft.remove();
    base?.close();
  }
  const what =
    pool === null
      ? `rank ${lora.rank}, alpha ${lora.alpha}, ${lora.slices === undefined ? "for PEFT" : "whose ranks a router chooses, which PEFT does not know"}`
      : `${pool.beside.experts} small experts beside each mixture, which PEFT does not know`;
  const folders = members === 1 ? "" : `; a folder for each of ${members} members`;
  say(`${colors.bold(to)}: adapter of round ${trained.round}, ${what}${folders}`);
  if (!isPlain) {
    say(
      "rescalers.json has the factors that each layer's mixture is multiplied by, for every budget; PEFT applies none",
    );
  } else if (topK !== model.config.topK) {
    say(`for k = ${topK}: set num_experts_per_tok of the base model, which is ${model.config.topK}, to ${topK}`);
  }
}

async function exportMerged(
  { model, trained, remarks }: Subject,
  topK: number,
  { to, dtype }: ExportFlags,
): Promise<void> {
  const { lora, members, pool } = trained.layout;
  if (members > 1)
    throw new ScenarioError(`--merge makes one model, but the run trained ${members}; export its members without it`);
  if (pool !== null)
    throw new ScenarioError("--merge cannot fold small experts beside a mixture into the experts of the base");
  if (lora.slices !== undefined)
    throw new ScenarioError("--merge cannot fold ranks that differ from prompt to prompt into the experts of the base");
  const rescaler = trained.rescaler(topK);
  const { endTokens, padToken } = model.description;
  const weights = await weightsOf(model);
  warn(remarks({ model: weights.digest }));
  const base = new BaseWeightsFile(weights);
  const bytes = countParameters(base.config).total * dtypeBytes[dtype];
  try {
    await filling(to, bytes, async ({ onWritten }) => {
      // The process that held the lock may have finished its model.
      requireFree(to);
      requireSpace(to, bytes, "the merged model");
      writeCheckpoint(to, mergedWeights(base, trained.layout, trained.adapter, rescaler), {
        dtype,
        endTokens,
        padToken,
        topK,
        tokenizerFrom: model.folder,
        onProgress: onWritten,
      });
      const factors = Array.from(rescaler, (s) => s.toFixed(3)).join(", ");
      say(`${colors.bold(to)}: full model with the adapter of round ${trained.round}, num_experts_per_tok = ${topK}`);
      say(`rescaler merged into the down projections, by layer: ${factors}`);
    });
  } finally {
    base.close();
  }
}

/** What an export left that was killed is written over, but for whole shards. */
const requireFree = (to: string): void =>
  requireEmpty(to, "", (name) => name.startsWith("lock") || name.endsWith(".tmp"));

const say = (line: string): boolean => terminal.out.write(`${line}\n`);
