/** Local training of several clients at once, one native call per step of all of them. */
import type { Batch } from "../data/batches.ts";
import type { AdapterLayout } from "../model/adapter.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Executable, TensorData } from "../tensor/executors/executor.ts";
import type { TrainJob, TrainResult } from "./engine.ts";
import { restingState, type StateVectors, StepState, stateNames } from "./step-state.ts";

export interface MergedTraining {
  readonly config: ModelConfig;
  readonly layout: AdapterLayout;
  /** The program for so many clients. */
  compile(clients: number): Promise<Executable>;
  /** Called after every step. */
  onStep(): void;
}

/**
 * Trains jobs of one step shape and one optimizer. A client whose batches are used up keeps its parameters while the
 * others go on; when half of a call has finished, the rest moves to a program of half the size.
 *
 * @param jobs a power of two of them, those with the most batches first
 */
export async function trainMerged(jobs: readonly TrainJob[], training: MergedTraining): Promise<TrainResult[]> {
  const { config, layout, compile, onStep } = training;
  const results = jobs.map(({ batches }) => emptyResult(config, layout, batches));
  let clients = jobs.length;
  let state = new StepState(stateOf(jobs, config, layout));
  const finish = (vectors: StateVectors, from: number) => {
    for (let client = from; client < clients; client++) {
      results[client]!.adapter.set(part(vectors.adapter!, client, clients));
      results[client]!.rescaler.set(part(vectors.rescaler!, client, clients));
    }
  };
  for (let step = 0; step < jobs[0]!.batches.length; step++) {
    const going = jobs.filter(({ batches }) => batches.length > step).length;
    while (going <= clients / 2) {
      const vectors = await state.read(stateNames);
      finish(vectors, clients / 2);
      clients /= 2;
      state = new StepState(firstHalf(vectors));
    }
    const present = jobs.slice(0, clients);
    const out = await state.step(await compile(clients), stepFeeds(present, step, config.experts));
    keepRecord(present, step, out, results);
    onStep();
  }
  finish(await state.read(["adapter", "rescaler"]), 0);
  return results;
}

function emptyResult({ layers, experts }: ModelConfig, { size }: AdapterLayout, batches: readonly Batch[]) {
  return {
    adapter: new Float32Array(size),
    rescaler: new Float32Array(layers),
    activations: new Uint32Array(layers * experts),
    tokens: batches.reduce((sum, { lengths }) => sum + lengths.reduce((a, b) => a + b, 0), 0),
    losses: new Float32Array(batches.length),
  } satisfies TrainResult;
}

/** The clients' vectors, one after the other. */
function stateOf(jobs: readonly TrainJob[], { layers }: ModelConfig, { size }: AdapterLayout): StateVectors {
  const state = restingState(jobs.length * size, jobs.length * layers);
  for (const [client, { adapter, rescaler }] of jobs.entries()) {
    state.adapter!.set(adapter, client * size);
    state.rescaler!.set(rescaler, client * layers);
  }
  return state;
}

function part(vector: Float32Array, client: number, clients: number): Float32Array {
  const size = vector.length / clients;
  return vector.subarray(client * size, (client + 1) * size);
}

const firstHalf = (state: StateVectors): StateVectors =>
  Object.fromEntries(Object.entries(state).map(([name, values]) => [name, values.slice(0, values.length / 2)]));

/** One batch of all clients. One that has no batch any more has rows of padding, and rates of 0. */
function stepFeeds(jobs: readonly TrainJob[], step: number, experts: number): Record<string, TensorData> {
  const { batches, optimizer } = jobs[0]!;
  const { rows, length } = batches[step]!;
  const { learningRate, rescalerLearningRate, beta1, beta2, weightDecay, clipNorm } = optimizer;
  const present = jobs.map((job) => job.batches[step] ?? null);
  const responses = present.reduce((sum, batch) => sum + (batch?.targets.length ?? 0), 0);
  const ids = new Int32Array(jobs.length * rows * length);
  const padding = new Int32Array(ids.length).fill(experts);
  const positions = new Int32Array(responses);
  const targets = new Int32Array(responses);
  const inverseCounts = new Float32Array(responses);
  let filled = 0;
  for (const [client, batch] of present.entries()) {
    if (batch === null) continue;
    const first = client * rows * length;
    ids.set(batch.ids, first);
    for (const [row, tokens] of batch.lengths.entries()) {
      padding.fill(0, first + row * length, first + row * length + tokens);
    }
    for (const [at, position] of batch.lossPositions.entries()) positions[filled + at] = first + position;
    targets.set(batch.targets, filled);
    inverseCounts.fill(1 / batch.targets.length, filled, filled + batch.targets.length);
    filled += batch.targets.length;
  }
  const rates = (rate: number) => Float32Array.from(present, (batch) => (batch === null ? 0 : rate));
  return {
    ids,
    padding,
    positions,
    targets,
    inverseCounts,
    learningRate: rates(learningRate),
    rescalerLearningRate: rates(rescalerLearningRate),
    decay: rates(learningRate * weightDecay),
    correction1: Float32Array.of(1 / (1 - beta1 ** (step + 1))),
    correction2: Float32Array.of(1 / (1 - beta2 ** (step + 1))),
    ...(clipNorm !== null && { clipNorm: Float32Array.of(clipNorm) }),
  };
}

function keepRecord(
  jobs: readonly TrainJob[],
  step: number,
  { losses, activations }: Readonly<Record<string, TensorData>>,
  results: readonly TrainResult[],
): void {
  for (const [client, { batches }] of jobs.entries()) {
    if (batches.length > step) results[client]!.losses[step] = Number(losses![client]);
  }
  for (const [pair, count] of (activations as BigInt64Array).entries()) {
    results[pair % jobs.length]!.activations[Math.floor(pair / jobs.length)]! += Number(count);
  }
}
