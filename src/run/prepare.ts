/** From a scenario to what a run works with: the task, the data and who holds it, the fleet. */

import type { TrainingSetup } from "../../actors/training.ts";
import { given } from "../base/given.ts";
import { type Problem, throwProblems } from "../base/problem.ts";
import { Rng } from "../base/random.ts";
import { examplesOf, type Partition, sizesOf } from "../data/deal.ts";
import type { Examples } from "../data/examples.ts";
import { notesOnPartition, partition, partitionSizes } from "../data/partition.ts";
import { split } from "../data/split.ts";
import type { Provenance } from "../folder/provenance.ts";
import { readWarmStart, type WarmStart } from "../folder/warm-start.ts";
import { defaultWeightsCache } from "../model/formats/prepare-weights.ts";
import { measuredCost } from "../scenario/calibration.ts";
import { checkAgainstTask } from "../scenario/check.ts";
import { type Scenario, strategyOf } from "../scenario/define.ts";
import { trainedTokens } from "../scenario/effort.ts";
import { withPaths } from "../scenario/paths.ts";
import { type ScenarioData, taskFieldsOf } from "../scenario/schema.ts";
import type { DataTraits } from "../sim/availability/availability-data.ts";
import { buildFleet, type PartitionSizes } from "../sim/fleet/devices.ts";
import type { Fleet } from "../sim/fleet/fleet.ts";
import type { OpenedTask, TaskSpec } from "../tasks/kind.ts";
import { kindOf } from "../tasks/open/kinds.ts";
import { conversionNotes } from "./diagnostics.ts";

export interface Prepared {
  readonly task: OpenedTask;
  readonly fleet: Fleet;
  /** Budgets the global model is evaluated at, largest first; empty without training. */
  readonly budgets: readonly number[];
  /** Null for runs without training. */
  readonly training: {
    readonly setup: TrainingSetup;
    readonly spec: TaskSpec;
    /** What round 0 begins with; null for fresh parameters. */
    readonly start: WarmStart | null;
  } | null;
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
  /** Mistakes that are known already, to be said with those that are found here. */
  readonly problems?: readonly Problem[];
  /** Told how far the conversion of a large base model is. */
  readonly say?: (text: string) => void;
}

export async function prepare(scenario: Scenario, options: PrepareOptions): Promise<Prepared> {
  const { embedded, cache = defaultWeightsCache(), startedIn = ".", problems = [], say } = options;
  const data = withPaths(scenario.data, startedIn);
  const rng = new Rng(data.seed);
  const { shape = {}, validation = 0 } = strategyOf(scenario);
  const task = await kindOf(data.task.type).open(taskFieldsOf(data), {
    name: data.name,
    seed: data.seed,
    data: data.data,
    shape,
    timingOnly: data.timingOnly,
    embedded,
    cache,
    ...(say && { onConversion: conversionNotes(say) }),
  });
  throwProblems(data.name, [...problems, ...checkAgainstTask(data, task)]);
  const { budget, cost } = task.task;
  const clients = data.fleet.reduce((sum, tier) => sum + tier.clients, 0);
  const flops = (at: number) => cost(budget.variant(at)).training;
  const build = (sizes: PartitionSizes) =>
    buildFleet({ tiers: data.fleet, ...given({ regions: data.regions }) }, sizes, rng, {
      flopsPerToken: data.calibration === undefined ? flops : measuredCost(data.calibration, flops),
      trainedTokens: (examples, tokens) => trainedTokens(data, examples, tokens),
      downloadBytes: task.bytes.download,
      uploadBytes: task.bytes.upload,
    });
  const timed = { task, budgets: [], training: null };
  if (data.timingOnly && data.data.sizes !== undefined) {
    const fleet = build(drawnSizes(data, clients, rng));
    const inputs = { model: task.digest, data: null, tokenizer: null, template: null };
    return { ...timed, fleet, traits: null, notes: [], inputs };
  }
  const { data: examples, length, notes: dataNotes, read } = await task.load();
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
  const notes = [...dataNotes, ...splitNotes, ...notesOnPartition(examples, train, data.data.partition!)];
  const traits = traitsOf(examples, dealt);
  if (data.timingOnly) return { ...timed, fleet, traits, notes, inputs: { ...read, model: task.digest } };
  const setup: TrainingSetup = {
    seed: data.seed,
    data: examples,
    partition: dealt,
    evaluation,
    batchSize: data.training.batchSize,
    length,
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
    ...given({ schedule: data.training.schedule }),
    rounds: data.rounds.count,
    validation,
  };
  const { spec, digest, notes: specNotes = [] } = await task.spec();
  const start = data.warmStart === undefined ? null : readWarmStart(data.warmStart, task);
  const budgets = data.evaluateAt ?? [...fleet.budget, budget.full];
  return {
    task,
    fleet,
    budgets: [...new Set(budgets)].sort((a, b) => b - a),
    training: { setup, spec, start },
    traits,
    notes: [...notes, ...specNotes],
    inputs: { ...read, model: digest },
  };
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

/** Clients that would have nothing to train on. */
export function withoutData({ fleet: { examples, size } }: Prepared): string[] {
  const empty = examples.reduce((count, own) => count + (own === 0 ? 1 : 0), 0);
  return empty === 0 ? [] : [`${empty} of ${size} clients have no data and are never invited; see data.partition`];
}

/**
 * @internal What the labels of each client's data are, for availability that goes with them; a client without examples
 * has the first.
 */
export function traitsOf({ category, categoryNames }: Examples, dealt: Partition): DataTraits {
  const { clients } = dealt;
  const traits = {
    labels: Math.max(1, categoryNames.length),
    minLabel: new Uint16Array(clients),
    maxLabel: new Uint16Array(clients),
    labelCount: new Uint16Array(clients),
  };
  for (let client = 0; client < clients; client++) {
    const own = new Set<number>();
    for (const example of examplesOf(dealt, client)) own.add(category[example]!);
    traits.minLabel[client] = own.size === 0 ? 0 : Math.min(...own);
    traits.maxLabel[client] = Math.max(0, ...own);
    traits.labelCount[client] = own.size;
  }
  return traits;
}
