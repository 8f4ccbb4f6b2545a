/** Local training: a native call per step, or for several, of one client or of several at once. */
import type { TensorData } from "../tensor/executors/executor.ts";
import { free } from "../tensor/executors/memory.ts";
import { type Compiled, type RowShape, type StepJob, type StepResult, tallyPrefix } from "./engine.ts";
import { batchFeeds, stepFeeds, vectorsOf, withoutOthers } from "./feeds.ts";
import { type StateVectors, StepState } from "./step-state.ts";

export interface LocalTraining {
  /** The step of so many clients. */
  compile(clients: number, shape: RowShape): Promise<Compiled>;
  /** Called after every step. */
  onStep(): void;
  /** What a training begins with as zeros, from one to the next. */
  readonly zeros: StateVectors;
}

/**
 * Steps of one call, and bytes they are fed, each as many as the one with the most: somebody watches that steps are finished,
 * and what they are fed lies twice.
 */
const [mostSteps, mostBytes] = [32, 4e6];

/**
 * Trains one job, or several of one program and one optimizer together. A client whose batches are used up keeps its
 * parameters while the others go on; when half of a call has finished, the rest moves to a program of half the size.
 *
 * @param jobs a power of two of them, those with the most batches first
 */
export async function trainTogether(
  jobs: readonly StepJob[],
  { compile, onStep, zeros }: LocalTraining,
): Promise<StepResult[]> {
  const [first] = jobs as readonly [StepJob];
  const losses = jobs.map(({ batches }) => new Float32Array(batches.length));
  const counts: Float64Array[] = [];
  const tallies = jobs.map((): Record<string, Float64Array> => ({}));
  const ends: StateVectors[] = [];
  let clients = jobs.length;
  const kept = Object.keys(first.state);
  if (first.batches.length === 0) return jobs.map(untouched);
  let program = await compile(clients, first.batches[0]!);
  let state = new StepState(startOf(jobs, program, zeros), Object.values(zeros));
  let given = constantsOf(jobs, program);
  const finish = (vectors: StateVectors, from: number) => {
    for (let client = from; client < clients; client++) {
      ends[client] = Object.fromEntries(kept.map((name) => [name, part(vectors[name]!, client, clients)]));
    }
    // Copies were taken of all that is left in them.
    if (from === 0 && clients > 1) for (const name of kept) free(vectors[name]!.buffer);
  };
  for (let step = 0; step < first.batches.length; ) {
    const shape = first.batches[step]!;
    const going = (at: number) => jobs.filter(({ batches }) => batches.length > at).length;
    while (going(step) <= clients / 2) {
      const vectors = await state.read([...program.state.keys()]);
      finish(vectors, clients / 2);
      clients /= 2;
      state = new StepState(firstHalf(vectors));
      given = constantsOf(jobs.slice(0, clients), program);
    }
    program = await compile(clients, shape);
    const { executable, wants } = program;
    const batchesOf = (at: number) => jobs.slice(0, clients).map(({ batches }) => batches[at] ?? null);
    const feedsOf = (at: number) => {
      const batches = batchesOf(at);
      const feeds = { ...batchFeeds(shape, batches, first.padding), ...stepFeeds(first.optimizer, at + 1, batches) };
      return withoutOthers(feeds, wants);
    };
    const steps = [feedsOf(step)];
    let widest = bytesOf(steps[0]!);
    for (let next = step + 1; executable.runAll && steps.length < mostSteps && going(next) > clients / 2; next++) {
      if (!isAlike(first.batches[next]!, shape)) break;
      const feeds = feedsOf(next);
      widest = Math.max(widest, bytesOf(feeds));
      if ((steps.length + 1) * widest > mostBytes) break;
      steps.push(feeds);
    }
    const fixed = Object.fromEntries(Object.entries(given).filter(([name]) => wants.has(name) && !(name in steps[0]!)));
    for (const out of await state.steps(program, fixed, steps)) {
      onStep();
      for (const [client, batch] of batchesOf(step).entries())
        if (batch) losses[client]![step] = Number(out.loss![client]);
      addCounts(out.counts!, counts, clients);
      addTallies(out, tallies, clients);
      step++;
    }
  }
  finish(await state.read(kept), 0);
  return jobs.map((_, client) => ({
    state: ends[client]!,
    counts: counts[client]!,
    losses: losses[client]!,
    found: tallies[client]!,
  }));
}

const bytesOf = (feeds: Readonly<Record<string, TensorData>>): number =>
  Object.values(feeds).reduce((sum, { byteLength }) => sum + byteLength, 0);

const isAlike = (one: RowShape, other: RowShape): boolean => one.rows === other.rows && one.length === other.length;

/** Somebody without a batch stays where it was. */
const untouched = ({ state }: StepJob): StepResult => ({
  state: Object.fromEntries(Object.entries(state).map(([name, values]) => [name, values.slice()])),
  counts: new Float64Array(0),
  losses: new Float32Array(0),
  found: {},
});

/** What every step is fed the same: where training started, if a program asks, and the method's own inputs. */
const constantsOf = (jobs: readonly StepJob[], { wants }: Compiled) =>
  // A copy: native executors on Node 20 refuse shared memory.
  vectorsOf(
    jobs.map(({ state, inputs }) => ({ ...(wants.has("start") && { start: state.parameters!.slice() }), ...inputs })),
  );

/** The clients' vectors, one after the other; moments start at 0, in the memory that the last training had for them. */
function startOf(jobs: readonly StepJob[], program: Compiled, zeros: StateVectors): StateVectors {
  const vectors: StateVectors = {};
  for (const [name, size] of program.state) {
    if (jobs.every(({ state }) => state[name] === undefined)) {
      if (zeros[name]?.length !== size) zeros[name] = new Float32Array(size);
      vectors[name] = zeros[name].fill(0);
      continue;
    }
    const all = new Float32Array(size);
    for (const [client, { state }] of jobs.entries()) {
      if (state[name] !== undefined) all.set(state[name], (client * size) / jobs.length);
    }
    vectors[name] = all;
  }
  return vectors;
}

/** What is one client's, in memory of its own. */
function part(vector: Float32Array, client: number, clients: number): Float32Array {
  const size = vector.length / clients;
  return clients === 1 ? vector : vector.slice(client * size, (client + 1) * size);
}

const firstHalf = (state: StateVectors): StateVectors =>
  Object.fromEntries(Object.entries(state).map(([name, values]) => [name, values.slice(0, values.length / 2)]));

/** @param found `[groups · clients]` */
function addCounts(found: TensorData, counts: Float64Array[], clients: number): void {
  const groups = found.length / clients;
  for (let client = 0; client < clients; client++) {
    counts[client] ??= new Float64Array(groups);
    const own = counts[client]!;
    for (let group = 0; group < groups; group++) own[group]! += Number(found[group * clients + client]);
  }
}

function addTallies(
  outputs: Readonly<Record<string, TensorData>>,
  tallies: readonly Record<string, Float64Array>[],
  clients: number,
): void {
  for (const [output, values] of Object.entries(outputs)) {
    if (!output.startsWith(tallyPrefix)) continue;
    const name = output.slice(tallyPrefix.length);
    const size = values.length / clients;
    for (const [client, own] of tallies.slice(0, clients).entries()) {
      own[name] ??= new Float64Array(size);
      for (let i = 0; i < size; i++) own[name][i]! += Number(values[client * size + i]);
    }
  }
}
