/**
 * What a run has learned, read back from its folder: the final adapter, or the adapter after any round of which a
 * checkpoint is left, with the rescaler of every budget. A folder in PEFT's layout reads the same way; it has no
 * rescaler unless a run wrote it.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { serverRef } from "../../actors/protocol.ts";
import { serverSchema } from "../../actors/server-state.ts";
import { InputError, ScenarioError } from "../base/errors.ts";
import { readJsonAs } from "../base/json.ts";
import { parseInput } from "../base/problem.ts";
import { forEachLayer, RescalerBook, rescalerSchema } from "../fl/rescaler.ts";
import { strategyFromSpec, strategySpecSchema } from "../fl/strategies/registry.ts";
import type { Strategy } from "../fl/strategy.ts";
import { readRescalers, rescalersIn } from "../folder/rescalers.ts";
import {
  filesIn,
  largestScenario,
  openRunFolder,
  type ResultRecord,
  type RunFolder,
  readRecord,
  readResult,
} from "../folder/run-folder.ts";
import { type Checkpoint, readCheckpoint } from "../folder/saved-state.ts";
import { requireSealedAdapter } from "../folder/seal.ts";
import { type AdapterLayout, adapterLayout } from "../model/adapter.ts";
import { type ModelConfig, sparseLayers } from "../model/config.ts";
import { readAdapterFolder } from "../model/formats/adapters/adapter-folder.ts";
import { decodeUntrusted } from "../runtime/messages/codec.ts";
import { systemSchema } from "../runtime/system-state.ts";
import { withPaths } from "../scenario/paths.ts";
import { scenarioSchema } from "../scenario/schema.ts";
import { parameterLayout, variantAt } from "../tasks/llm/task.ts";
import { lensOf, seenThrough } from "../tasks/scope.ts";
import { activeIn } from "../tasks/task.ts";
import type { EvaluationJob } from "../tasks/training-engine.ts";

export interface TrainedAdapter {
  readonly layout: AdapterLayout;
  /** Flat vectors of all members in `layout`, one after the other. */
  readonly adapter: Float32Array;
  /** Rounds it was trained for; null when nobody wrote that down. */
  readonly round: number | null;
  /** Budgets the rescaler is known for, largest first; null when it is 1 at all of them. */
  readonly budgets: readonly number[] | null;
  /** s, one factor per layer. @throws ScenarioError for a budget that the rescaler is not known for */
  rescaler(topK: number): Float32Array;
  /** What runs at a budget. @throws ScenarioError for a budget that the rescaler is not known for */
  at(topK: number): Pick<EvaluationJob, "models" | "mix">;
}

const { shape } = scenarioSchema;
/** How examples were dealt does not matter here, and a function that did it is not in the file. */
const withoutCode = (data: unknown): unknown => {
  const { partition, ...rest } = (data ?? {}) as { readonly partition?: { readonly type?: unknown } };
  return partition?.type === "function" ? rest : data;
};

/** The fields that matter after a run; a scenario with code of its author's is read as well. */
const recordSchema = z.object({
  name: shape.name,
  seed: shape.seed,
  task: shape.task,
  model: shape.model,
  base: shape.base,
  lora: shape.lora,
  warmStart: shape.warmStart,
  rescaler: shape.rescaler,
  strategy: z.unknown(),
  data: z.preprocess(withoutCode, shape.data),
  training: z.object({ batchSize: z.int().min(1) }),
  evaluationExamples: shape.evaluationExamples,
});

/** The scenario of a finished run, as far as its adapter is concerned; with absolute paths. */
export type RecordedScenario = z.output<typeof recordSchema>;

/** Whether the folder is a run's; else it should be PEFT's. */
export const isRunFolder = (path: string): boolean => existsSync(join(path, "scenario.json"));

/** @throws InputError when the folder holds no run that this program understands */
export function recordedScenario(path: string): RecordedScenario {
  const folder = openRunFolder(path);
  const recorded = readJsonAs(recordSchema, folder.scenario, largestScenario, "refused");
  return withPaths(recorded, readRecord(folder)?.startedIn ?? ".");
}

/** An adapter that does nothing: the base model, in terms of whoever expects an adapter. */
export function noAdapter(config: ModelConfig): TrainedAdapter {
  const layout = adapterLayout(config, { rank: 1, alpha: 1 });
  const adapter = new Float32Array(layout.size);
  return deployed({ layout, adapter, round: null, budgets: null, rescaler: ones(config) }, config, null);
}

/**
 * @param strategy what decides how many small experts or members a budget affords; null where nobody knows
 * @throws InputError naming what is wrong with the folder
 */
export function readAdapter(folder: string, config: ModelConfig, strategy: Strategy | null = null): TrainedAdapter {
  const read = readAdapterFolder(folder, config);
  const known = readRescalers(folder, sparseLayers(config).length);
  const rescalers = known === null ? { budgets: null, rescaler: ones(config) } : lookedUp(known, folder);
  return deployed({ ...read, round: null, ...rescalers }, config, strategy);
}

/** What runs at a budget, as the strategy that trained it says; without one, the one model there is. */
function deployed(trained: Omit<TrainedAdapter, "at">, config: ModelConfig, strategy: Strategy | null): TrainedAdapter {
  const { layout, adapter, rescaler } = trained;
  const isPlain = layout.members === 1 && layout.pool === null;
  return {
    ...trained,
    at(topK) {
      if (strategy?.deploy === undefined) {
        const variant = variantAt(config, layout.lora, topK);
        if (isPlain) return { models: [{ parameters: adapter, personal: rescaler(topK), variant }] };
        const what = layout.pool === null ? "members of an ensemble" : "small experts";
        throw new ScenarioError(
          `the adapter does not say how many ${what} a budget affords; expected the folder of the run that trained it` +
            (layout.pool === null ? ", or that of one member" : ""),
        );
      }
      const parametersAt = parameterLayout(layout);
      const setting = {
        layout: parametersAt,
        budgets: [config.topK],
        variant: (budget: number) => variantAt(config, layout.lora, budget),
      };
      const { models, mix } = strategy.deploy(topK, { parameters: adapter, vectors: {}, notes: null }, setting);
      return {
        models: models.map(({ parameters, variant, scope }) => ({
          parameters: scope === undefined ? parameters : seenThrough(parameters, lensOf(parametersAt, scope)),
          personal: rescaler(activeIn(variant, topK)),
          variant,
        })),
        ...(mix && { mix }),
      };
    },
  };
}

/** The strategy of a run, where it comes with the program. */
function recordedStrategy({ strategy }: RecordedScenario): Strategy | null {
  const known = strategySpecSchema.safeParse(strategy);
  return known.success ? strategyFromSpec(known.data) : null;
}

/**
 * @param round null for the newest there is: the final one, or that of the last checkpoint of a run that did not finish
 * @throws ScenarioError when there is nothing of that round; it names the rounds there are
 */
export function readRunAdapter(path: string, config: ModelConfig, round: number | null): TrainedAdapter {
  const folder = openRunFolder(path);
  const result = finalResult(folder);
  const last = result?.rounds ?? null;
  if (result !== null && (round === null || round === last)) {
    requireSealedAdapter(folder, result);
    return { ...readAdapter(folder.adapter, config, recordedStrategy(recordedScenario(path))), round: last };
  }
  const checkpoints = checkpointsOf(folder);
  const available = [...new Set([...checkpoints.map((found) => found.round), ...(last === null ? [] : [last])])];
  const wanted = round ?? available.at(-1);
  for (const { name } of checkpoints.filter((found) => found.round === wanted).reverse()) {
    return fromCheckpoint(readCheckpoint(folder.checkpoints, name), path, config);
  }
  if (available.length === 0)
    throw new ScenarioError(`${path} holds no adapter: the run has neither finished nor left a checkpoint`);
  throw new ScenarioError(
    `${path} holds no adapter of round ${wanted}, expected one of ${available.join(", ")}; ` +
      "checkpoints.keep of a scenario says how many are kept",
  );
}

type Rescalers = Pick<TrainedAdapter, "budgets" | "rescaler">;

function lookedUp(known: ReadonlyMap<number, Float32Array>, folder: string): Rescalers {
  const budgets = [...known.keys()].sort((a, b) => b - a);
  return {
    budgets,
    rescaler(topK) {
      const found = known.get(topK);
      if (found !== undefined) return found;
      const path = rescalersIn(folder);
      throw new ScenarioError(`${path} has no rescaler for k = ${topK}, expected one of ${budgets.join(", ")}`);
    },
  };
}

const ones = (config: ModelConfig) => (): Float32Array => new Float32Array(sparseLayers(config).length).fill(1);

const finalResult = (folder: RunFolder): ResultRecord | null =>
  existsSync(rescalersIn(folder.adapter)) ? readResult(folder) : null;

/** Ascending; their names begin with the round. */
const checkpointsOf = ({ checkpoints }: RunFolder): { readonly name: string; readonly round: number }[] =>
  filesIn(checkpoints, ".ckpt").map((name) => ({ name, round: Number.parseInt(name, 10) }));

const savedAdapterSchema = z.object({ system: systemSchema, rescalers: rescalerSchema.nullable() });

/** The server's adapter, looked up in the state of a system that is not running. */
function fromCheckpoint({ round, parts }: Checkpoint, path: string, config: ModelConfig): TrainedAdapter {
  const recorded = recordedScenario(path);
  const { lora, rescaler } = recorded;
  const strategy = recordedStrategy(recorded);
  const { system, rescalers } = parseInput(`${path}: its checkpoint of round ${round}`, savedAdapterSchema, parts);
  const { registry, blobs } = system;
  const server = registry.residents.find(([kind, id]) => kind === serverRef.kind && id === serverRef.id);
  if (server === undefined) throw new InputError(`${path}: its checkpoint of round ${round} has no server`);
  const place = `${path}: the server's state in its checkpoint`;
  const held = parseInput(place, serverSchema, decodeUntrusted(server[2], place)).adapter;
  const blob = held.ref === "blob" ? blobs.find(({ digest }) => digest === held.digest) : undefined;
  if (blob === undefined) throw new ScenarioError(`${path} was run without training: it holds no adapter`);
  if (blob.content.length % 4 !== 0) throw new InputError(`${place}: its adapter is not a row of float32`);
  // The bytes lie anywhere in the file; floats have to be aligned.
  const adapter = new Float32Array(Uint8Array.from(blob.content).buffer);
  // A strategy of its author's is not known here; routers are what it may have trained besides.
  const shapes = strategy === null ? [{}, { routers: true }] : [strategy.shape ?? {}];
  const layouts = shapes.map((shape) => adapterLayout(config, lora, shape));
  const sizeOf = ({ members, size }: AdapterLayout) => members * size;
  const layout = layouts.find((layout) => sizeOf(layout) === adapter.length);
  if (layout === undefined) {
    const sizes = layouts.map(sizeOf).join(", or with routers ");
    throw new InputError(`${path}: the adapter has ${adapter.length} values, but the model's has ${sizes}`);
  }
  const { topK } = config;
  const layers = sparseLayers(config).length;
  const { init, scope, shared } = rescaler;
  const book = new RescalerBook({ layers: shared ? 1 : layers, topK, init, scope });
  if (rescalers !== null) book.restore(rescalers);
  const budgets = Array.from({ length: topK }, (_, i) => topK - i);
  return deployed(
    { layout, adapter, round, budgets, rescaler: (k) => forEachLayer(book.forBudget(k), layers) },
    config,
    strategy,
  );
}
