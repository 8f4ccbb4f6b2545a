/** The language model as a task of a run: a base model's folder, or a shape without weights, and instructions. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ScenarioError } from "../../base/errors.ts";
import { byteTokenizer } from "../../data/tokenizer.ts";
import { countLora, countParameters, roundBytes } from "../../model/accounting.ts";
import { adapterLayout, type LoraConfig } from "../../model/adapter.ts";
import type { BaseWeights } from "../../model/base-weights.ts";
import { type ModelConfig, plainSettings } from "../../model/config.ts";
import { readAdapterLike, writeAdapterFolder } from "../../model/formats/adapters/adapter-folder.ts";
import { BaseWeightsFile } from "../../model/formats/prepare-weights.ts";
import { initialAdapter } from "../../model/initial-adapter.ts";
import type { OpenedTask, OpenOptions, TaskKind, TaskSpec } from "../kind.ts";
import type { TaskShape } from "../task.ts";
import type { LlmFields } from "./fields.ts";
import { loadInstructions, tooLong } from "./instructions.ts";
import { type OpenedModel, openModel, shapeDigest } from "./load-model.ts";
import { loraFormFor } from "./lora-form.ts";
import { llmTask, parameterLayout } from "./task.ts";

type Fields = LlmFields & { readonly sharedRescaler: boolean };

interface LlmSpec {
  readonly config: ModelConfig;
  readonly lora: LoraConfig;
  readonly sharedRescaler: boolean;
}

export const llm: TaskKind<Fields, LlmSpec> = {
  open,
  make({ config, lora, sharedRescaler }, shape, executor) {
    const form = executor === null ? "factored" : executor.pads === true ? "padded" : loraFormFor(config);
    return llmTask({ config, lora, form, shape, sharedRescaler });
  },
};

/** What an engine is made from by those who have base weights and an adapter in hand. */
export const llmSpec = (
  weights: BaseWeights,
  lora: LoraConfig,
  shape: TaskShape = {},
  sharedRescaler = false,
): TaskSpec => ({
  type: "llm",
  options: { config: weights.config, lora, sharedRescaler } satisfies LlmSpec,
  shape,
  weights,
});

/** Of a language model; every one has some. */
export const baseWeightsOf = ({ weights }: TaskSpec): BaseWeights => weights as BaseWeights;

async function open({ model: given, base, lora, sharedRescaler }: Fields, options: OpenOptions): Promise<OpenedTask> {
  const { shape, cache, onConversion } = options;
  const model = modelOf(given, base, options);
  const { config } = model;
  const adapter = adapterLayout(config, lora, shape);
  const { total, expert } = countParameters(config);
  const experts = adapter.layers * config.experts;
  return {
    type: "llm",
    task: llmTask({ config, lora, form: "factored", shape, sharedRescaler }),
    layout: parameterLayout(adapter),
    members: adapter.members,
    layers: adapter.layers,
    experts: adapter.pool?.beside.experts ?? config.experts * (lora.slices?.routed ?? 1),
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
          rescaler: new Float32Array(adapter.layers).fill(1),
          base,
        });
      } finally {
        base.close();
      }
    },
    read: (folder) => readAdapterLike(folder, config, adapter),
    initial: (rng) => initialAdapter(adapter, rng),
    problems: tooLong(options.data, config),
    budgetProblem(k) {
      if (k > config.experts) return `the model has ${config.experts} experts`;
      return k > config.topK ? `the model was trained with ${config.topK} experts per token` : null;
    },
    load: () => loadInstructions(model, options),
    async spec() {
      const weights = await model.weights(cache, onConversion && { onProgress: onConversion });
      const { digest, form, error } = weights;
      const notes = form === "f32" ? [] : [`base weights in ${form}: ${lossOf(error)}`];
      return { spec: llmSpec(weights, lora, shape, sharedRescaler), digest, notes };
    },
  };
}

type Model = Pick<OpenedModel, "config" | "tokenizer" | "weights">;

/** What narrowing took from the weights, in words. */
export const lossOf = (error: number): string =>
  error === 0
    ? "exactly those of the model"
    : `each differs from the model's by ${Number((100 * error).toPrecision(2))} % (root mean square)`;

function modelOf(model: LlmFields["model"], base: LlmFields["base"], options: OpenOptions): Model {
  const { name, timingOnly, embedded } = options;
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
        `expected "embedded" or a Hugging Face model folder`,
    );
  }
  return openModel(folder, base);
}

const shapeDefaults = {
  keyValueHeads: 1,
  maxTokens: 4_096,
  ...plainSettings,
} as const;
