/** `flame inspect`: what a model costs at every budget, from its configuration alone; and whether its weights are whole. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { formatBytes } from "../../../base/units.ts";
import { chooseEngine } from "../../../engine/create.ts";
import {
  activeParameters,
  attentionScoreFlops,
  countLora,
  countParameters,
  forwardFlops,
  loraFlops,
  roundBytes,
  trainingFlops,
} from "../../../model/accounting.ts";
import { adapterLayout } from "../../../model/adapter.ts";
import { type ModelConfig, sparseLayers } from "../../../model/config.ts";
import { isBaseFolder, openBaseFolder } from "../../../model/formats/base-folder.ts";
import { loadCheckpoint } from "../../../model/formats/checkpoint.ts";
import { defaultWeightsCache } from "../../../model/formats/prepare-weights.ts";
import { formatTable } from "../../../report/table.ts";
import { openModel } from "../../../tasks/llm/load-model.ts";
import { colors } from "../../screen/colors.ts";
import { terminal } from "../../screen/terminal.ts";
import { describeForms, type FormFigures, formFigures } from "./base-forms.ts";
import { checkBudget, modelFolder, usualBudgets } from "./subject.ts";

interface InspectFlags {
  readonly rank: number;
  readonly budget?: readonly number[];
  readonly adapterBytes: 2 | 4;
  readonly sequence: number;
  readonly batch: number;
  readonly tokens: number;
  readonly time?: boolean;
  readonly json?: boolean;
}

export async function inspect(name: string, flags: InspectFlags): Promise<void> {
  const folder = modelFolder(name);
  const { config } = openModel(folder);
  const stored = storedWeights(folder, config);
  const figures = figuresOf(config, flags);
  const budgets = figures.budgets.map(({ topK }) => topK);
  const { rank, batch, time = false, json = false } = flags;
  const forms = await formFigures(config, budgets, { tokens: batch, rank }, time);
  if (json) terminal.out.write(`${JSON.stringify({ model: folder, config, stored, ...figures, forms })}\n`);
  else terminal.out.write(`${describe(folder, config, stored, figures, flags)}\n\n${ofForms(forms, flags)}\n`);
}

interface Stored {
  readonly files: number;
  readonly tensors: number;
  readonly bytes: number;
  readonly dtypes: readonly string[];
}

/** Null for a configuration without weights. Weights that are there are checked, their values excepted. */
function storedWeights(folder: string, config: ModelConfig): Stored | null {
  if (isBaseFolder(folder)) {
    const { form, bytes, tensors } = openBaseFolder(folder, config, undefined, defaultWeightsCache());
    return { files: 1, tensors: tensors.size, bytes, dtypes: [form] };
  }
  if (!["model.safetensors", "model.safetensors.index.json"].some((file) => existsSync(join(folder, file))))
    return null;
  const checkpoint = loadCheckpoint(folder);
  const { files, tensors, bytes } = checkpoint.weights;
  const dtypes = [...new Set(Array.from(tensors.values(), ({ dtype }) => dtype))].sort();
  checkpoint.close();
  return { files: files.length, tensors: tensors.size, bytes, dtypes };
}

type Figures = ReturnType<typeof figuresOf>;

function figuresOf(config: ModelConfig, { rank, budget, adapterBytes, sequence }: InspectFlags) {
  const lora = { rank, alpha: rank };
  const budgets = (budget ?? usualBudgets(config)).map((k) => checkBudget(k, config));
  const { expert, experts: onExperts, attention } = countLora(config, rank);
  const bytes = roundBytes(adapterLayout(config, lora), adapterBytes);
  return {
    parameters: countParameters(config),
    lora: { rank, parameters: onExperts, perExpert: expert, attention },
    scoreFlopsPerToken: attentionScoreFlops(config, sequence),
    budgets: budgets.map((k) => ({
      topK: k,
      activeParameters: activeParameters(config, k),
      forwardFlopsPerToken: forwardFlops(config, k),
      forwardFlopsPerSequence: sequence * forwardFlops(config, k),
      loraFlopsPerToken: loraFlops(config, k, rank),
      trainingFlopsPerToken: trainingFlops(config, k, rank),
      downloadBytes: bytes.download,
      uploadBytes: bytes.upload,
    })),
  };
}

function describe(
  folder: string,
  config: ModelConfig,
  stored: Stored | null,
  { parameters, lora, scoreFlopsPerToken, budgets }: Figures,
  { sequence }: InspectFlags,
): string {
  const { experts, expertWidth, width, heads, keyValueHeads, topK, vocabulary, maxTokens } = config;
  const attention = keyValueHeads === heads ? `${heads} heads` : `${heads} heads over ${keyValueHeads} key/value heads`;
  const sparse = sparseLayers(config).length;
  const facts = [
    ["shape", `${sparse} layers of ${experts} experts, width ${width}, experts ${expertWidth} wide, top-${topK}`],
    ...besides(config).map((text) => ["", text]),
    ["", `${attention}, ${count(vocabulary)} tokens, at most ${count(maxTokens)} in a row`],
    ["parameters", count(parameters.total)],
    ["  expert", `${count(parameters.expert)}, ${count(sparse * experts)} of them`],
    ["  other", `${count(parameters.total - sparse * experts * parameters.expert)}`],
    [
      "LoRA",
      `rank ${lora.rank} on every ${config.sharedWidth === undefined ? "" : "routed "}expert: ${count(lora.parameters)} (${count(lora.perExpert)} an expert)`,
    ],
    ["", `on attention, with lora.targets "experts-and-attention": ${count(lora.attention)} more`],
    ["weights", stored === null ? "none here: figures are from config.json alone" : storage(stored)],
  ];
  const isLarge = parameters.total >= 1e8;
  const [unit, unitName] = isLarge ? [1e9, "GFLOP"] : [1e6, "MFLOP"];
  const perSequence = `${unitName}/${sequence}`;
  const titles = ["k", "active", `${unitName}/token`, perSequence, "LoRA adds", "training", "down", "up"];
  const table = formatTable(
    titles,
    budgets.map((row) => [
      row.topK,
      count(row.activeParameters),
      (row.forwardFlopsPerToken / unit).toFixed(3),
      (row.forwardFlopsPerSequence / unit).toFixed(1),
      (row.loraFlopsPerToken / unit).toFixed(3),
      (row.trainingFlopsPerToken / unit).toFixed(3),
      formatBytes(row.downloadBytes),
      formatBytes(row.uploadBytes),
    ]),
  );
  const scores = ((sequence * scoreFlopsPerToken) / unit).toFixed(1);
  const notes = [
    `${unitName} of a forward pass through the matrices, for one token and for ${sequence}; attention scores add ${scores} to those.`,
    `LoRA adds and training: ${unitName} a token.`,
    "Down and up: what a client receives and sends in a round; the adapter's rank does not depend on k.",
  ].join("\n");
  return [
    colors.bold(folder),
    ...facts.map(([name, text]) => `  ${name!.padEnd(12)}${text}`),
    "",
    table,
    "",
    colors.dim(notes),
  ].join("\n");
}

/** What there is beside routed experts. */
function besides({ sharedWidth, dense }: ModelConfig): string[] {
  const facts: string[] = [];
  if (sharedWidth !== undefined) facts.push(`each with an expert that all tokens share, ${sharedWidth} wide`);
  if (dense) facts.push(`${dense.layers.length} dense layers in between, ${dense.width} wide`);
  return facts;
}

function ofForms(forms: readonly FormFigures[], { batch, tokens, time = false }: InspectFlags): string {
  const { gpu, reason } = chooseEngine("auto");
  const notes = [
    `What a run takes, by formula: weights, which all workers share, and for each worker LoRA, gradients, AdamW and a batch of ${batch}`,
    "tokens; attention scores are left out, and what layers that are computed again save.",
    time
      ? `Tokens a second ${gpu ? "on the GPU" : "on one core"}: products of these sizes were timed (${reason}), and what else a`
      : "--time measures how fast this machine is at it, in some seconds.",
    ...(time ? ["step does is left out. On a model with weights, flame forecast times real steps."] : []),
  ].join("\n");
  return `${describeForms(forms, batch, tokens)}\n\n${colors.dim(notes)}`;
}

const storage = ({ files, tensors, bytes, dtypes }: Stored): string =>
  `${formatBytes(bytes)} in ${files} ${files === 1 ? "file" : "files"}: ${tensors} tensors, ${dtypes.join(" and ")}, all as expected`;

/** 6,919,161,856 */
const count = (value: number): string => value.toLocaleString("en-US");
