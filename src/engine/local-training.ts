/** Local training: one native call per step, of one client or of several at once. */
import type { Batch } from "../data/batches.ts";
import type { AdapterLayout } from "../model/adapter.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Executable, TensorData } from "../tensor/executors/executor.ts";
import type { TrainJob, TrainResult } from "./engine.ts";
import { batchFeeds, stepFeeds } from "./feeds.ts";
import { restingState, type StateVectors, StepState, stateNames } from "./step-state.ts";

export interface LocalTraining {
  readonly config: ModelConfig;
  readonly layout: AdapterLayout;
  /** The step of so many clients on batches of this shape. */
  compile(clients: number, shape: Pick<Batch, "rows" | "length">): Promise<Executable>;
  /** Called after every step. */
  onStep(): void;
}

/**
 * Trains one job, or several of one step shape and one optimizer together. A client whose batches are used up keeps its
 * parameters while the others go on; when half of a call has finished, the rest moves to a program of half the size.
 *
 * @param jobs a power of two of them, those with the most batches first
 */
export async function trainTogether(jobs: readonly TrainJob[], training: LocalTraining): Promise<TrainResult[]> {
  const { config, layout, compile, onStep } = training;
  const [first] = jobs as readonly [TrainJob];
  const records = jobs.map(({ batches }) => emptyRecord(config, batches));
  const ends: Pick<TrainResult, "adapter" | "rescaler">[] = [];
  let clients = jobs.length;
  let state = new StepState(startOf(jobs, config, layout));
  const finish = ({ adapter, rescaler }: StateVectors, from: number) => {
    for (let client = from; client < clients; client++) {
      ends[client] = { adapter: part(adapter!, client, clients), rescaler: part(rescaler!, client, clients) };
    }
  };
  for (const [step, shape] of first.batches.entries()) {
    const going = jobs.filter(({ batches }) => batches.length > step).length;
    while (going <= clients / 2) {
      const vectors = await state.read(stateNames);
      finish(vectors, clients / 2);
      clients /= 2;
      state = new StepState(firstHalf(vectors));
    }
    const batches = jobs.slice(0, clients).map((job) => job.batches[step] ?? null);
    const feeds = { ...batchFeeds(shape, batches, config.experts), ...stepFeeds(first.optimizer, step + 1, batches) };
    const out = await state.step(await compile(clients, shape), feeds);
    onStep();
    for (const [client, batch] of batches.entries())
      if (batch) records[client]!.losses[step] = Number(out.loss![client]);
    addCounts(out.activations!, records.slice(0, clients));
  }
  finish(await state.read(["adapter", "rescaler"]), 0);
  return records.map((record, client) => ({ ...ends[client]!, ...record }));
}

const emptyRecord = ({ layers, experts }: ModelConfig, batches: readonly Batch[]) => ({
  activations: new Uint32Array(layers * experts),
  tokens: batches.reduce((sum, { lengths }) => sum + lengths.reduce((a, b) => a + b, 0), 0),
  losses: new Float32Array(batches.length),
});

/** The clients' vectors, one after the other. */
function startOf(jobs: readonly TrainJob[], { layers }: ModelConfig, { size }: AdapterLayout): StateVectors {
  const state = restingState(jobs.length * size, jobs.length * layers);
  for (const [client, { adapter, rescaler }] of jobs.entries()) {
    state.adapter!.set(adapter, client * size);
    state.rescaler!.set(rescaler, client * layers);
  }
  return state;
}

/** What is one client's, in memory of its own. */
function part(vector: Float32Array, client: number, clients: number): Float32Array {
  const size = vector.length / clients;
  return clients === 1 ? vector : vector.slice(client * size, (client + 1) * size);
}

const firstHalf = (state: StateVectors): StateVectors =>
  Object.fromEntries(Object.entries(state).map(([name, values]) => [name, values.slice(0, values.length / 2)]));

/** @param counts `[layers · experts · clients]` */
function addCounts(counts: TensorData, records: readonly Pick<TrainResult, "activations">[]): void {
  for (const [pair, count] of counts.entries()) {
    records[pair % records.length]!.activations[Math.floor(pair / records.length)]! += Number(count);
  }
}
