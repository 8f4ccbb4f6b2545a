/** From a scenario to what a run works with: the model, the data and who holds it, the fleet. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { TrainingSetup } from "../../actors/training.ts";
import { sha256 } from "../base/digest.ts";
import { ScenarioError } from "../base/errors.ts";
import { given } from "../base/given.ts";
import { throwProblems } from "../base/problem.ts";
import { Rng } from "../base/random.ts";
import { sizesOf } from "../data/deal.ts";
import { notesOnPartition, partition, partitionSizes } from "../data/partition.ts";
import { loadData } from "../data/source.ts";
import { split } from "../data/split.ts";
import { defaultTemplate, type PromptTemplate } from "../data/template.ts";
import { exampleLength, notesOn, type TokenizedData } from "../data/tokenized.ts";
import { byteTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import type { Provenance } from "../folder/provenance.ts";
import { roundBytes, trainingFlops } from "../model/accounting.ts";
import { type AdapterLayout, adapterLayout } from "../model/adapter.ts";
import type { BaseWeights } from "../model/base-weights.ts";
import type { ModelConfig } from "../model/config.ts";
import { defaultWeightsCache } from "../model/formats/prepare-weights.ts";
import { measuredCost } from "../scenario/calibration.ts";
import { checkAgainstModel } from "../scenario/check.ts";
import { type Scenario, strategyOf } from "../scenario/define.ts";
import { trainedTokens } from "../scenario/effort.ts";
import { withPaths } from "../scenario/paths.ts";
import type { ScenarioData } from "../scenario/schema.ts";
import type { DataTraits } from "../sim/availability/availability-data.ts";
import { buildFleet, type PartitionSizes } from "../sim/fleet/devices.ts";
import type { Fleet } from "../sim/fleet/fleet.ts";
import { type OpenedModel, openModel } from "../tasks/llm/load-model.ts";
import { traitsOf } from "./traits.ts";

export interface Prepared {
  readonly config: ModelConfig;
  readonly layout: AdapterLayout;
  readonly fleet: Fleet;
  /** Budgets the global model is evaluated at, largest first; empty without training. */
  readonly budgets: readonly number[];
  /** What a message weighs besides its envelope. */
  readonly bytes: { readonly download: number; readonly upload: number };
  /** Null for runs without training. */
  readonly training: { readonly setup: TrainingSetup; readonly weights: BaseWeights } | null;
  /** Of the clients' data; null for runs that do without data. */
  readonly traits: DataTraits | null;
  /** What the user should know of the data: examples that were cut or left out. */
  readonly notes: readonly string[];
  /** What was read to get here. */
  readonly inputs: Pick<Provenance, "model" | "data" | "tokenizer" | "template">;
}

export interface PrepareOptions {
  /** Where the base model lies that comes with the program. */
  readonly embedded: string;
  /** Where converted base weights are kept. */
  readonly cache?: string;
  /** Where the scenario's relative paths begin; the working folder unless given. */
  readonly startedIn?: string;
}

export async function prepare(scenario: Scenario, options: PrepareOptions): Promise<Prepared> {
  const { embedded, cache, startedIn = "." } = options;
  const data = withPaths(scenario.data, startedIn);
  const rng = new Rng(data.seed);
  const model = modelOf(data, embedded);
  throwProblems(data.name, checkAgainstModel(data, model.config));
  const layout = adapterLayout(model.config, data.lora, strategyOf(scenario).shape);
  const bytes = roundBytes(layout, 4);
  const clients = data.fleet.reduce((sum, tier) => sum + tier.clients, 0);
  const flops = (topK: number) => trainingFlops(model.config, topK, data.lora.rank);
  const build = (sizes: PartitionSizes) =>
    buildFleet({ tiers: data.fleet, ...given({ regions: data.regions }) }, sizes, rng, {
      flopsPerToken: data.calibration === undefined ? flops : measuredCost(data.calibration, flops),
      trainedTokens: (examples, tokens) => trainedTokens(data, examples, tokens),
      downloadBytes: bytes.download,
      uploadBytes: bytes.upload,
    });
  const { config } = model;
  const timed = { config, layout, budgets: [], bytes, training: null };
  if (data.timingOnly && data.data.sizes !== undefined) {
    const fleet = build(drawnSizes(data, clients, rng));
    const inputs = { model: shapeDigest(config), data: null, tokenizer: null, template: null };
    return { ...timed, fleet, traits: null, notes: [], inputs };
  }
  const tokenizer = await model.tokenizer();
  const template = data.data.template ?? defaultTemplate(tokenizer);
  const examples = await loadExamples(data, tokenizer, template, config);
  const {
    train,
    evaluation,
    notes: splitNotes,
  } = split(examples, {
    heldOut: data.data.heldOut,
    evaluationExamples: data.evaluationExamples,
  });
  const dealt = partition(examples, train, data.data.partition!, clients, rng);
  const fleet = build(sizesOf(examples, dealt));
  const notes = [...notesOn(examples), ...splitNotes, ...notesOnPartition(examples, train, data.data.partition!)];
  const traits = traitsOf(examples, dealt);
  const read = { data: examples.digest, tokenizer: tokenizer.digest, template: sha256(JSON.stringify(template)) };
  if (data.timingOnly) {
    return { ...timed, fleet, traits, notes, inputs: { ...read, model: shapeDigest(config) } };
  }
  const setup: TrainingSetup = {
    seed: data.seed,
    data: examples,
    partition: dealt,
    evaluation,
    batchSize: data.training.batchSize,
    length: rowLength(examples, examples.maxTokens),
    epochs: data.training.epochs,
    maxSteps: data.training.maxSteps ?? null,
    optimizer: {
      learningRate: data.training.learningRate,
      personalLearningRate: data.rescaler.learn ? data.rescaler.learningRate : 0,
      beta1: data.training.beta1,
      beta2: data.training.beta2,
      epsilon: data.training.epsilon,
      weightDecay: data.training.weightDecay,
      clipNorm: data.training.clipNorm,
    },
    validation: strategyOf(scenario).validation ?? 0,
  };
  const weights = await model.weights(cache ?? defaultWeightsCache());
  const budgets = data.evaluateAt ?? [...fleet.budget, config.topK];
  return {
    config,
    layout,
    fleet,
    budgets: [...new Set(budgets)].sort((a, b) => b - a),
    bytes,
    training: { setup, weights },
    traits,
    notes,
    inputs: { ...read, model: weights.digest },
  };
}

/** What a run without training has to do with its model: sizes and costs follow from the shape. */
export const shapeDigest = (config: ModelConfig): string => sha256(JSON.stringify(config));

type Model = Pick<OpenedModel, "config" | "tokenizer" | "weights">;

function modelOf({ name, model, timingOnly }: ScenarioData, embedded: string): Model {
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

async function loadExamples(
  { name, seed, data }: ScenarioData,
  tokenizer: Tokenizer,
  template: PromptTemplate,
  config: ModelConfig,
): Promise<TokenizedData> {
  if (tokenizer.vocabulary > config.vocabulary) {
    throw new ScenarioError(
      `scenario "${name}": tokenizer "${tokenizer.name}" has ${tokenizer.vocabulary} tokens, ` +
        `but the model has embeddings for ${config.vocabulary}`,
    );
  }
  return loadData(data.source, {
    seed,
    tokenizer,
    template,
    maxTokens: Math.min(data.maxTokens ?? config.maxTokens, config.maxTokens),
  });
}

/** The longest example, rounded up to a multiple of 8: one shape of batch for the whole run. */
function rowLength(data: TokenizedData, most: number): number {
  let longest = 1;
  for (let e = 0; e < data.examples; e++) longest = Math.max(longest, exampleLength(data, e));
  return Math.min(most, Math.ceil(longest / 8) * 8);
}

/** Each client draws from the law of sizes, or a partition spreads what they hold on average. */
function drawnSizes({ data }: ScenarioData, clients: number, rng: Rng): PartitionSizes {
  const { partition, sizes } = data;
  const { examplesPerClient, tokensPerExample } = sizes!;
  if (partition === undefined || typeof examplesPerClient !== "number") return { examplesPerClient, tokensPerExample };
  return partitionSizes(
    partition,
    { clients, examples: Math.round(examplesPerClient * clients), tokensPerExample },
    rng,
  );
}
