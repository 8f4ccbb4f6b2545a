/**
 * The work behind pledges: local training and evaluation, as plain functions of a job. They run on whichever worker is
 * free; a result depends on its job and on what all workers share, never on what the worker did before.
 */
import { type ClientId, clientId, type Round } from "../src/base/ids.ts";
import { Rng } from "../src/base/random.ts";
import { type Batch, type BatchData, evaluationBatches, trainBatches } from "../src/data/batches.ts";
import { examplesOf, type Partition } from "../src/data/deal.ts";
import type { OptimizerConfig, ProgramSource } from "../src/engine/engine.ts";
import { cut } from "../src/engine/merging.ts";
import { rateFactor, type Schedule } from "../src/fl/local-rate.ts";
import { doWork } from "../src/fl/works.ts";
import type { BlobReader } from "../src/runtime/messages/blobs.ts";
import type { BlobRef } from "../src/runtime/messages/refs.ts";
import type { GatheredJob, GatheredResult, Gathering } from "../src/runtime/pledges.ts";
import type { Handler, LastUse, Task } from "../src/runtime/pools/pool.ts";
import type { Nature } from "../src/runtime/pools/waiting.ts";
import type { Task as Costs, Variant } from "../src/tasks/task.ts";
import type {
  Evaluation,
  EvaluationModel,
  TrainingEngine,
  TrainJob,
  TrainResult,
} from "../src/tasks/training-engine.ts";
import { attacked, dated, flippedLabels } from "./attack.ts";
import { memberJob, together } from "./members.ts";
import type { Computation, EvaluatedModel, EvaluateRecipe, MethodRecipe, Trained, TrainRecipe } from "./recipes.ts";

/** What every worker knows: plain data, its large parts in shared memory. */
export interface TrainingSetup {
  readonly seed: number;
  readonly data: BatchData;
  readonly partition: Partition;
  /** Example numbers that evaluations use. */
  readonly evaluation: Uint32Array;
  readonly batchSize: number;
  /** Units per row of a batch: tokens, or 1 image. */
  readonly length: number;
  readonly epochs: number;
  /** Optimizer steps a client takes at most; null for no limit. */
  readonly maxSteps: number | null;
  readonly optimizer: OptimizerConfig;
  /** Of its rates over so many rounds. */
  readonly schedule?: Schedule;
  readonly rounds: number;
  /** Share of its examples that each client keeps from training. */
  readonly validation: number;
}

/** How many evaluation batches make one task. */
const batchesPerShard = 4;

/** Shards that cover the evaluation examples. */
export function evaluationShards({
  evaluation,
  batchSize,
}: Pick<TrainingSetup, "evaluation" | "batchSize">): { from: number; until: number }[] {
  const batches = Math.ceil(evaluation.length / batchSize);
  const shards: { from: number; until: number }[] = [];
  for (let from = 0; from < batches; from += batchesPerShard) {
    shards.push({ from, until: Math.min(batches, from + batchesPerShard) });
  }
  return shards;
}

export interface TrainingHandlers {
  readonly train: Handler<TrainRecipe, Trained>;
  readonly trainTogether: Handler<GatheredJob<TrainRecipe>, GatheredResult<Trained>>;
  readonly evaluate: Handler<EvaluateRecipe, Evaluation>;
  readonly compute: Handler<Computation, unknown>;
}

/** `setup` and `engine` are asked for once, when the first job comes. */
export function trainingHandlers(
  setup: () => TrainingSetup,
  engine: () => Promise<TrainingEngine>,
): TrainingHandlers & Record<string, Handler<never, unknown>> {
  let opened: Promise<TrainingEngine> | undefined;
  let evaluationRows: Batch[] | undefined;
  return {
    async train(job: TrainRecipe, blobs: BlobReader, lastUse?: LastUse) {
      opened ??= engine();
      const { results } = await train(setup(), await opened, [job], blobs);
      lastUse?.(results[0]!.values);
      return results[0]!;
    },
    async trainTogether({ jobs }: GatheredJob<TrainRecipe>, blobs: BlobReader, lastUse?: LastUse) {
      opened ??= engine();
      const found = await train(setup(), await opened, jobs, blobs);
      for (const { values } of found.results) lastUse?.(values);
      return found;
    },
    async evaluate({ models, mix, on }: EvaluateRecipe, blobs: BlobReader) {
      opened ??= engine();
      const { data, evaluation, batchSize, length } = setup();
      const shape = { batchSize, length };
      evaluationRows ??= evaluationBatches(data, evaluation, shape);
      const batches =
        "client" in on
          ? evaluationBatches(data, ownExamples(on.client, setup()).kept, shape)
          : evaluationRows.slice(on.from, on.until);
      const contents = copies(blobs);
      const deployed = models.map((model) => loadModel(model, contents));
      return (await opened).evaluate({ models: deployed, ...(mix && { mix }), batches });
    },
    compute: ({ name, input }: Computation) => doWork(name, input),
  };
}

/**
 * What is known of a task: the program that a worker makes ready for it, once, but for those of several clients; how long it
 * takes, in batches times what a token costs; and that nobody waits for evaluations while clients train.
 */
export const natureOf =
  (setup: TrainingSetup, costOf: Costs["cost"]) =>
  ({ work, job }: Pick<Task, "work" | "job">): Nature => {
    if (work === "evaluate") {
      const { models, on } = job as EvaluateRecipe;
      const variants = models.map(({ variant }) => variant);
      const batches = "client" in on ? 1 : on.until - on.from;
      const effort = variants.reduce((sum, variant) => sum + batches * costOf(variant).forward, 0);
      return { kind: `evaluate ${JSON.stringify(variants)}`, effort, isPatient: true };
    }
    if (work !== "train") return { kind: null, effort: 0, isPatient: false };
    const recipe = job as TrainRecipe;
    const { variant, method } = recipe;
    const kind = `train ${method === undefined ? JSON.stringify(variant) : method.step[1]?.digest}`;
    return { kind, effort: stepsOf(recipe, setup) * costOf(variant).training, isPatient: false };
  };

/**
 * Has clients that can share a call train together: those of one variant, the ones with the most steps first.
 *
 * @param most clients of one call, by variant
 */
export const gatherTraining = (
  setup: TrainingSetup,
  most: (variant: Variant) => number,
  onProblem: (problem: string) => void,
): Gathering => ({
  work: "train",
  together: "trainTogether",
  onProblem,
  group(jobs) {
    const recipes = jobs as readonly TrainRecipe[];
    const indices = [...recipes.keys()].toSorted(
      (a, b) => stepsOf(recipes[b]!, setup) - stepsOf(recipes[a]!, setup) || a - b,
    );
    const kindOf = ({ variant, method }: TrainRecipe) => `${JSON.stringify(variant)} ${method?.step[1]?.digest ?? ""}`;
    const kinds = [...new Set(recipes.map(kindOf))];
    return kinds.flatMap((kind) => {
      const members = indices.filter((index) => kindOf(recipes[index]!) === kind);
      const { variant, method } = recipes[members[0]!]!;
      const made = method === undefined ? Number.POSITIVE_INFINITY : Math.max(...Object.keys(method.step).map(Number));
      return cut(members, Math.min(most(variant), made));
    });
  },
});

/** Copies, one of each content: native executors on Node 20 refuse shared memory. */
function copies(blobs: BlobReader): (ref: BlobRef) => Float32Array {
  const made = new Map<string, Float32Array>();
  return (ref) => {
    const copy = made.get(ref.digest) ?? blobs.floats(ref).slice();
    made.set(ref.digest, copy);
    return copy;
  };
}

const loadModel = (
  { adapter, rescaler, inputs = {}, ...model }: EvaluatedModel,
  contents: (ref: BlobRef) => Float32Array,
): EvaluationModel => ({
  ...model,
  parameters: contents(adapter),
  personal: rescaler,
  inputs: Object.fromEntries(Object.entries(inputs).map(([name, content]) => [name, contents(content)])),
});

/** Optimizer steps that a client takes. */
function stepsOf({ client, effort }: TrainRecipe, setup: TrainingSetup): number {
  const { batchSize, epochs, maxSteps } = setup;
  const all = epochs * Math.ceil(ownExamples(client, setup).trained.length / batchSize);
  return Math.max(1, Math.round(effort * Math.min(all, maxSteps ?? all)));
}

/** What a client trains on, and what it keeps from training: the same in every round. A single example is both. */
function ownExamples(
  client: ClientId,
  { partition, seed, validation }: TrainingSetup,
): { readonly trained: Uint32Array; readonly kept: Uint32Array } {
  const all = examplesOf(partition, clientId(client));
  if (validation === 0) return { trained: all, kept: new Uint32Array(0) };
  if (all.length === 1) return { trained: all, kept: all };
  const order = new Rng(seed).at("validation").at(client).shuffle(all.slice());
  const kept = Math.min(all.length - 1, Math.max(1, Math.round(validation * all.length)));
  return { trained: order.slice(kept).sort(), kept: order.slice(0, kept).sort() };
}

async function train(
  setup: TrainingSetup,
  engine: TrainingEngine,
  recipes: readonly TrainRecipe[],
  blobs: BlobReader,
): Promise<GatheredResult<Trained>> {
  const jobs = recipes.map((recipe) => trainJob(setup, recipe, blobs));
  const found = await trainEach(setup, engine, recipes, jobs);
  const results = recipes.map((recipe, at) => {
    const sent = trained(setup, recipe, jobs[at]!.parameters, found[at]!);
    return recipe.stale === undefined ? sent : dated(sent, jobs[at]!.parameters, blobs.floats(recipe.adapter));
  });
  return { results, problems: engine.takeProblems?.() ?? [] };
}

/** Members train in turn: then no more clients share a call than there are programs for. */
async function trainEach(
  { seed }: TrainingSetup,
  engine: TrainingEngine,
  recipes: readonly TrainRecipe[],
  jobs: readonly TrainJob[],
): Promise<(TrainResult & MeanLoss)[]> {
  const parts = recipes.map(({ client, round, method }, at) =>
    method?.members === undefined
      ? [jobs[at]!]
      : method.members.chosen.map((member) => {
          const draws = new Rng(seed).at(`batches of member ${member}`, round).at(client);
          return memberJob(jobs[at]!, member, method.members!, draws);
        }),
  );
  const results: TrainResult[][] = recipes.map(() => []);
  const turns = Math.max(...parts.map(({ length }) => length));
  for (let turn = 0; turn < turns; turn++) {
    const here = [...parts.keys()].filter((at) => turn < parts[at]!.length);
    const found = await engine.trainCohort(here.map((at) => parts[at]![turn]!));
    for (const [i, at] of here.entries()) results[at]!.push(found[i]!);
  }
  return results.map((found, at) => {
    const members = recipes[at]!.method?.members;
    const result = members === undefined ? found[0]! : together(jobs[at]!, members, found);
    return { ...result, ...meanLossOf(parts[at]!, found) };
  });
}

type MeanLoss = Pick<Trained, "meanLoss" | "targets">;

/** A step's loss is the mean over its targets: the last batch of an epoch has fewer of them. */
function meanLossOf(jobs: readonly TrainJob[], found: readonly TrainResult[]): MeanLoss {
  let sum = 0;
  let targets = 0;
  for (const [at, { batches }] of jobs.entries()) {
    for (const [step, batch] of batches.entries()) {
      sum += found[at]!.losses[step]! * batch.targets.length;
      targets += batch.targets.length;
    }
  }
  return { meanLoss: sum / targets, targets };
}

function trainJob(setup: TrainingSetup, recipe: TrainRecipe, blobs: BlobReader): TrainJob {
  const { client, round, variant, adapter, stale = adapter, rescaler, attack } = recipe;
  const { seed, data, batchSize, length, epochs } = setup;
  const own = ownExamples(client, setup);
  const draws = new Rng(seed).at("batches", round).at(client);
  const all = trainBatches(data, own.trained, { batchSize, length, epochs, draws });
  const batches = all.slice(0, stepsOf(recipe, setup));
  const poisoned = attack?.type === "label-flip" ? flippedLabels(batches, data) : batches;
  const { method } = recipe;
  const optimizer = optimizerIn(round, setup);
  const job = { parameters: blobs.floats(stale), personal: rescaler, variant, batches: poisoned };
  if (method === undefined) return { ...job, optimizer };
  const { learningRate = optimizer.learningRate } = method;
  return {
    ...job,
    optimizer: { ...optimizer, learningRate },
    method: methodJob(method, evaluationBatches(data, own.kept, { batchSize, length }), blobs),
  };
}

/** The optimizer at the rates of a round. */
function optimizerIn(round: Round, { optimizer, schedule, rounds }: TrainingSetup): OptimizerConfig {
  const factor = rateFactor(schedule, round, rounds);
  const { learningRate, personalLearningRate } = optimizer;
  return {
    ...optimizer,
    learningRate: factor * learningRate,
    personalLearningRate: factor * personalLearningRate,
  };
}

/** @param kept batches of what is kept from training */
function methodJob(
  { step, before = [], after = [], validate, inputs, scope }: MethodRecipe,
  kept: readonly Batch[],
  blobs: BlobReader,
): NonNullable<TrainJob["method"]> {
  const source = (ref: BlobRef): ProgramSource => ({
    digest: ref.digest,
    text: () => Buffer.from(blobs.bytes(ref)).toString(),
  });
  const fed = Object.entries(inputs).map(
    ([name, value]) => [name, typeof value === "number" ? value : blobs.floats(value).slice()] as const,
  );
  return {
    program: (clients) => source(step[clients]!),
    before: before.map(source),
    after: after.map(source),
    ...(validate && { validate: { program: source(validate), batches: kept } }),
    inputs: Object.fromEntries(fed),
    ...(scope && { scope }),
  };
}

function trained(
  { seed }: TrainingSetup,
  { client, round, attack }: TrainRecipe,
  base: Float32Array,
  { parameters: values, personal, counts, units, losses, found, meanLoss, targets }: TrainResult & MeanLoss,
): Trained {
  const honest: Trained = {
    values,
    personal,
    counts,
    units,
    firstLoss: losses[0]!,
    meanLoss,
    targets,
    steps: losses.length,
    found,
  };
  return attack === null ? honest : attacked(honest, base, attack, new Rng(seed).at("attack", round).at(client));
}
