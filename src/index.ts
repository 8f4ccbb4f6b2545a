/**
 * What a scenario file may import: `import { defineScenario, flame, … } from "flame-sim"`. Types of all that its own parts are
 * given and give back are among it.
 */
export { InputError, MachineError, ScenarioError } from "./base/errors.ts";
export { type ClientId, clientId, type ParticipationId, type Round } from "./base/ids.ts";
export type { Problem } from "./base/problem.ts";
export type { Draws, Shuffleable } from "./base/random.ts";
export {
  type BytesPerSecond,
  days,
  hours,
  type Millis,
  megabits,
  megabytes,
  millis,
  minutes,
  seconds,
} from "./base/units.ts";
export type { FieldNames } from "./data/fields.ts";
export { digits, type ImageSource, images, pictures } from "./data/images/source.ts";
export {
  byCategory,
  byColumn,
  byIndices,
  byQuantity,
  contiguous,
  type Deal,
  type DealtExample,
  dirichlet,
  iid,
  type PartitionSpec,
  partitionBy,
  shards,
} from "./data/partition.ts";
export { file, instructions, type RecordsSource, records, type TextSource } from "./data/source.ts";
export { csv, type TableSource, table } from "./data/tables/source.ts";
export { compact, custom, headings, type PromptTemplate } from "./data/template.ts";
export type { Loss } from "./data/tokenized.ts";
export type { MergeLimit } from "./engine/merge-limit.ts";
export type { About, Paper, Reduction } from "./fl/about.ts";
export type { Definition, Described, Factory, Named, Spec } from "./fl/define.ts";
export type { DeployedModel, Deployment } from "./fl/deployment.ts";
export type { ClientMemory, ClientView, Invited, Kind, Plain, Plan, Vectors } from "./fl/plan.ts";
export * from "./fl/policies/all.ts";
export type {
  Arrival,
  Decision,
  PolicyBehaviour,
  PolicyDefinition,
  PolicyFacts,
  PolicyView,
  RoundPolicy,
  RoundSize,
} from "./fl/policy.ts";
export type { Candidates, ClientSampler, History, SamplerBehaviour } from "./fl/sampler.ts";
export * from "./fl/samplers/all.ts";
export * from "./fl/strategies/all.ts";
export type {
  Aggregation,
  At,
  Choice,
  Chosen,
  Finishing,
  Inviting,
  Method,
  Reply,
  ServerState,
  Strategy,
  StrategySampler,
} from "./fl/strategy.ts";
export type { Trained, Update } from "./fl/update.ts";
export type { AskForWork, WorkInput, WorkName, WorkResult, Works } from "./fl/works.ts";
export { clipped } from "./fl/wrappers/clipped.ts";
export type { BudgetMetrics, RoundMetrics, TierMetrics } from "./records/metrics.ts";
export { type JudgedExpectation, type RunRecord, readRun, type TierFacts } from "./report/run-folder.ts";
export type { RunOptions } from "./run/options.ts";
export type { Progress, ProgressListener } from "./run/progress.ts";
export type { ScenarioSource } from "./run/provenance.ts";
export type { RunResult } from "./run/result.ts";
export { type LoadedRun, loadRun, type Reload, type ResumeOptions, resume, type StoredCode } from "./run/resume.ts";
export { run } from "./run/run.ts";
export type { NatsAddress } from "./runtime/pools/nats-address.ts";
export { type Calibration, calibrationFrom } from "./scenario/calibration.ts";
export { defineScenario, type OwnParts, type Scenario, type ScenarioInput } from "./scenario/define.ts";
export {
  type AtBudget,
  accuracyReaches,
  accuracyRises,
  type Expectation,
  everyExpertTrained,
  everyRoundAggregated,
  everyTierCounted,
  expectThat,
  type Findings,
  finishesWithin,
  lossFalls,
  participationAtLeast,
  type Verdict,
} from "./scenario/expect.ts";
export {
  type AvailabilityFileOptions,
  availabilityFrom,
  type DevicesFileOptions,
  devicesFrom,
} from "./scenario/recorded.ts";
export type { TraceSpec } from "./sim/availability/availability-windows.ts";
export type { Fleet } from "./sim/fleet/fleet.ts";
export type { DeviceTrace } from "./sim/fleet/fleet-spec.ts";
export { flashLink, type LinkLaw, type LinkRates } from "./sim/fleet/links.ts";
export { aiBenchmark, flashPhones, type SpeedLaw } from "./sim/fleet/speed-laws.ts";
export type { Traffic } from "./sim/flight/environment.ts";
export { hazardLosing } from "./sim/flight/faults.ts";
export {
  bandwidth,
  crash,
  type Effect,
  hook,
  outage,
  type PlainEffect,
  partition,
  type ReadonlyColumn,
  type ReadonlyFleet,
  type SimulatedWorld,
  serverRestart,
  setDropout,
  setMessageLoss,
  slowdown,
  type Target,
} from "./sim/script/effects.ts";
export { at, between, every, type TimelineEntry } from "./sim/script/timeline.ts";
export type { Cell, StoredCell } from "./study/cell.ts";
export type { Axes, Study } from "./study/matrix/planned.ts";
export { readStudy, type StudyCell, type StudyOptions, type StudyRecord, study } from "./study/study.ts";
export type { Metric, Scores, TaskFacts } from "./tasks/facts.ts";
export type {
  Activations,
  Cut,
  Group,
  Heads,
  LowRankPair,
  Mixture,
  Modalities,
  ParameterLayout,
  Range,
} from "./tasks/layout.ts";
export type { RankPass } from "./tasks/ranks.ts";
export type { Scope } from "./tasks/scope.ts";
export type { DataSource } from "./tasks/sources.ts";
export { spread } from "./tasks/spread.ts";
export type { Probe, StepContext, Steps } from "./tasks/steps.ts";
export type {
  Ability,
  Affordable,
  KeyedDraws,
  Mix,
  Pass,
  RouterPass,
  Setting,
  TaskShape,
  Variant,
} from "./tasks/task.ts";
export type { Graph } from "./tensor/graph/graph.ts";
export type { Attributes, AttributeValue, GraphBuilder, Node, Op, Tensor, TensorType } from "./tensor/graph/ir.ts";
export type { Dim, DType, Shape, SymbolicDim } from "./tensor/graph/shape.ts";
export * as ops from "./tensor/ops/arithmetic.ts";
export { type Finding, type Make, type Promises, testStrategy } from "./testing/strategy.ts";
