/** What a command is about: a model, and the adapter on it. */
import { existsSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { InputError, ScenarioError } from "../../../base/errors.ts";
import type { Digests } from "../../../folder/provenance.ts";
import type { BaseForm, BaseWeights } from "../../../model/base-weights.ts";
import type { ModelConfig } from "../../../model/config.ts";
import { conversionNotes } from "../../../run/diagnostics.ts";
import { remarksOn } from "../../../run/inputs.ts";
import { embeddedModel, knownShapes } from "../../../run/package.ts";
import {
  isRunFolder,
  noAdapter,
  type RecordedScenario,
  readAdapter,
  readRunAdapter,
  recordedScenario,
  type TrainedAdapter,
} from "../../../run/trained-adapter.ts";
import { type OpenedModel, openModel } from "../../../tasks/llm/load-model.ts";
import type { EvaluationModel } from "../../../tasks/training-engine.ts";
import { colors } from "../../screen/colors.ts";
import { terminal } from "../../screen/terminal.ts";

/** K, then half of it, down to 1: the budgets that FLAME compares. */
export function usualBudgets({ topK }: ModelConfig): readonly number[] {
  const budgets: number[] = [];
  for (let k = topK; k >= 1; k = Math.floor(k / 2)) budgets.push(k);
  return budgets;
}

/** A client's budget is at most what the model was trained with, so nothing larger has a meaning. */
export function checkBudget(k: number, { topK, experts }: ModelConfig): number {
  if (k <= topK) return k;
  const reason = k > experts ? `has ${experts} experts` : `was trained with ${topK} experts per token`;
  throw new ScenarioError(`--budget is ${k}, but the model ${reason}`);
}

/** The one model that runs at a budget, for what takes logits of one. @throws ScenarioError for an ensemble */
export function modelAt(trained: TrainedAdapter, topK: number): EvaluationModel {
  const { models } = trained.at(topK);
  if (models.length === 1) return models[0]!;
  throw new ScenarioError(
    `k = ${topK} affords ${models.length} models, which predict together; expected one: a budget that affords one, ` +
      "or --adapter with the folder of a member, adapter/member-0",
  );
}

/** `embedded` or a folder. */
const openNamedModel = (name: string, form?: BaseForm): OpenedModel =>
  openModel(name === "embedded" ? embeddedModel() : name, form);

/** Where the configuration of a model is: of `embedded`, a published shape's name, a folder, or its `config.json`. */
export function modelFolder(name: string): string {
  if (existsSync(name)) return basename(name) === "config.json" && statSync(name).isFile() ? dirname(name) : name;
  return name === "embedded" ? embeddedModel() : (knownShapes().get(name) ?? name);
}

export interface Subject {
  readonly model: OpenedModel;
  readonly trained: TrainedAdapter;
  /** The scenario behind the adapter, if it came from a run. */
  readonly run: RecordedScenario | null;
  /** What its user should know of the run, once these inputs are known; nothing without a run. */
  remarks(now: Digests): string[];
}

export interface SubjectFlags {
  readonly model?: string;
  readonly base?: BaseForm;
  readonly adapter?: string;
  readonly round?: number;
}

/** The model and adapter that a command is about: a run names its model, anything else is about the embedded one. */
export function openSubject({ model: name, base, adapter: folder, round }: SubjectFlags): Subject {
  if (folder === undefined || !isRunFolder(folder)) {
    if (round !== undefined) throw new ScenarioError("--round is given, but --adapter is not the folder of a run");
    const model = openNamedModel(name ?? "embedded", base);
    const trained = folder === undefined ? noAdapter(model.config) : readAdapter(folder, model.config);
    return { model, trained, run: null, remarks: () => [] };
  }
  const run = recordedScenario(folder);
  const model = openNamedModel(name ?? modelOf(run, folder), base ?? run.base);
  const trained = readRunAdapter(folder, model.config, round ?? null);
  return { model, trained, run, remarks: (now) => remarksOn(folder, now, { model: model.folder }) };
}

/** On standard error, where results are not. */
/** Converts the weights of a model where that was not done before, and says how far it is: of a large one it takes minutes. */
export const weightsOf = (model: OpenedModel): Promise<BaseWeights> =>
  model.weights(undefined, { onProgress: conversionNotes((text) => terminal.err.write(`${text}\n`)) });

export function warn(remarks: readonly string[]): void {
  for (const remark of remarks) terminal.err.write(`${colors.yellow(remark)}\n`);
}

/** The name of the base model a run was made with. */
function modelOf({ model }: RecordedScenario, folder: string): string {
  if (typeof model === "string") return model;
  throw new InputError(`${folder} was run without training: its model is only a shape`);
}
