/** Runs encoded programs on an executor: each is compiled once for its digest, and fed what the names of its inputs say. */
import { InvariantError, invariant, messageOf } from "../base/errors.ts";
import type { Batch } from "../data/batches.ts";
import { decodeProgram } from "../tensor/codec.ts";
import type { Executor, TensorData, WeightSource } from "../tensor/executors/executor.ts";
import { overwritable } from "../tensor/graph/overwritable.ts";
import {
  type Compiled,
  foundPrefix,
  type PassJob,
  type ProgramSource,
  type StepJob,
  type StepResult,
} from "./engine.ts";
import { batchFeeds, vectorsOf, withoutOthers } from "./feeds.ts";
import { trainTogether } from "./local-training.ts";
import { groupsOf, isOutOfMemory } from "./merging.ts";
import type { StateVectors } from "./step-state.ts";

export interface StepEngineOptions {
  /** How many clients with such a job share a call at most; 1 unless given. */
  readonly most?: (job: StepJob) => number;
  /** Called after every step of training and every other pass. */
  readonly onStep?: () => void;
}

export class StepEngine {
  readonly name: string;
  readonly #executor: Executor;
  readonly #weights: WeightSource | null;
  readonly #most: (job: StepJob) => number;
  readonly #onStep: () => void;
  /** Clients per call where memory did not last for more, by program. */
  readonly #fitting = new Map<string, number>();
  readonly #problems: string[] = [];
  readonly #zeros: StateVectors = {};
  readonly #compiled = new Map<string, Promise<Compiled>>();
  #lastCohort: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(executor: Executor, weights: WeightSource | null, options: StepEngineOptions = {}) {
    const { most = () => 1, onStep = () => {} } = options;
    this.name = executor.name;
    this.#executor = executor;
    this.#weights = weights;
    this.#most = most;
    this.#onStep = onStep;
  }

  /**
   * Result i depends on job i alone, in the order of `jobs`. Where clients share calls, how many do reaches the last
   * digits: the same jobs give the same bits, and a job in other company the same within 1e-5 of the update's norm.
   */
  trainCohort(jobs: readonly StepJob[]): Promise<StepResult[]> {
    // An executable may hold the state of one client at a time, so cohorts wait for one another.
    const results = this.#lastCohort.then(() => this.#trainAll(jobs));
    // Waited for, and not held: results are large.
    this.#lastCohort = results.then(nothing, nothing);
    return results;
  }

  /** The outputs of one pass. */
  async run({ program, inputs, batch, padding }: PassJob): Promise<Record<string, TensorData>> {
    const { executable, wants } = await this.#compile(program);
    const feeds = { ...vectorsOf([inputs]), ...batchFeeds(batch, [batch], padding), ...countFeed(batch) };
    const out = await executable.run(withoutOthers(feeds, wants));
    this.#onStep();
    return out;
  }

  /** What went otherwise than planned since the last call: groups that had to be halved. */
  takeProblems(): string[] {
    return this.#problems.splice(0);
  }

  /** Frees every native resource. A disposed engine rejects further work. */
  dispose(): void {
    this.#disposed = true;
    for (const compiled of this.#compiled.values()) {
      // A compilation that failed has told whoever asked for it.
      compiled.then(
        ({ executable }) => executable.dispose(),
        () => {},
      );
    }
    this.#compiled.clear();
  }

  async #trainAll(jobs: readonly StepJob[]): Promise<StepResult[]> {
    this.#refuseIfDisposed();
    const results: StepResult[] = [];
    const waiting = groupsOf(jobs, (job) => this.#clientsPerCall(job));
    for (let group = waiting.shift(); group; group = waiting.shift()) {
      const members = group.map((index) => jobs[index]!);
      if (members.length > this.#clientsPerCall(members[0]!)) {
        const half = group.length / 2;
        waiting.unshift(group.slice(0, half), group.slice(half));
        continue;
      }
      try {
        const trained = await this.#train(members);
        for (const [at, index] of group.entries()) results[index] = trained[at]!;
      } catch (error) {
        if (group.length === 1 || !isOutOfMemory(error)) throw error;
        await this.#halve(members, error);
        waiting.unshift(group);
      }
    }
    return results;
  }

  async #train(jobs: readonly StepJob[]): Promise<StepResult[]> {
    const before = await this.#probe(
      jobs,
      ({ before = [], batches }) => ({ programs: before, batches }),
      jobs.map(({ state }) => state),
    );
    const informed = jobs.map((job, at) => knowing(job, before[at]!));
    const trained = await trainTogether(informed, {
      compile: (clients, shape) => this.#compile(jobs[0]!.program(clients, shape)),
      onStep: this.#onStep,
      zeros: this.#zeros,
    });
    const ends = trained.map(({ state }) => state);
    const after = await this.#probe(informed, ({ after = [], batches }) => ({ programs: after, batches }), ends);
    const kept = await this.#probe(
      informed,
      ({ validate }) => ({ programs: validate ? [validate.program] : [], batches: validate?.batches ?? [] }),
      ends,
    );
    return trained.map((result, at) => ({
      ...result,
      found: { ...result.found, ...before[at], ...after[at], ...kept[at] },
    }));
  }

  /** Probes of each job, one client at a time: they are forward passes, and few methods have any. */
  async #probe(
    jobs: readonly StepJob[],
    passesOf: (job: StepJob) => { readonly programs: readonly ProgramSource[]; readonly batches: readonly Batch[] },
    states: readonly Readonly<Record<string, Float32Array>>[],
  ): Promise<Record<string, Float64Array>[]> {
    const found: Record<string, Float64Array>[] = [];
    for (const [at, job] of jobs.entries()) {
      const { programs, batches } = passesOf(job);
      let all: Record<string, Float64Array> = {};
      for (const program of programs) {
        // Copies: native executors on Node 20 refuse shared memory.
        const start = job.state.parameters!.slice();
        const state = Object.fromEntries(Object.entries(states[at]!).map(([name, values]) => [name, values.slice()]));
        const inputs = { start, ...knowing(job, all).inputs, ...state };
        const sums: Record<string, Float64Array> = {};
        for (const batch of batches) {
          const out = await this.run({ program, inputs, batch, padding: job.padding });
          for (const [name, values] of Object.entries(out)) {
            sums[name] ??= new Float64Array(values.length);
            for (let i = 0; i < values.length; i++) sums[name]![i]! += Number(values[i]);
          }
        }
        all = { ...all, ...sums };
      }
      found.push(all);
    }
    return found;
  }

  #clientsPerCall(job: StepJob): number {
    const [shape] = job.batches;
    if (shape === undefined) return 1;
    return Math.min(this.#most(job), this.#fitting.get(job.program(1, shape).digest) ?? Infinity);
  }

  /** Remembers that so many clients are too many, and gives back what their program held. */
  async #halve(jobs: readonly StepJob[], error: unknown): Promise<void> {
    const [first] = jobs as readonly [StepJob];
    const half = jobs.length / 2;
    const shape = first.batches[0]!;
    this.#fitting.set(first.program(1, shape).digest, half);
    this.#problems.push(`${jobs.length} clients did not fit into memory, ${half} are tried: ${messageOf(error)}`);
    const { digest } = first.program(jobs.length, shape);
    const compiled = await this.#compiled.get(digest)?.catch(() => null);
    this.#compiled.delete(digest);
    compiled?.executable.dispose();
  }

  #compile(source: ProgramSource): Promise<Compiled> {
    this.#refuseIfDisposed();
    let compiled = this.#compiled.get(source.digest);
    if (!compiled) {
      compiled = this.#compileAnew(source);
      this.#compiled.set(source.digest, compiled);
      // A failed compilation must not answer for the next attempt.
      compiled.catch(() => this.#compiled.delete(source.digest));
    }
    return compiled;
  }

  #refuseIfDisposed(): void {
    if (this.#disposed) throw new InvariantError(`engine ${this.name} was disposed`);
  }

  async #compileAnew(source: ProgramSource): Promise<Compiled> {
    const program = decodeProgram(source.text());
    const { inputs, outputs } = program;
    const sizeOf = (name: string) => {
      const size = inputs[name]!.shape.reduce<number>(
        (product, dim) => product * (typeof dim === "number" ? dim : 1),
        1,
      );
      invariant(size > 0, () => `state "${name}" of program "${program.name}" is empty`);
      return size;
    };
    const state = Object.keys(inputs).filter((name) => name in outputs);
    return {
      executable: await this.#executor.compile(program, this.#weights),
      wants: new Set(Object.keys(inputs)),
      state: new Map(state.map((name) => [name, sizeOf(name)])),
      overwritable: overwritable(program),
    };
  }
}

const nothing = () => {};

const countFeed = ({ targets }: Batch) => ({ inverseCount: Float32Array.of(1 / Math.max(1, targets.length)) });

/** A job whose programs may ask for what probes have found. */
const knowing = (job: StepJob, found: Readonly<Record<string, Float64Array>>): StepJob => ({
  ...job,
  inputs: {
    ...job.inputs,
    ...Object.fromEntries(
      Object.entries(found).map(([name, sums]) => [`${foundPrefix}${name}`, Float32Array.from(sums)]),
    ),
  },
});
