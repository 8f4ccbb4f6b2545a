/** The language model as a task of a run: a base model's folder, or a shape without weights, and instructions. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../../base/digest.ts";
import { ScenarioError } from "../../base/errors.ts";
import type { Problem } from "../../base/problem.ts";
import { exampleLength } from "../../data/examples.ts";
import { loadData } from "../../data/source.ts";
import { defaultTemplate } from "../../data/template.ts";
import { notesOn, type TokenizedData } from "../../data/tokenized.ts";
import { byteTokenizer } from "../../data/tokenizer.ts";
import { countLora, countParameters, roundBytes } from "../../model/accounting.ts";
import { type AdapterLayout, adapterLayout, type LoraConfig } from "../../model/adapter.ts";
import type { BaseWeights } from "../../model/base-weights.ts";
import type { ModelConfig } from "../../model/config.ts";
import { writeAdapterFolder } from "../../model/formats/adapter-folder.ts";
import { BaseWeightsFile } from "../../model/formats/prepare-weights.ts";
import { initialAdapter } from "../../model/initial-adapter.ts";
import type { Loaded, OpenedTask, OpenOptions, TaskKind, TaskSpec } from "../kind.ts";
import { requireText } from "../sources.ts";
import type { TaskShape } from "../task.ts";
import type { LlmFields } from "./fields.ts";
import { type OpenedModel, openModel, shapeDigest } from "./load-model.ts";
import { loraFormFor } from "./lora-form.ts";
import { llmTask, parameterLayout } from "./task.ts";

interface LlmSpec {
  readonly config: ModelConfig;
  readonly lora: LoraConfig;
}

export interface OpenedLlm extends OpenedTask {
  readonly type: "llm";
  readonly config: ModelConfig;
  readonly adapter: AdapterLayout;
}

export const llm: TaskKind<LlmFields, LlmSpec> = {
  open,
  make({ config, lora }, shape, executor) {
    const form = executor === null ? "factored" : executor.pads === true ? "padded" : loraFormFor(config);
    return llmTask({ config, lora, form, shape });
  },
};

/** What an engine is made from by those who have base weights and an adapter in hand. */
export const llmSpec = (weights: BaseWeights, lora: LoraConfig, shape: TaskShape = {}): TaskSpec => ({
  type: "llm",
  options: { config: weights.config, lora } satisfies LlmSpec,
  shape,
  weights,
});

/** Of a language model; every one has some. */
export const baseWeightsOf = ({ weights }: TaskSpec): BaseWeights => weights as BaseWeights;

/** What a language model has besides; null for any other task. */
export const asLlm = (task: OpenedTask): OpenedLlm | null => (task.type === "llm" ? (task as OpenedLlm) : null);

async function open({ model: given, lora }: LlmFields, options: OpenOptions): Promise<OpenedLlm> {
  const { shape, cache } = options;
  const model = modelOf(given, options);
  const { config } = model;
  const adapter = adapterLayout(config, lora, shape);
  const { total, expert } = countParameters(config);
  const experts = config.layers * config.experts;
  return {
    type: "llm",
    config,
    adapter,
    task: llmTask({ config, lora, form: "factored", shape }),
    layout: parameterLayout(adapter),
    members: adapter.members,
    layers: config.layers,
    experts: adapter.pool?.beside.experts ?? config.experts,
    mixture: {
      topK: config.topK,
      expert: expert + countLora(config, lora.rank).expert,
      rest: total - experts * expert,
    },
    bytes: roundBytes(adapter, 4),
    digest: shapeDigest(config),
    save(folder, parameters, spec, name) {
      const base = new BaseWeightsFile(baseWeightsOf(spec));
      try {
        writeAdapterFolder(folder, adapter, parameters, {
          baseModelName: name,
          // The factors of each budget lie beside the adapter: PEFT has no place for them.
          rescaler: new Float32Array(config.layers).fill(1),
          base,
        });
      } finally {
        base.close();
      }
    },
    initial: (rng) => initialAdapter(adapter, rng),
    problems: tooLong(options.data, config),
    budgetProblem(k) {
      if (k > config.experts) return `the model has ${config.experts} experts`;
      return k > config.topK ? `the model was trained with ${config.topK} experts per token` : null;
    },
    load: () => load(model, options),
    async spec() {
      const weights = await model.weights(cache);
      return { spec: llmSpec(weights, lora, shape), digest: weights.digest };
    },
  };
}

const tooLong = ({ maxTokens = 0 }: OpenOptions["data"], config: ModelConfig): Problem[] =>
  maxTokens <= config.maxTokens
    ? []
    : [
        {
          path: "data.maxTokens",
          text: `is ${maxTokens}, but the model reads at most ${config.maxTokens} tokens`,
        },
      ];

type Model = Pick<OpenedModel, "config" | "tokenizer" | "weights">;

function modelOf(model: LlmFields["model"], { name, timingOnly, embedded }: OpenOptions): Model {
  if (typeof model !== "string") {
    if (!timingOnly) {
      throw new ScenarioError(
        `scenario "${name}": model is a shape without weights, which only a run with timingOnly: true can use; ` +
          `expected "embedded" or the folder of a base model`,
      );
    }
    const config = { ...model, ...shapeDefaults };
    return { config, tokenizer: async () => byteTokenizer, weights: () => Promise.reject(new Error("no weights")) };
  }
  const folder = model === "embedded" ? embedded : model;
  if (!existsSync(join(folder, "config.json"))) {
    throw new ScenarioError(
      `scenario "${name}": model is ${JSON.stringify(model)}, but ${join(folder, "config.json")} does not exist; ` +
        `expected "embedded" or a folder in Hugging Face OLMoE layout`,
    );
  }
  return openModel(folder);
}

const shapeDefaults = {
  keyValueHeads: 1,
  maxTokens: 4_096,
  ropeTheta: 10_000,
  normEpsilon: 1e-5,
  normTopK: false,
  tiedEmbeddings: false,
  attentionBias: false,
  clipQkv: null,
} as const;

async function load(model: Model, { name, seed, data }: OpenOptions): Promise<Loaded> {
  const { config } = model;
  const tokenizer = await model.tokenizer();
  const template = data.template ?? defaultTemplate(tokenizer);
  if (tokenizer.vocabulary > config.vocabulary) {
    throw new ScenarioError(
      `scenario "${name}": tokenizer "${tokenizer.name}" has ${tokenizer.vocabulary} tokens, ` +
        `but the model has embeddings for ${config.vocabulary}`,
    );
  }
  const maxTokens = Math.min(data.maxTokens ?? config.maxTokens, config.maxTokens);
  const examples = await loadData(requireText(data.source), { seed, tokenizer, template, maxTokens });
  return {
    data: examples,
    length: rowLength(examples, examples.maxTokens),
    notes: notesOn(examples),
    read: { data: examples.digest, tokenizer: tokenizer.digest, template: sha256(JSON.stringify(template)) },
  };
}

/** The longest example, rounded up to a multiple of 8: one shape of batch for the whole run. */
function rowLength(data: TokenizedData, most: number): number {
  let longest = 1;
  for (let e = 0; e < data.examples; e++) longest = Math.max(longest, exampleLength(data, e));
  return Math.min(most, Math.ceil(longest / 8) * 8);
}
