/** What a task brings to a run: how it is opened on the main thread, and how a worker makes it again. */
import type { Problem } from "../base/problem.ts";
import type { Rng } from "../base/random.ts";
import type { BatchData } from "../data/batches.ts";
import type { PartitionSpec } from "../data/partition.ts";
import type { PromptTemplate } from "../data/template.ts";
import type { Executor, WeightSource } from "../tensor/executors/executor.ts";
import type { TaskType } from "./facts.ts";
import type { ParameterLayout } from "./layout.ts";
import type { PictureSheet } from "./pictures.ts";
import type { DataSource } from "./sources.ts";
import type { Setting, Task, TaskShape } from "./task.ts";
import type { TaskEngine } from "./task-engine.ts";

/** A task as plain data: what a worker makes it from. */
export interface TaskSpec {
  readonly type: TaskType;
  /** What its kind makes it from. */
  readonly options: unknown;
  readonly shape: TaskShape;
  /** What of it does not train, a file that executors map; null where everything does. */
  readonly weights: WeightSource | null;
}

export interface TaskKind<Fields, Options> {
  /**
   * @param fields of the scenario, that describe it
   * @throws ScenarioError or InputError naming the field or file that is wrong
   */
  open(fields: Fields, at: OpenOptions): Promise<OpenedTask>;
  /**
   * The same on the main thread and in every worker.
   *
   * @param executor what runs it; null for the form that needs the least memory
   */
  make(options: Options, shape: TaskShape, executor: Pick<Executor, "pads"> | null): Task;
}

export interface OpenOptions {
  /** Of the scenario, for errors. */
  readonly name: string;
  readonly seed: number;
  readonly data: DataFields;
  readonly shape: TaskShape;
  /** Nothing is trained: sizes and costs are all that matters. */
  readonly timingOnly: boolean;
  /** Where the base model lies that comes with the program, and where converted weights are kept. */
  readonly embedded: string;
  readonly cache: string;
  /** Told of the conversion of base weights: elements that are done, and all. */
  readonly onConversion?: (done: number, total: number) => void;
}

/** What of a scenario's `data` a task reads. */
interface DataFields {
  readonly source: DataSource;
  readonly template?: PromptTemplate;
  readonly maxTokens?: number;
  /** Of which the column matters, where examples are dealt by one. */
  readonly partition?: PartitionSpec;
  /** As `split` takes it: for a task whose examples look otherwise where nobody trains on them. */
  readonly heldOut: number;
}

/** A task as a run has it on the main thread. */
export interface OpenedTask {
  readonly type: TaskType;
  /** As it needs the least memory; `make` says what runs. Of one member. */
  readonly task: Task;
  /** Of all members. */
  readonly layout: ParameterLayout;
  readonly members: number;
  /** Layers of experts whose use is counted, and how many experts each has; 0 where there are none. */
  readonly layers: number;
  readonly experts: number;
  readonly mixture?: Setting["mixture"];
  /** What messages with the whole model weigh besides their envelopes. */
  readonly bytes: { readonly download: number; readonly upload: number };
  /** What a run without training depends on. */
  readonly digest: string;
  /**
   * Writes what was trained into a folder that is there.
   *
   * @param name of the base model, for those who load it elsewhere
   */
  save(folder: string, parameters: Float32Array, spec: TaskSpec, name: string): void;
  /**
   * What `save` wrote, or another program in its form: parameters of all members.
   *
   * @throws InputError naming the file that is missing, damaged or of something else than is trained
   */
  read(folder: string): Float32Array;
  /**
   * Pictures for the report, of what the last round left.
   *
   * @param engine of one member
   * @param examples held-out ones
   */
  pictures?(engine: TaskEngine, parameters: Float32Array, examples: Uint32Array): Promise<readonly PictureSheet[]>;
  /** Parameters of round 0, of all members. */
  initial(rng: Rng): Float32Array;
  /** What of the scenario does not fit it. */
  readonly problems: readonly Problem[];
  /** Why a budget is none; null where it is one. */
  budgetProblem(budget: number): string | null;
  /** Reads the examples. */
  load(): Promise<Loaded>;
  /** What workers make it from, and the digest of what is in it. Converts base weights unless that was done before. */
  spec(): Promise<{ readonly spec: TaskSpec; readonly digest: string; readonly notes?: readonly string[] }>;
}

export interface Loaded {
  readonly data: BatchData;
  /** Units of a row of a batch. */
  readonly length: number;
  readonly notes: readonly string[];
  /** SHA-256 of what was read. */
  readonly read: { readonly data: string | null; readonly tokenizer: string | null; readonly template: string | null };
}
