/** `flame export`: what a run has learned, for others to load: a PEFT adapter, or a whole model with everything merged. */
import { resolve } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import { ScenarioError } from "../../base/errors.ts";
import { exportPeft } from "../../model/formats/peft.ts";
import { BaseWeightsFile } from "../../model/formats/prepare-weights.ts";
import type { StoredDtype } from "../../model/formats/safetensors-writer.ts";
import { writeCheckpoint } from "../../model/formats/write-checkpoint.ts";
import { mergedWeights } from "../../model/merge.ts";
import { isRunFolder } from "../../run/trained-adapter.ts";
import { requireEmpty } from "../empty-folder.ts";
import { checkBudget, openSubject, positiveNumber, type Subject, wholeNumber } from "../options.ts";
import { colors } from "../screen/colors.ts";
import { terminal } from "../screen/terminal.ts";

interface ExportFlags {
  readonly to: string;
  readonly round?: number;
  readonly budget?: number;
  readonly merge?: boolean;
  readonly dtype: StoredDtype;
  readonly model?: string;
}

export function register(program: Command): void {
  program
    .command("export")
    .description("writes a run's adapter for PEFT, or merges it into a full model")
    .argument("<run>", "the run's folder")
    .requiredOption("--to <folder>", "where it goes; made if missing, and must be empty")
    .option("--round <number>", "the adapter after this round (default: the last)", wholeNumber)
    .option("--budget <number>", "experts per token it is for (default: the model's own)", positiveNumber)
    .option("--merge", "write a full Hugging Face model with adapter and rescaler in its weights")
    .option("--dtype <name>", "how a merged model is stored: float32, bfloat16, float16", dtype, "F32" as StoredDtype)
    .option("--model <folder>", "the base model, if it is no longer where the run found it")
    .action(exportRun);
}

async function exportRun(run: string, flags: ExportFlags): Promise<void> {
  if (!isRunFolder(run)) throw new ScenarioError(`${run} is not a run folder: it has no scenario.json`);
  const { to, round, budget, merge = false, model } = flags;
  requireEmpty(to);
  const subject = openSubject({
    adapter: run,
    ...(round === undefined ? {} : { round }),
    ...(model === undefined ? {} : { model }),
  });
  const topK = checkBudget(budget ?? subject.model.config.topK, subject.model.config);
  if (merge) await exportMerged(subject, topK, flags);
  else exportAdapter(subject, topK, to);
}

function exportAdapter({ model, trained }: Subject, topK: number, to: string): void {
  exportPeft(to, trained.layout, trained.adapter, {
    baseModelName: resolve(model.folder),
    rescaler: trained.rescaler(topK),
  });
  const { rank, alpha } = trained.layout.lora;
  say(`${colors.bold(to)}: adapter of round ${trained.round}, rank ${rank}, alpha ${alpha}, for PEFT`);
  if (topK !== model.config.topK) {
    say(`for k = ${topK}: set num_experts_per_tok of the base model, which is ${model.config.topK}, to ${topK}`);
  }
}

async function exportMerged({ model, trained }: Subject, topK: number, { to, dtype }: ExportFlags): Promise<void> {
  const rescaler = trained.rescaler(topK);
  const { endTokens, padToken } = model.description;
  const base = new BaseWeightsFile(await model.weights());
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

const dtypes: Readonly<Record<string, StoredDtype>> = { float32: "F32", bfloat16: "BF16", float16: "F16" };

function dtype(name: string): StoredDtype {
  const found = Object.hasOwn(dtypes, name) ? dtypes[name] : undefined;
  if (found === undefined) throw new InvalidArgumentError(`expected ${Object.keys(dtypes).join(", ")}.`);
  return found;
}

const say = (line: string): boolean => terminal.out.write(`${line}\n`);
